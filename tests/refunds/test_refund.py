"""What a warehouse can hold, and what becomes of it: a refund that can be sent, or an error that names the column."""

from __future__ import annotations

import json
import numbers
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from airflow_provider_firstpromoter.refunds import (
    MANY_DECIMAL_CURRENCIES,
    ZERO_DECIMAL_CURRENCIES,
    InvalidRefund,
    Refund,
    Validation,
    event_id_of,
    known_columns,
    missing_columns,
    portable,
)

ROW = {"event_id": "re_1", "amount": 1999, "uid": "cus_1"}
NAN = float("nan")
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # one picture, five code points, two of them joiners
MANY_DIGITS = 10**5000  # more than Python writes in decimal


def refund(how: Validation | None = None, /, **columns: object) -> Refund:
    return Refund.from_row({**ROW, **columns}, how)


def reason(how: Validation | None = None, /, **columns: object) -> str:
    with pytest.raises(InvalidRefund) as caught:
        refund(how, **columns)
    return caught.value.reason


class WarehouseInteger:
    """An integer that is no ``int``, registered as numpy registers its own."""

    def __repr__(self) -> str:
        return "WarehouseInteger()"

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value


numbers.Integral.register(WarehouseInteger)


# --- ids ------------------------------------------------------------------------------------------------

IDENTIFIERS = ("event_id", "uid", "email", "sale_event_id")


@pytest.mark.parametrize("column", IDENTIFIERS)
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
        (UUID("12345678-1234-5678-1234-567812345678"), "12345678-1234-5678-1234-567812345678"),
    ],
    ids=repr,
)
def test_an_id_is_sent_as_it_is_and_a_whole_number_as_its_digits(column: str, held: object, sent: str) -> None:
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
        (Decimal("1E+400"), "too large to be exact"),
        (float("inf"), "is not a number"),
        (Decimal("-Infinity"), "is not a number"),
        (True, "must be text or a whole number"),
        (b"re_1", "must be text or a whole number, not bytes"),
        (["re_1"], "must be text or a whole number, not list"),
        ({"id": 1}, "must be text or a whole number, not dict"),
        (date(2026, 1, 1), "must be text or a whole number, not date"),
        (MANY_DIGITS, "characters; at most 255"),
    ],
    ids=lambda value: repr(value)[:40] if not isinstance(value, int) else "number",
)
def test_an_id_that_cannot_be_sent_as_it_is_is_rejected_by_column(column: str, held: object, complaint: str) -> None:
    told = reason(**{column: held})
    assert told.startswith(f"{column} ")
    assert complaint in told


@pytest.mark.parametrize("nothing", [None, "", "   ", NAN, Decimal("NaN"), Decimal("sNaN")], ids=repr)
def test_null_nan_and_blanks_are_no_value(nothing: object) -> None:
    assert reason(event_id=nothing) == "event_id is missing"
    assert reason(amount=nothing) == "amount is missing"
    assert reason(uid=nothing) == "neither uid nor email has a value"
    empty = refund(uid="cus_1", email=nothing, sale_event_id=nothing, currency=nothing, quantity=nothing)
    assert empty == refund()


@pytest.mark.parametrize("absent", ["event_id", "amount"])
def test_a_row_without_a_required_column_is_told_so(absent: str) -> None:
    with pytest.raises(InvalidRefund, match=f"{absent} is missing"):
        Refund.from_row({name: value for name, value in ROW.items() if name != absent})


# --- who ------------------------------------------------------------------------------------------------


def test_both_ids_are_kept_and_asked_in_the_order_given() -> None:
    pair = refund(email="jane@example.com")
    assert pair.identities() == [("uid", "cus_1"), ("email", "jane@example.com")]
    assert pair.identities(("email", "uid")) == [("email", "jane@example.com"), ("uid", "cus_1")]
    assert pair.identities(("email",)) == [("email", "jane@example.com")]


def test_one_id_is_enough_whichever() -> None:
    assert refund().identities() == [("uid", "cus_1")]
    assert refund(uid=None, email="jane@example.com").identities() == [("email", "jane@example.com")]


def test_an_id_that_does_not_count_is_not_read() -> None:
    by_email = Validation(identify_by=("email",))
    assert refund(by_email, uid=" unusable ", email="jane@example.com").uid is None
    assert reason(by_email, email=None) == "neither uid nor email has a value"


# --- amounts in minor units -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "sent"),
    [
        (1999, 1999),
        (1, 1),
        ("1999", 1999),
        ("+1999", 1999),
        ("0001999", 1999),
        ("1999.00", 1999),
        ("1999.", 1999),
        (1999.0, 1999),
        (Decimal("1999"), 1999),
        (Decimal("1999.000"), 1999),
        (WarehouseInteger(1999), 1999),
        ("2e3", 2000),
        ("1.999E+3", 1999),
        (Decimal("2E+3"), 2000),
        (1e15, 10**15),
        (2**53 - 1, 9007199254740991),
        (str(2**53 - 1), 9007199254740991),
    ],
    ids=repr,
)
def test_minor_units_pass_as_they_are(held: object, sent: int) -> None:
    assert refund(amount=held).amount == sent


@pytest.mark.parametrize("unit", ["minor", "major"])
@pytest.mark.parametrize(
    ("held", "complaint"),
    [
        (0, "must be above zero"),
        (-1999, "must be above zero"),
        ("-19.99", "must be above zero"),
        (-0.0, "must be above zero"),
        (Decimal("0.00"), "must be above zero"),
        (Decimal("0E+9"), "must be above zero"),
        (2**53, "too large to be exact"),
        ("1e999", "too large to be exact"),
        (1e300, "too large to be exact"),
        (Decimal("1E+60"), "too large to be exact"),
        (Decimal("1E+400"), "too large to be exact"),
        (MANY_DIGITS, "is not a number"),
        ("1e9999", "is not a number"),
        ("9" * 65, "too many digits"),
        (float("inf"), "is not a number"),
        (Decimal("Infinity"), "is not a number"),
        ("1,999", "is not a number"),
        ("19,99", "is not a number"),
        ("1_999", "is not a number"),
        ("$19", "is not a number"),
        ("0x7b", "is not a number"),
        (" 1999", "is not a number"),
        ("1999 ", "is not a number"),
        ("1999\n", "is not a number"),
        ("\u0661\u0662", "is not a number"),  # Arabic digits
        ("nan", "is not a number"),
        ("Infinity", "is not a number"),
        (True, "must be a number, not bool"),
        (b"1999", "must be a number, not bytes"),
        ([1999], "must be a number, not list"),
        (1999 + 0j, "must be a number, not complex"),
    ],
    ids=lambda value: repr(value)[:40] if not isinstance(value, int) or value < 2**60 else "number",
)
def test_an_amount_that_is_none_is_rejected(unit: str, held: object, complaint: str) -> None:
    how = Validation(amount_unit=unit, currency="USD")  # type: ignore[arg-type]
    assert reason(how, amount=held).startswith("amount ")
    assert complaint in reason(how, amount=held)


@pytest.mark.parametrize("held", [19.99, "19.99", Decimal("19.99"), "1999.5", "1e-3", Decimal("1E-70")], ids=repr)
def test_a_fraction_of_a_minor_unit_asks_whether_major_is_meant(held: object) -> None:
    assert reason(amount=held) == "amount must be a whole number of minor units; is amount_unit='major' meant?"


# --- amounts in major units -----------------------------------------------------------------------------

#: ISO 4217, table A.1, by the column "Minor unit".
ISO_EXPONENT_0 = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split()
ISO_EXPONENT_3_OR_4 = "BHD CLF IQD JOD KWD LYD OMR TND UYW".split()
MAJOR = Validation(amount_unit="major")


def test_the_currencies_without_two_decimals_are_those_of_iso_4217() -> None:
    assert sorted(ZERO_DECIMAL_CURRENCIES) == ISO_EXPONENT_0
    assert sorted(MANY_DECIMAL_CURRENCIES) == ISO_EXPONENT_3_OR_4


@pytest.mark.parametrize(
    ("held", "currency", "sent"),
    [
        ("19.99", "USD", 1999),
        (19.99, "USD", 1999),
        (0.29, "USD", 29),  # times 100 in floats: 28.999999999999996
        (1.15, "EUR", 115),  # times 100 in floats: 114.99999999999999
        (Decimal("19.99"), "EUR", 1999),
        (Decimal("19.990000"), "EUR", 1999),
        (20, "EUR", 2000),
        ("0.01", "EUR", 1),
        ("1e3", "EUR", 100_000),
        (Decimal("1.5E+2"), "EUR", 15_000),
        ("90071992547409.91", "USD", 2**53 - 1),
        (500, "JPY", 500),
        ("500.00", "JPY", 500),
        (Decimal("500.0"), "KRW", 500),
        (str(2**53 - 1), "JPY", 2**53 - 1),
        ("1.25", "KWD", 125),  # three decimals in ISO 4217, times 100 at FirstPromoter
        ("1.25", "BHD", 125),
        ("1.25", "CLF", 125),
        ("19.99", "usd", 1999),
        (500, "jpy", 500),
    ],
    ids=repr,
)
def test_major_units_become_minor_by_the_currency(held: object, currency: str, sent: int) -> None:
    assert refund(MAJOR, amount=held, currency=currency).amount == sent


@pytest.mark.parametrize("currency", ISO_EXPONENT_0)
def test_currencies_without_decimals_are_taken_in_whole_units(currency: str) -> None:
    assert refund(MAJOR, amount="500", currency=currency).amount == 500
    assert refund(amount=500, currency=currency).amount == 500
    assert "has more decimals than FirstPromoter takes" in reason(MAJOR, amount="500.5", currency=currency)


@pytest.mark.parametrize("currency", ISO_EXPONENT_3_OR_4)
def test_minor_units_of_currencies_with_three_decimals_are_ambiguous(currency: str) -> None:
    assert reason(amount=1250, currency=currency) == (
        f"amount in minor units of {currency} is ambiguous; give it with amount_unit='major'"
    )
    assert "ambiguous" in reason(Validation(currency=currency), amount=1250)
    assert refund(MAJOR, amount="1.25", currency=currency).amount == 125


@pytest.mark.parametrize(
    ("held", "currency"),
    [
        ("19.999", "USD"),
        (0.1 + 0.2, "USD"),
        ("19." + "0" * 50 + "1", "USD"),
        ("0.001", "KWD"),
        ("1.234", "KWD"),
        ("0.5", "JPY"),
        ("1e-3", "EUR"),
        ("1e-999", "EUR"),
    ],
    ids=repr,
)
def test_more_decimals_than_the_currency_has_are_rejected_not_rounded(held: object, currency: str) -> None:
    assert reason(MAJOR, amount=held, currency=currency) == (
        f"amount has more decimals than FirstPromoter takes for {currency}"
    )


def test_an_amount_that_is_too_large_only_in_minor_units_is_rejected() -> None:
    assert reason(MAJOR, amount="90071992547409.92", currency="USD") == "amount is too large to be exact"


def test_major_units_need_a_currency_from_the_row_or_the_connection() -> None:
    told = reason(MAJOR, amount="19.99")
    assert told == "amount in major units needs a currency, in the row or in the connection's extra"
    in_yen = Validation(amount_unit="major", currency="JPY")
    assert refund(in_yen, amount="500").amount == 500
    assert refund(in_yen, amount="19.99", currency="EUR").amount == 1999


def test_the_accounts_own_currency_is_not_put_into_the_body() -> None:
    assert "currency" not in refund(Validation(amount_unit="major", currency="EUR"), amount="19.99").body("uid")


# --- the other columns ----------------------------------------------------------------------------------


@pytest.mark.parametrize("held", ["EUR", "eur", "Eur", b"eur"], ids=repr)
def test_a_currency_is_sent_in_upper_case(held: object) -> None:
    assert refund(currency=held).currency == "EUR"


@pytest.mark.parametrize("held", ["EURO", "E", "E R", " EUR", "EUR ", "EUR\n", "\u20ac", 978, True], ids=repr)
def test_what_is_no_currency_code_is_rejected(held: object) -> None:
    assert reason(currency=held) == "currency must be a three-letter currency code"


@pytest.mark.parametrize("held", [3, "3", 3.0, Decimal("3.00"), WarehouseInteger(3)], ids=repr)
def test_a_quantity_is_a_whole_number(held: object) -> None:
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
def test_an_impossible_quantity_is_rejected(held: object, complaint: str) -> None:
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
def test_what_is_no_boolean_is_rejected(held: object) -> None:
    assert reason(skip_email_notification=held).startswith("skip_email_notification ")


@pytest.mark.parametrize("silent", [None, NAN, "", Decimal("NaN")], ids=repr)
@pytest.mark.parametrize("default", [True, False])
def test_rows_that_do_not_say_get_the_default_for_notifications(silent: object, default: bool) -> None:
    how = Validation(skip_email_notification=default)
    assert refund(how, skip_email_notification=silent).skip_email_notification is default
    assert refund(how).skip_email_notification is default


@pytest.mark.parametrize("said", [True, False, 0, 1, "f"])
def test_rows_that_do_say_keep_their_word_on_notifications(said: object) -> None:
    how = Validation(skip_email_notification=said in (False, 0, "f"))
    assert refund(how, skip_email_notification=said).skip_email_notification is (said not in (False, 0, "f"))


def test_other_columns_are_ignored_whatever_they_hold() -> None:
    assert refund(note=object(), created_at=datetime.now(UTC), AMOUNT_USD=5, **{"": 1}) == refund()


def test_column_names_may_be_in_upper_case() -> None:
    shouted = Refund.from_row({"EVENT_ID": "re_1", "AMOUNT": 1999, "Uid": "cus_1", "SALE_EVENT_ID": "ch_1"})
    assert shouted == refund(sale_event_id="ch_1")


def test_the_row_itself_is_left_as_it_was() -> None:
    row = {**ROW, "email": "jane@example.com", "note": "x"}
    before = dict(row)
    Refund.from_row(row, Validation(identify_by=("email",), skip_email_notification=True))
    assert row == before


# --- the body -------------------------------------------------------------------------------------------


def test_a_body_has_only_what_is_known() -> None:
    assert refund().body("uid") == {"event_id": "re_1", "amount": "1999", "uid": "cus_1"}


def test_a_full_body_has_amount_and_quantity_as_strings_and_one_id() -> None:
    full = refund(email="jane@example.com", currency="eur", quantity=2, sale_event_id="ch_1", skip_email_notification=0)
    rest = {
        "event_id": "re_1",
        "amount": "1999",
        "currency": "EUR",
        "quantity": "2",
        "sale_event_id": "ch_1",
        "skip_email_notification": False,
    }
    assert full.body("uid") == {**rest, "uid": "cus_1"}
    assert full.body("email") == {**rest, "email": "jane@example.com"}


def test_amounts_are_never_written_with_an_exponent() -> None:
    assert refund(amount="1e15").body("uid")["amount"] == "1000000000000000"


# --- what errors say ------------------------------------------------------------------------------------


def test_an_error_names_the_event_id_and_every_column_that_is_wrong() -> None:
    with pytest.raises(InvalidRefund) as caught:
        refund(amount="x", uid="a\x00", email=" b", quantity=0, currency="??", sale_event_id=True)
    assert caught.value.event_id == "re_1"
    assert str(caught.value).startswith("refund 're_1': ")
    for column in ("amount", "uid", "email", "quantity", "currency", "sale_event_id"):
        assert f"{column} " in caught.value.reason


def test_an_error_of_a_row_without_a_usable_event_id_says_so() -> None:
    with pytest.raises(InvalidRefund) as caught:
        refund(event_id="x" * 300)
    assert caught.value.event_id is None
    assert str(caught.value).startswith("refund without event_id: event_id has 300 characters")


@pytest.mark.parametrize("column", ["uid", "email", "amount", "currency", "quantity", "sale_event_id"])
@pytest.mark.parametrize("shape", ["{} ", "{}\x00", "{}" + "x" * 300])
def test_an_error_never_shows_what_the_row_holds(column: str, shape: str) -> None:
    private = shape.format("jane.doe@example.com")
    with pytest.raises(InvalidRefund) as caught:
        refund(**{column: private})
    assert "jane" not in f"{caught.value} {caught.value!r} {caught.value.reason}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__  # pydantic's error, which has the row, is not in the traceback


def test_the_text_of_a_refund_shows_neither_uid_nor_email() -> None:
    shown = f"{refund(email='jane@example.com')!r} {refund(email='jane@example.com')}"
    assert "re_1" in shown
    assert "jane" not in shown
    assert "cus_1" not in shown


# --- columns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        (["event_id", "amount", "uid"], []),
        (["EVENT_ID", "AMOUNT", "EMAIL", "NOTE"], []),
        (["amount", "uid"], ["event_id"]),
        (["event_id", "email"], ["amount"]),
        (["event_id", "amount"], ["uid or email"]),
        ([], ["event_id", "amount", "uid or email"]),
    ],
)
def test_missing_columns_are_named(columns: list[str], missing: list[str]) -> None:
    assert missing_columns(columns) == missing


def test_an_id_that_does_not_count_does_not_stand_in_for_the_one_that_does() -> None:
    assert missing_columns(["event_id", "amount", "uid"], ("email",)) == ["email"]


def test_known_columns_come_in_one_order_whatever_the_query_says() -> None:
    assert list(known_columns({"UID": 1, "x": 2, "Amount": 3, "event_id": 4})) == ["event_id", "amount", "uid"]


@pytest.mark.parametrize(
    ("held", "usable"), [("re_1", "re_1"), (7, "7"), (7.0, "7"), (None, None), (NAN, None), (" a", None), (b"a", None)]
)
def test_a_rows_event_id_is_none_where_it_cannot_be_sent(held: object, usable: str | None) -> None:
    assert event_id_of({"EVENT_ID": held}) == usable
    assert event_id_of({}) is None


# --- through XCom ---------------------------------------------------------------------------------------


def test_rows_travel_as_plain_json_without_other_columns() -> None:
    row = {
        "EVENT_ID": UUID(int=1),
        "amount": Decimal("19.90"),
        "uid": 7,
        "email": None,
        "quantity": 2.0,
        "skip_email_notification": True,
        "note": "stays",
    }
    travelling = portable(row)
    assert json.loads(json.dumps(travelling)) == travelling
    assert {type(value) for value in travelling.values()} <= {str, int, bool, type(None)}
    assert travelling["event_id"] == "00000000-0000-0000-0000-000000000001"
    assert travelling["amount"] == "19.90"
    assert "note" not in travelling


@pytest.mark.parametrize(
    "columns",
    [
        {"event_id": 12},
        {"event_id": Decimal("12")},
        {"event_id": UUID(int=1)},
        {"amount": Decimal("1999.00")},
        {"amount": 1999.0},
        {"quantity": 2.0},
        {"uid": NAN, "email": "jane@example.com"},
        {"skip_email_notification": False},
        {"skip_email_notification": Decimal(1)},
        {"event_id": 12.0},
        {"event_id": Decimal("12.00")},
        {"uid": 7.0},
        {"sale_event_id": Decimal("7.0")},
        {"skip_email_notification": 1.0},
    ],
    ids=repr,
)
def test_a_row_out_of_xcom_is_the_same_refund(columns: dict[str, object]) -> None:
    row = {**ROW, **columns}
    assert Refund.from_row(json.loads(json.dumps(portable(row)))) == Refund.from_row(row)


@pytest.mark.parametrize(
    "unusable", [12.5, Decimal("12.50"), 1e17, b"re_1", date(2026, 1, 2), Decimal("Infinity")], ids=repr
)
@pytest.mark.parametrize("column", ["event_id", "uid", "sale_event_id"])
def test_what_is_no_id_is_refused_behind_xcom_too(column: str, unusable: object) -> None:
    """Nor is it left out: the refund would go out by its other id, or without its sale."""
    row = {**ROW, "uid": "cus_1", "email": "jane@example.com", column: unusable}
    for given in (row, json.loads(json.dumps(portable(row)))):
        with pytest.raises(InvalidRefund, match=column if column != "event_id" else "refund without event_id"):
            Refund.from_row(given)


@pytest.mark.parametrize(
    ("column", "refused"),
    [
        ("amount", b"5"),
        ("amount", date(2026, 1, 2)),
        ("quantity", b""),
        ("quantity", b"5"),
        ("skip_email_notification", b"true"),
        ("skip_email_notification", Decimal("0.5")),
    ],
    ids=repr,
)
def test_what_is_refused_in_another_column_is_refused_behind_xcom_too(column: str, refused: object) -> None:
    row = {**ROW, column: refused}
    for given in (row, json.loads(json.dumps(portable(row)))):
        with pytest.raises(InvalidRefund, match=column):
            Refund.from_row(given)
