"""Rows on their way: numbered, read from a driver or from XCom, and in batches."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import count

import pytest

from airflow_provider_firstpromoter.calls import DIGEST_COLUMN, REASON_COLUMN, REFUND, same_amount
from airflow_provider_firstpromoter.calls.row import Row, batches, numbered

ROW = {"event_id": "re_1", "amount": Decimal("19.90"), "uid": 7, "email": "jane@example.com"}


def test_rows_are_numbered_in_order_and_keep_known_columns_only() -> None:
    rows = list(numbered([{"EVENT_ID": 7, "Amount": Decimal("1.50"), "note": "x"}, {"uid": "cus_1"}], call=REFUND))
    assert rows == [
        Row(0, {"event_id": 7, "amount": Decimal("1.50")}, "7", "1.50", call=REFUND),
        Row(1, {"uid": "cus_1"}, None, None, call=REFUND),
    ]


def test_rows_are_read_one_by_one() -> None:
    endless = numbered(({"event_id": number, "amount": 1} for number in count()), call=REFUND)
    assert [next(endless).position for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("amount", ["jane@example.com", "12 EUR", None, float("nan"), "", b"\xff", "9" * 65], ids=repr)
def test_amount_that_is_no_number_is_not_kept(amount: object) -> None:
    assert next(numbered([{**ROW, "amount": amount}], call=REFUND)).amount is None


@pytest.mark.parametrize(
    ("held", "read"),
    [
        (datetime(2026, 3, 1, 12, 30, tzinfo=UTC), datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        (datetime(2026, 3, 1, 12, 30), datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        (datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5))), datetime(2026, 3, 1, 7, tzinfo=UTC)),
        (date(2026, 3, 1), datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        (" 2026-03-01 12:30:00+02:00 ", datetime(2026, 3, 1, 10, 30, tzinfo=UTC)),
        ("2026-03-01T12:30:00Z", datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
        (1_772_366_400, None),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), None),
    ],
    ids=repr,
)
def test_refunded_at_is_read_as_utc_and_an_unreadable_one_is_absent(held: object, read: datetime | None) -> None:
    row = next(numbered([{**ROW, "REFUNDED_AT": held}], call=REFUND))
    assert row.happened_at == read
    assert row.happened_at is None or row.happened_at.utcoffset() == timedelta(0)
    assert "refunded_at" not in row.values


def test_row_is_the_same_after_json_with_its_report_columns() -> None:
    given = {
        **ROW,
        "amount": "19.90",
        "refunded_at": datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        DIGEST_COLUMN: "d" * 16,
        REASON_COLUMN: "recheck",
        "note": "stays",
    }
    row = next(numbered([given], call=REFUND))
    travelled = json.loads(json.dumps(row.portable()))
    assert {type(value) for value in travelled.values()} <= {str, int, bool, type(None)}
    assert Row.read(0, travelled, call=REFUND) == row
    assert "note" not in travelled


def test_portable_row_without_report_columns_has_no_further_keys() -> None:
    assert next(numbered([{**ROW, "amount": "19.90"}], call=REFUND)).portable() == {**ROW, "amount": "19.90"}


@pytest.mark.parametrize("held", [None, "", 7, b"x", ["recheck"]], ids=repr)
def test_reason_or_digest_that_is_no_text_is_absent(held: object) -> None:
    row = next(numbered([{**ROW, DIGEST_COLUMN: held, REASON_COLUMN: held}], call=REFUND))
    assert (row.digest, row.reason) == (None, None)


def test_batches_are_full_except_the_last() -> None:
    rows = list(numbered(({"event_id": number, "amount": 1} for number in range(7)), call=REFUND))
    assert [len(batch) for batch in batches(rows, 3)] == [3, 3, 1]
    assert [row for batch in batches(rows, 3) for row in batch] == rows
    assert list(batches([], 3)) == []


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
