"""The summary of a run, and the error that it becomes."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_firstpromoter.exceptions import (
    EventsRejectedError,
)
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from tests.support import BOTH_SHAPES, refund, refunds
from tests.sync.runs import A_MONTH, Refunds


@BOTH_SHAPES
def test_run_summary_adds_up(track: Refunds) -> None:
    track.sandbox.add_lead(uid="cus_points", promoter="ref2", unit="points")
    track(refund(0), refund(50))
    track.let_days_pass(2)
    FirstPromoterHook().track_refund(refund(1))
    track.sandbox.fault("status", status=500, event_id="re_5")

    run = track(
        refund(0),  # settled, and its sums are those of the run that reversed it
        refund(1, sale_event_id="ch_1"),  # already there, its reward unknown
        refund(2, amount=10_000),
        refund(3, amount=700, currency="JPY", sale_event_id="ch_3"),
        refund(4, uid="cus_points", amount=500, currency="EUR"),
        refund(5),  # fails
        refund(6, amount=0),  # rejected
        refund(2, amount=10_000),  # repeated
        refund(2, amount=10_001),  # changed
        refund(50),  # asked again
        recheck_unreferred=A_MONTH,
    )

    summary = run.summary.to_json()
    assert summary["outcomes"] == {
        "recorded": 4,
        "already_recorded": 1,
        "not_referred": 1,
        "rejected": 1,
        "changed": 1,
        "failed": 1,
        "reverted": 0,
        "pending": 0,
    }
    counts = ("sent", "skipped", "rechecked", "repeated", "left_pending", "rewards_unknown", "without_sale_event_id")
    assert [summary[name] for name in counts] == [6, 1, 1, 1, 0, 1, 2]
    rewards = {recorded.event_id: recorded.reward_amount for recorded in track.sandbox.recorded()}
    assert summary["rewards"] == {
        "cash": rewards["re_2"] + rewards["re_3"],
        "points": rewards["re_4"],
    }
    assert summary["amounts"] == {"account": 10_000, "JPY": 700, "EUR": 500}, "not what a 409 alone says"
    assert {problem["event_id"]: problem["outcome"] for problem in summary["problems"]} == {
        "re_5": "failed",
        "re_6": "rejected",
        "re_2": "changed",
    }
    assert summary["requests"] == 6
    assert summary["seconds"] > 0
    assert summary["stopped_because"] is None


def test_run_summary_names_twenty_problems_and_counts_all(track: Refunds) -> None:
    run = track(*refunds(50, amount=0))

    assert len(run.summary.problems) == 20
    with pytest.raises(EventsRejectedError, match=r"^50 rejected: 're_0', .*'re_4' and 45 more"):
        run.sync.raise_for_summary()


@pytest.mark.parametrize(("max_rejected", "fails"), [(0, True), (1, True), (2, False), (None, False)])
def test_max_rejected_counts_rejected_and_changed_refunds(
    track: Refunds, max_rejected: int | None, fails: bool
) -> None:
    track(refund(0))

    run = track(refund(0, amount=5), refund(1, amount=0), refund(2), max_rejected=max_rejected)

    assert run.outcomes == {"changed": 1, "rejected": 1, "recorded": 1}, "the others were sent"
    if fails:
        with pytest.raises(EventsRejectedError) as rejected:
            run.sync.raise_for_summary()
        assert isinstance(rejected.value, AirflowFailException), "no retry mends it"
    else:
        run.sync.raise_for_summary()
