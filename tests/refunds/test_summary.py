"""Summary: counts and sums of results."""

from __future__ import annotations

import json

import pytest

from airflow_provider_firstpromoter.refunds import Outcome, Result, Reward, Summary


def result(outcome: Outcome, sent: bool = True, reward: Reward | None = None, event_id: str | None = "re") -> Result:
    return Result(event_id=event_id, outcome=outcome, sent=sent, reward=reward, message=f"is {outcome}")


CASH = Reward(amount=-200, unit="cash")


def test_summary_adds_up() -> None:
    summary = Summary()
    summary.add(result(Outcome.RECORDED, reward=CASH), amount=1000, currency="EUR", sale_event_id="ch_1")
    summary.add(result(Outcome.RECORDED, reward=CASH), amount=500, currency="JPY")
    summary.add(result(Outcome.RECORDED, sent=False, reward=CASH), amount=100, currency="EUR")
    summary.add(result(Outcome.RECORDED, reward=Reward(amount=-3, unit="credits")), amount=7)
    summary.add(result(Outcome.RECORDED, reward=Reward(amount=-1)))
    summary.add(result(Outcome.RECORDED, reward=Reward(unit="cash")), amount=40, currency="EUR", sale_event_id="ch_2")
    summary.add(result(Outcome.ALREADY_RECORDED), amount=60, currency="EUR", sale_event_id="ch_3")
    summary.add(result(Outcome.NOT_REFERRED), amount=9999, currency="EUR")
    summary.add(result(Outcome.NOT_REFERRED, sent=False), amount=9999, currency="EUR")
    summary.add(result(Outcome.REJECTED, sent=False))
    summary.add(result(Outcome.REJECTED), amount=9999, currency="EUR")
    summary.add(result(Outcome.CHANGED, sent=False))
    summary.add(result(Outcome.FAILED), amount=9999, currency="EUR")
    summary.add(result(Outcome.PENDING, sent=False))

    told = summary.to_json()
    assert told["outcomes"] == {
        "recorded": 6,
        "already_recorded": 1,
        "not_referred": 2,
        "rejected": 2,
        "changed": 1,
        "failed": 1,
        "pending": 1,
    }
    assert (told["sent"], told["skipped"]) == (9, 2)
    assert told["reversed"] == {"cash": -600, "credits": -3, "unknown": -1}
    assert told["rewards_unknown"] == 2
    assert told["refunded"] == {"EUR": 1200, "JPY": 500, "account": 7}
    assert told["without_sale_event_id"] == 3
    assert summary.need_attention == 3
    assert [problem["outcome"] for problem in told["problems"]] == ["rejected", "rejected", "changed", "failed"]
    assert json.loads(json.dumps(told)) == told


def test_summary_counts_every_outcome_even_if_zero() -> None:
    assert Summary().to_json()["outcomes"] == {outcome.value: 0 for outcome in Outcome}


def test_summary_names_twenty_problems_and_counts_all() -> None:
    summary = Summary()
    for number in range(25):
        summary.add(result(Outcome.REJECTED, event_id=f"re_{number}"))
    assert [problem.event_id for problem in summary.problems] == [f"re_{number}" for number in range(20)]
    assert summary.problems[0].reason == "is rejected"
    assert summary.outcomes[Outcome.REJECTED] == 25


@pytest.mark.parametrize("outcome", list(Outcome))
def test_outcomes_that_need_nothing_more_are_settled(outcome: Outcome) -> None:
    assert outcome.settled == (outcome in ("recorded", "already_recorded", "not_referred"))
