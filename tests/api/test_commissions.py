"""Commissions: what of FirstPromoter's JSON is kept, and how warnings about the rest read."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from airflow_provider_firstpromoter.api import describe_unreadable, recorded_facts
from airflow_provider_firstpromoter.calls import SALE, Commission

REFUND = {"id": 7, "event_id": "re_1", "sale_amount": -1000, "amount": -200, "unit": "cash"}


@pytest.mark.parametrize("identifier", [None, True, 0, -1, 2**63, 1.5, "x", [], {}])
def test_commission_without_a_usable_id_is_invalid(identifier: Any) -> None:
    with pytest.raises(ValidationError):
        Commission.model_validate({**REFUND, "id": identifier})


@pytest.mark.parametrize(
    ("event_id", "kept"),
    [
        ("re_1", "re_1"),
        (7, "7"),
        (2**53 + 1, "9007199254740993"),
        ("x" * 255, "x" * 255),
        ("x" * 256, None),
        ("", None),
        ("a\x00b", None),
        ("\ud800", None),
        (["re_1"], None),
        (True, None),
    ],
)
def test_commission_keeps_an_event_id_only_if_a_refund_could_have_it(event_id: Any, kept: str | None) -> None:
    """Databases cannot store the others: one such commission would end every reconciliation."""
    assert Commission.model_validate({**REFUND, "event_id": event_id}).event_id == kept


@pytest.mark.parametrize("value", [None, "x", "x" * 10_000, "\x00", [], {}, 2**70, -(2**63) - 1, 1.5, True])
def test_commission_with_any_value_in_other_fields_is_valid(value: Any) -> None:
    fields = [name for name in Commission.model_fields if name not in ("id", "event_id")]

    commission = Commission.model_validate({**REFUND, **dict.fromkeys(fields, value)})

    assert commission.id == 7
    assert commission.is_of(SALE) in (True, False)
    recorded_facts([commission])


def test_describe_unreadable_counts_by_page_and_is_bounded() -> None:
    assert describe_unreadable({1: 1, 12: 3}) == (
        "1 commission on page 1, 3 commissions on page 12 could not be read and were skipped: "
        "each is not an object, or its id is not a positive whole number"
    )
    assert "on page 5 and others on 995 more pages could" in describe_unreadable(dict.fromkeys(range(1, 1001), 1))
