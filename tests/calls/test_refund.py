"""Refund.from_row: which rows are refunds, the body that is sent, and the errors of the other rows."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from airflow_provider_firstpromoter.calls import (
    REFUND,
    Refund,
    Validation,
    event_id_of,
)
from airflow_provider_firstpromoter.exceptions import InvalidRowError
from tests.calls.warehouse_values import NAN, ROW, reason, refund

# --- ids ---


@pytest.mark.parametrize("absent", ["event_id", "amount"])
def test_missing_required_column_is_named(absent: str) -> None:
    with pytest.raises(InvalidRowError, match=f"{absent} is missing"):
        Refund.from_row({name: value for name, value in ROW.items() if name != absent})


# --- who ---


def test_identities_are_in_the_order_of_identify_by() -> None:
    pair = refund(email="jane@example.com")
    assert pair.identities() == [("uid", "cus_1"), ("email", "jane@example.com")]
    assert pair.identities(("email", "uid")) == [("email", "jane@example.com"), ("uid", "cus_1")]
    assert pair.identities(("email",)) == [("email", "jane@example.com")]


def test_one_id_is_enough() -> None:
    assert refund().identities() == [("uid", "cus_1")]
    assert refund(uid=None, email="jane@example.com").identities() == [("email", "jane@example.com")]


def test_id_outside_identify_by_is_not_read() -> None:
    by_email = Validation(identify_by=("email",))
    assert refund(by_email, uid=" unusable ", email="jane@example.com").uid is None
    assert reason(by_email, email=None) == "neither uid nor email has a value"


# --- the other columns ---


def test_other_columns_are_ignored() -> None:
    assert refund(note=object(), created_at=datetime.now(UTC), AMOUNT_USD=5, **{"": 1}) == refund()


def test_column_names_may_be_in_upper_case() -> None:
    shouted = Refund.from_row({"EVENT_ID": "re_1", "AMOUNT": 1999, "Uid": "cus_1", "SALE_EVENT_ID": "ch_1"})
    assert shouted == refund(sale_event_id="ch_1")


def test_row_is_not_modified() -> None:
    row = {**ROW, "email": "jane@example.com", "note": "x"}
    before = dict(row)
    Refund.from_row(row, Validation(identify_by=("email",), skip_email_notification=True))
    assert row == before


# --- the body ---


def test_body_leaves_out_missing_fields() -> None:
    assert refund().body("uid") == {"event_id": "re_1", "amount": "1999", "uid": "cus_1"}


def test_full_body_has_amount_and_quantity_as_strings_and_one_id() -> None:
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


# --- what errors say ---


def test_error_names_the_event_id_and_every_invalid_column() -> None:
    with pytest.raises(InvalidRowError) as caught:
        refund(amount="x", uid="a\x00", email=" b", quantity=0, currency="??", sale_event_id=True)
    assert caught.value.event_id == "re_1"
    assert str(caught.value).startswith("refund 're_1': ")
    for column in ("amount", "uid", "email", "quantity", "currency", "sale_event_id"):
        assert f"{column} " in caught.value.reason


def test_error_of_a_row_without_a_usable_event_id_says_so() -> None:
    with pytest.raises(InvalidRowError) as caught:
        refund(event_id="x" * 300)
    assert caught.value.event_id is None
    assert str(caught.value).startswith("refund without event_id: event_id has 300 characters")


@pytest.mark.parametrize("column", ["uid", "email", "amount", "currency", "quantity", "sale_event_id"])
@pytest.mark.parametrize("shape", ["{} ", "{}\x00", "{}" + "x" * 300])
def test_error_never_shows_values_of_the_row(column: str, shape: str) -> None:
    private = shape.format("jane.doe@example.com")
    with pytest.raises(InvalidRowError) as caught:
        refund(**{column: private})
    assert "jane" not in f"{caught.value} {caught.value!r} {caught.value.reason}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__  # pydantic's error, which has the row, is not in the traceback


def test_repr_of_a_refund_shows_neither_uid_nor_email() -> None:
    shown = f"{refund(email='jane@example.com')!r} {refund(email='jane@example.com')}"
    assert "re_1" in shown
    assert "jane" not in shown
    assert "cus_1" not in shown


# --- columns ---


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
    assert REFUND.missing_columns(columns) == missing


def test_id_outside_identify_by_does_not_replace_the_required_one() -> None:
    assert REFUND.missing_columns(["event_id", "amount", "uid"], ("email",)) == ["email"]


@pytest.mark.parametrize(
    ("columns", "repeated"),
    [
        (["event_id", "amount", "uid", "note", "note"], []),
        (["event_id", "amount", "uid", "amount"], ["amount"]),
        (["event_id", "Amount", "uid", "AMOUNT"], ["amount"]),
        (["uid", "UID", "event_id", "Event_Id", "amount"], ["uid", "event_id"]),
        (["event_id", "amount", "uid", "refunded_at", "REFUNDED_AT"], ["refunded_at"]),
        ([], []),
    ],
)
def test_column_of_the_call_that_occurs_twice_in_any_case_is_named(columns: list[str], repeated: list[str]) -> None:
    assert REFUND.repeated_columns(columns) == repeated


def test_known_columns_have_one_order() -> None:
    assert list(REFUND.known_columns({"UID": 1, "x": 2, "Amount": 3, "event_id": 4})) == ["uid", "event_id", "amount"]


@pytest.mark.parametrize(
    ("held", "usable"),
    [
        ("re_1", "re_1"),
        (7, "7"),
        (7.0, "7"),
        (Decimal("1234567890123456789"), "1234567890123456789"),
        ("x" * 255, "x" * 255),
        ("x" * 256, None),
        (None, None),
        (NAN, None),
        (" a", None),
        (b"a", None),
    ],
)
def test_event_id_of_a_row_is_none_if_unusable(held: object, usable: str | None) -> None:
    assert event_id_of({"EVENT_ID": held}) == usable
    assert event_id_of({}) is None
