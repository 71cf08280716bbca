"""A sale: its columns, its amounts, and its body on the wire."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import SALE, Sale, Validation
from airflow_provider_firstpromoter.exceptions import InvalidRowError

ROW = {"event_id": "ch_1", "amount": 2900, "uid": "cus_1", "email": "jane@example.com"}


def test_sale_body_has_the_types_of_the_contract() -> None:
    sale = Sale.from_row(
        {**ROW, "quantity": "2", "plan": "pro", "mrr": Decimal("2900"), "tid": "t1", "ref_id": "r1", "promo_code": "X"}
    )
    assert sale.body("uid") == {
        "event_id": "ch_1",
        "amount": 2900,
        "uid": "cus_1",
        "quantity": 2,
        "plan": "pro",
        "mrr": "2900",
        "promo_code": "X",
        "tid": "t1",
        "ref_id": "r1",
    }


def test_sale_mrr_in_major_units_is_converted_as_the_amount_is() -> None:
    how = Validation(amount_unit="major", currency="USD")
    sale = Sale.from_row({**ROW, "amount": "29.00", "mrr": "9.90"}, how)
    assert (sale.amount, sale.mrr, sale.body("email")["mrr"]) == (2900, 990, "990")


@pytest.mark.parametrize(("mrr", "expected"), [(0, 0), ("0", 0), (None, None), ("", None)])
def test_sale_mrr_of_zero_or_none_is_allowed(mrr: Any, expected: int | None) -> None:
    assert Sale.from_row({**ROW, "mrr": mrr}).mrr == expected


@pytest.mark.parametrize("mrr", [-1, "1.5", "nine", True])
def test_sale_mrr_that_is_no_amount_is_rejected(mrr: Any) -> None:
    with pytest.raises(InvalidRowError, match="sale 'ch_1': mrr"):
        Sale.from_row({**ROW, "mrr": mrr})


def test_sale_sold_at_is_reported_and_never_sent() -> None:
    assert SALE.moment == "sold_at"
    assert "sold_at" not in Sale.from_row({**ROW, "sold_at": "2026-01-01"}).body("uid")
