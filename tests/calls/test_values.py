"""The values of a row's cells: ids, currencies, quantities and booleans."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest

from airflow_provider_firstpromoter.calls import (
    Validation,
)
from tests.calls.warehouse_values import MANY_DIGITS, NAN, WarehouseInteger, reason, refund

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # one picture, five code points, two of them joiners


# --- ids ---


IDENTIFIERS = ("event_id", "uid", "email", "sale_event_id")


@pytest.mark.parametrize("column", [column for column in IDENTIFIERS if column != "email"])
@pytest.mark.parametrize(
    ("held", "sent"),
    [
        ("re_1", "re_1"),
        ("RE_1", "RE_1"),
        ("0012", "0012"),
        ("12.0", "12.0"),
        ("1e3", "1e3"),
        ("two  words", "two  words"),
        ("O'Brien; DROP TABLE refunds --", "O'Brien; DROP TABLE refunds --"),
        ("{{ conn.x.password }}", "{{ conn.x.password }}"),
        ("\u00e9t\u00e9", "\u00e9t\u00e9"),
        ("e\u0301", "e\u0301"),  # not composed for the user
        ("\U0001f4b8", "\U0001f4b8"),
        (FAMILY, FAMILY),
        ("x" * 255, "x" * 255),
        ("\U0001f4b8" * 255, "\U0001f4b8" * 255),
        (12, "12"),
        (0, "0"),
        (-5, "-5"),
        (2**53 + 1, "9007199254740993"),
        (WarehouseInteger(12), "12"),
        (12.0, "12"),
        (Decimal("12"), "12"),
        (Decimal("12.00"), "12"),
        (Decimal("1.2E+3"), "1200"),
        (Decimal("1234567890123456789"), "1234567890123456789"),  # NUMERIC(19, 0), beyond what a float keeps
        (Decimal(2**53 + 1), "9007199254740993"),
        (Decimal("-1234567890123456789.00"), "-1234567890123456789"),
        (Decimal("9" * 40 + ".000"), "9" * 40),
        (Decimal("9" * 255), "9" * 255),
        (UUID("12345678-1234-5678-1234-567812345678"), "12345678-1234-5678-1234-567812345678"),
    ],
    ids=repr,
)
def test_id_is_sent_unchanged_and_a_whole_number_as_its_digits(column: str, held: object, sent: str) -> None:
    assert getattr(refund(**{column: held}), column) == sent


@pytest.mark.parametrize("column", IDENTIFIERS)
@pytest.mark.parametrize(
    ("held", "complaint"),
    [
        (" re_1", "white space at an end"),
        ("re_1 ", "white space at an end"),  # CHAR(n) pads; trimmed here, it would not match the ledger's join
        ("re_1\u00a0", "white space at an end"),
        ("re_1\n", "white space at an end"),
        ("x" * 256, "has 256 characters"),
        ("x" * 300, "has 300 characters"),
        ("\U0001f4b8" * 256, "has 256 characters"),
        ("re\x00_1", "control character"),
        ("re\n_1", "control character"),
        ("re\r\nX-Header: 1", "control character"),
        ("re\x7f_1", "control character"),
        ("re\x85_1", "control character"),
        ("re\ud83d_1", "half a surrogate pair"),
        (12.5, "must be a whole number"),
        (Decimal("12.5"), "must be a whole number"),
        (float(2**53), "too large to be exact"),
        (1e300, "too large to be exact"),
        (Decimal("1E+400"), "has more than 255 digits"),
        (Decimal("9" * 256), "has more than 255 digits"),
        (Decimal("9" * 18 + "." + "0" * 30 + "1"), "must be a whole number"),
        (float("inf"), "is not a number"),
        (Decimal("-Infinity"), "must be a whole number"),
        (True, "must be text or a whole number"),
        (b"re_1", "must be text or a whole number, not bytes"),
        (["re_1"], "must be text or a whole number, not list"),
        ({"id": 1}, "must be text or a whole number, not dict"),
        (date(2026, 1, 1), "must be text or a whole number, not date"),
        (MANY_DIGITS, "characters; at most 255"),
        ('"re_1"', "is JSON, not an id; read it as text in the query"),
        ("'re_1'", "is JSON, not an id"),
        ("b're_1'", "is JSON, not an id"),
        ('["re_1"]', "is JSON, not an id"),
        ('{ "id": "re_1"}', "is JSON, not an id"),
        ("null", "is a placeholder, not an id; make it NULL in the query"),
        ("None", "is a placeholder"),
        ("nan", "is a placeholder"),
        ("NaN", "is a placeholder"),
        ("UNDEFINED", "is a placeholder"),
        ("n/a", "is a placeholder"),
        ("[object Object]", "is a placeholder"),
        ("<NA>", "is a placeholder"),
        ("\\N", "is a placeholder"),
    ],
    ids=lambda value: repr(value)[:40] if not isinstance(value, int) else "number",
)
def test_unusable_id_is_rejected_and_the_column_named(column: str, held: object, complaint: str) -> None:
    message = reason(**{column: held})
    assert message.startswith(f"{column} ")
    assert complaint in message


@pytest.mark.parametrize("email", ["jane@example.com", "J.Doe+refunds@EXAMPLE.com", "łukasz@пример.рф", "o'neil@x"])
def test_email_is_sent_unchanged(email: str) -> None:
    assert refund(email=email).email == email


@pytest.mark.parametrize(
    "held",
    ["deleted", "a@x.com b@x.com", "a@x.com,b@x.com", "Jane <a@x.com>", "<a@x.com>", "@x.com", "a@", 7],
    ids=repr,
)
def test_email_that_is_no_address_is_rejected(held: object) -> None:
    assert reason(email=held).startswith("email must be one e-mail address, with one @ and no white space")


@pytest.mark.parametrize("usable", ["nullable", "None-1", "N/A-7", 'a"b', "{4F2A}", "undefined_1"], ids=repr)
def test_id_that_only_resembles_a_placeholder_is_sent(usable: str) -> None:
    assert refund(event_id=usable, uid=usable).event_id == usable


@pytest.mark.parametrize("nothing", [None, "", "   ", NAN, Decimal("NaN"), Decimal("sNaN")], ids=repr)
def test_null_nan_and_blanks_count_as_missing(nothing: object) -> None:
    assert reason(event_id=nothing) == "event_id is missing"
    assert reason(amount=nothing) == "amount is missing"
    assert reason(uid=nothing) == "neither uid nor email has a value"
    empty = refund(uid="cus_1", email=nothing, sale_event_id=nothing, currency=nothing, quantity=nothing)
    assert empty == refund()


# --- the other columns ---


@pytest.mark.parametrize("held", ["EUR", "eur", "Eur", b"eur"], ids=repr)
def test_currency_is_sent_in_upper_case(held: object) -> None:
    assert refund(currency=held).currency == "EUR"


@pytest.mark.parametrize("held", ["EURO", "E", "E R", " EUR", "EUR ", "EUR\n", "\u20ac", 978, True], ids=repr)
def test_invalid_currency_code_is_rejected(held: object) -> None:
    assert reason(currency=held) == "currency must be a three-letter currency code"


@pytest.mark.parametrize("held", [3, "3", 3.0, Decimal("3.00"), WarehouseInteger(3)], ids=repr)
def test_quantity_is_a_whole_number(held: object) -> None:
    assert refund(quantity=held).quantity == 3


@pytest.mark.parametrize(
    ("held", "complaint"),
    [
        (0, "must be at least 1, or left out"),
        ("0", "must be at least 1, or left out"),
        (-1, "must be at least 1, or left out"),
        (1.5, "must be a whole number"),
        ("two", "is not a number"),
        (True, "must be a number, not bool"),
        (2**53, "too large to be exact"),
    ],
    ids=repr,
)
def test_invalid_quantity_is_rejected(held: object, complaint: str) -> None:
    assert reason(quantity=held).startswith("quantity ")
    assert complaint in reason(quantity=held)


@pytest.mark.parametrize(
    ("held", "read"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        (1.0, True),
        (Decimal(0), False),
        (WarehouseInteger(1), True),
        ("1", True),
        ("0", False),
        ("true", True),
        ("FALSE", False),
        ("t", True),
        ("f", False),
        (None, None),
        ("", None),
        (NAN, None),
    ],
    ids=repr,
)
def test_booleans_may_be_numbers_or_text(held: object, read: bool | None) -> None:
    assert refund(skip_email_notification=held).skip_email_notification is read


@pytest.mark.parametrize("held", [2, -1, 0.5, "maybe", "2", [], b"\x01", date(2026, 1, 1)], ids=repr)
def test_invalid_boolean_is_rejected(held: object) -> None:
    assert reason(skip_email_notification=held).startswith("skip_email_notification ")


@pytest.mark.parametrize("silent", [None, NAN, "", Decimal("NaN")], ids=repr)
@pytest.mark.parametrize("default", [True, False])
def test_missing_skip_email_notification_has_the_default(silent: object, default: bool) -> None:
    how = Validation(skip_email_notification=default)
    assert refund(how, skip_email_notification=silent).skip_email_notification is default
    assert refund(how).skip_email_notification is default


@pytest.mark.parametrize("said", [True, False, 0, 1, "f"])
def test_skip_email_notification_of_the_row_overrides_the_default(said: object) -> None:
    how = Validation(skip_email_notification=said in (False, 0, "f"))
    assert refund(how, skip_email_notification=said).skip_email_notification is (said not in (False, 0, "f"))
