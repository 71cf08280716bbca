"""Refunds through XCom: a row is the same refund, or refused for the same reason, afterwards."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest

from airflow_provider_firstpromoter.calls import (
    REFUND,
    Refund,
)
from airflow_provider_firstpromoter.exceptions import InvalidRowError
from tests.calls.warehouse_values import NAN, ROW


def test_portable_row_is_plain_json_without_other_columns() -> None:
    row = {
        "EVENT_ID": UUID(int=1),
        "amount": Decimal("19.90"),
        "uid": 7,
        "email": None,
        "quantity": 2.0,
        "skip_email_notification": True,
        "note": "stays",
    }
    travelling = REFUND.portable(row)
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
        {"event_id": Decimal("1234567890123456789")},
        {"uid": Decimal("9" * 255)},
        {"uid": 7.0},
        {"sale_event_id": Decimal("7.0")},
        {"skip_email_notification": 1.0},
    ],
    ids=repr,
)
def test_row_after_xcom_is_the_same_refund(columns: dict[str, object]) -> None:
    row = {**ROW, **columns}
    assert Refund.from_row(json.loads(json.dumps(REFUND.portable(row)))) == Refund.from_row(row)


@pytest.mark.parametrize(
    "unusable", [12.5, Decimal("12.50"), 1e17, b"re_1", date(2026, 1, 2), Decimal("Infinity")], ids=repr
)
@pytest.mark.parametrize("column", ["event_id", "uid", "sale_event_id"])
def test_invalid_id_is_rejected_after_xcom_too(column: str, unusable: object) -> None:
    """Nor is it left out: the refund would go out by its other id, or without its sale."""
    row = {**ROW, "uid": "cus_1", "email": "jane@example.com", column: unusable}
    for given in (row, json.loads(json.dumps(REFUND.portable(row)))):
        with pytest.raises(InvalidRowError, match=column if column != "event_id" else "refund without event_id"):
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
def test_invalid_value_in_another_column_is_rejected_after_xcom_too(column: str, refused: object) -> None:
    row = {**ROW, column: refused}
    for given in (row, json.loads(json.dumps(REFUND.portable(row)))):
        with pytest.raises(InvalidRowError, match=column):
            Refund.from_row(given)
