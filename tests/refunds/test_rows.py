"""Rows on their way: numbered, marked where they repeat, and fingerprinted."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import count
from uuid import UUID

import pytest

from airflow_provider_firstpromoter.refunds import portable, same_amount
from airflow_provider_firstpromoter.refunds.rows import Row, batches, marking_repeats, numbered

ROW = {"event_id": "re_1", "amount": Decimal("19.90"), "uid": 7, "email": "jane@example.com"}
KEY = b"a key"


def fingerprint(row: dict[str, object], key: bytes = KEY) -> str:
    return next(numbered([row])).fingerprint(key)


def test_rows_are_numbered_in_order_and_keep_known_columns_only() -> None:
    rows = list(numbered([{"EVENT_ID": 7, "Amount": Decimal("1.50"), "note": "x"}, {"uid": "cus_1"}]))
    assert rows == [
        Row(0, {"event_id": 7, "amount": Decimal("1.50")}, "7", "1.50"),
        Row(1, {"uid": "cus_1"}, None, None),
    ]


def test_rows_are_read_one_by_one() -> None:
    endless = numbered({"event_id": number, "amount": 1} for number in count())
    assert [next(endless).position for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("amount", ["jane@example.com", "12 EUR", None, float("nan"), "", b"\xff", "9" * 65], ids=repr)
def test_amount_that_is_no_number_is_not_kept(amount: object) -> None:
    assert next(numbered([{**ROW, "amount": amount}])).amount is None


def test_repeated_row_has_the_amount_of_the_first() -> None:
    rows = marking_repeats(
        numbered(
            [
                {"event_id": "a", "amount": 1},
                {"event_id": "b", "amount": "x"},
                {"event_id": "a", "amount": 2},
                {"event_id": "A", "amount": 3},
                {"event_id": "a", "amount": 4},
                {"event_id": "b", "amount": 5},
                {"event_id": None, "amount": 6},
                {"event_id": None, "amount": 7},
            ]
        )
    )
    assert [row.repeats for row in rows] == [None, None, "1", None, "1", "", None, None]


def test_event_id_as_number_and_as_text_is_a_repeat() -> None:
    _, second = marking_repeats(numbered([{"event_id": 7, "amount": 1}, {"event_id": "7", "amount": 1}]))
    assert second.repeats == "1"


def test_batches_are_full_except_the_last() -> None:
    rows = list(numbered({"event_id": number, "amount": 1} for number in range(7)))
    assert [len(batch) for batch in batches(rows, 3)] == [3, 3, 1]
    assert [row for batch in batches(rows, 3) for row in batch] == rows
    assert list(batches([], 3)) == []


# --- the fingerprint ------------------------------------------------------------------------------------


def test_fingerprint_is_the_same_from_the_driver_and_from_xcom() -> None:
    row = {
        "EVENT_ID": UUID(int=1),
        "amount": Decimal("19.900"),
        "uid": 7,
        "email": float("nan"),
        "quantity": 2.0,
        "sale_event_id": b"ch_1",
        "skip_email_notification": True,
        "currency": "",
    }
    assert fingerprint(json.loads(json.dumps(portable(row)))) == fingerprint(row)


@pytest.mark.parametrize(
    "columns",
    [
        {"event_id": "re_2"},
        {"amount": Decimal("19.91")},
        {"uid": 8},
        {"uid": None},
        {"email": "john@example.com"},
        {"email": " jane@example.com"},
        {"email": "Jane@example.com"},
        {"currency": "EUR"},
        {"quantity": 1},
        {"sale_event_id": "ch_1"},
        {"skip_email_notification": False},
    ],
    ids=repr,
)
def test_fingerprint_changes_with_any_column(columns: dict[str, object]) -> None:
    assert fingerprint({**ROW, **columns}) != fingerprint(ROW)


def test_fingerprint_changes_if_a_value_moves_to_another_column() -> None:
    assert fingerprint({"uid": "a"}) != fingerprint({"email": "a"})
    assert fingerprint({"uid": "a\0email\0001\0b"}) != fingerprint({"uid": "a", "email": "b"})


def test_fingerprint_ignores_other_columns_order_and_null() -> None:
    other = {"note": "x", **dict(reversed(ROW.items())), "currency": None, "quantity": float("nan")}
    assert fingerprint(other) == fingerprint(ROW)
    assert fingerprint({name.upper(): value for name, value in ROW.items()}) == fingerprint(ROW)


def test_fingerprint_depends_on_the_key_and_reveals_nothing() -> None:
    assert fingerprint(ROW, b"another key") != fingerprint(ROW)
    assert len(fingerprint(ROW)) == 32
    assert set(fingerprint(ROW)) <= set("0123456789abcdef")


# --- amounts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.5", "10.50", True),
        ("1000", "1e3", True),
        ("+5", "5", True),
        ("5", "5.", True),
        ("0.1", "0.10000000000000000000000000000000000000001", False),
        ("10", "11", False),
        ("10", None, False),
        (None, None, True),
        ("x", "x", True),
        ("x", "y", False),
        ("5", "five", False),
    ],
)
def test_amounts_are_compared_as_numbers(one: str | None, other: str | None, same: bool) -> None:
    assert same_amount(one, other) is same
    assert same_amount(other, one) is same
