"""Which reversals are taken for duplicates of refunds that were sent."""

from __future__ import annotations

from airflow_provider_firstpromoter.reconcile.staging import Recorded, match_duplicates


def reversal(event_id: str, moment: float, original: str | None = None, amount: int | None = -1000) -> Recorded:
    return Recorded(event_id, 1, moment, original, amount)


def matched(sent: list[Recorded], unsent: list[Recorded]) -> dict[str | None, str | None]:
    return {duplicate.event_id: original.event_id for duplicate, original in match_duplicates(sent, unsent)}


def test_refund_that_was_sent_has_one_duplicate_at_most() -> None:
    assert matched([reversal("re_1", 0)], [reversal("x_2", 20), reversal("x_1", 10)]) == {"x_1": "re_1"}


def test_each_refund_of_the_same_price_has_its_own_duplicate_nearest_in_time() -> None:
    sent = [reversal("re_1", 0), reversal("re_2", 1000), reversal("re_3", 2000)]
    assert matched(sent, [reversal("x_3", 2100), reversal("x_1", -50)]) == {"x_1": "re_1", "x_3": "re_3"}
    assert matched(sent, [reversal("x_1", 1100), reversal("x_2", 1200)]) == {"x_1": "re_2", "x_2": "re_3"}


def test_other_amount_is_no_duplicate() -> None:
    assert matched([reversal("re_1", 0)], [reversal("x_1", 0, amount=-999)]) == {}
    assert matched([reversal("re_1", 0, amount=None)], [reversal("x_1", 0, amount=None)]) == {}


def test_amounts_are_compared_before_conversion_where_both_sides_have_them() -> None:
    euros = reversal("re_1", 0, "-900 EUR", -1000)
    assert matched([euros], [reversal("x_1", 0, "-900 EUR", -1010)]) == {"x_1": "re_1"}
    assert matched([euros], [reversal("x_1", 0, "-1000 USD", -1000)]) == {}
    assert matched([euros], [reversal("x_1", 0, None, -1000)]) == {"x_1": "re_1"}
    assert matched([reversal("re_1", 0, None, -1000)], [reversal("x_1", 0, "-900 EUR", -1000)]) == {"x_1": "re_1"}


def test_many_refunds_of_one_lead_and_amount_are_matched_in_time() -> None:
    sent = [reversal(f"re_{n}", n) for n in range(5000)]
    unsent = [reversal(f"x_{n}", n + 0.25) for n in range(5000)]

    assert matched(sent, unsent) == {f"x_{n}": f"re_{n}" for n in range(5000)}
