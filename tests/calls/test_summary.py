"""Summary: counts and sums of results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import Commission, Outcome, Result, Summary


def result(
    outcome: Outcome, sent: bool = True, reward: Commission | None = None, event_id: str | None = "re"
) -> Result:
    return Result(
        event_id=event_id, outcome=outcome, sent=sent, commissions=(reward,) if reward else (), message=f"is {outcome}"
    )


CASH = Commission(id=1, amount=-200, unit="cash")


def test_summary_adds_up() -> None:
    summary = Summary()
    summary.add(result(Outcome.RECORDED, reward=CASH), amount=1000, currency="EUR", sale_event_id="ch_1")
    summary.add(result(Outcome.RECORDED, reward=CASH), amount=500, currency="JPY")
    summary.add(result(Outcome.RECORDED, sent=False, reward=CASH), amount=100, currency="EUR")
    summary.add(result(Outcome.RECORDED, reward=Commission(id=1, amount=-3, unit="credits")), amount=7)
    summary.add(result(Outcome.RECORDED, reward=Commission(id=1, amount=-1)))
    summary.add(
        result(Outcome.RECORDED, reward=Commission(id=1, unit="cash")), amount=40, currency="EUR", sale_event_id="ch_2"
    )
    summary.add(result(Outcome.ALREADY_RECORDED), amount=60, currency="EUR", sale_event_id="ch_3")
    summary.add(result(Outcome.NOT_REFERRED), amount=9999, currency="EUR")
    summary.add(result(Outcome.NOT_REFERRED, sent=False), amount=9999, currency="EUR")
    summary.add(result(Outcome.REJECTED, sent=False))
    summary.add(result(Outcome.REJECTED), amount=9999, currency="EUR")
    summary.add(result(Outcome.CHANGED, sent=False))
    summary.add(result(Outcome.CHANGED, sent=False), new=False)
    summary.add(result(Outcome.FAILED), amount=9999, currency="EUR")
    summary.add(result(Outcome.PENDING, sent=False))

    payload = summary.to_json()
    assert payload["outcomes"] == {
        "recorded": 6,
        "already_recorded": 1,
        "not_referred": 2,
        "rejected": 2,
        "changed": 2,
        "failed": 1,
        "reverted": 0,
        "pending": 1,
    }
    assert (payload["sent"], payload["skipped"]) == (9, 2)
    assert payload["rewards"] == {"cash": -600, "credits": -3, "unknown": -1}
    assert payload["rewards_unknown"] == 2
    assert payload["amounts"] == {"EUR": 1200, "JPY": 500, "account": 7}
    assert payload["without_sale_event_id"] == 3
    assert (summary.need_attention, summary.new_problems, payload["still_open"]) == (4, 3, 1)
    assert [(problem["outcome"], problem["new"]) for problem in payload["problems"]] == [
        ("rejected", True),
        ("rejected", True),
        ("changed", True),
        ("changed", False),
        ("failed", True),
    ]
    assert json.loads(json.dumps(payload)) == payload


def test_summary_counts_every_outcome_even_if_zero() -> None:
    assert Summary().to_json()["outcomes"] == {outcome.value: 0 for outcome in Outcome}


def test_summary_names_twenty_problems_and_counts_all() -> None:
    summary = Summary()
    for number in range(25):
        summary.add(result(Outcome.REJECTED, event_id=f"re_{number}"))
    assert summary.add(result(Outcome.FAILED, event_id="re_25")) is not None, "twenty of each outcome"
    assert [problem.event_id for problem in summary.problems] == [*(f"re_{number}" for number in range(20)), "re_25"]
    assert summary.add(result(Outcome.REJECTED, event_id="re_26"), new=False) is not None, "old ones apart"
    assert summary.problems[0].reason == "is rejected"
    assert summary.outcomes[Outcome.REJECTED] == 26


def test_summary_names_a_new_problem_after_twenty_old_ones() -> None:
    summary = Summary()
    for number in range(30):
        summary.add(result(Outcome.REJECTED, event_id=f"re_{number}"), new=number == 29)
    assert [problem.event_id for problem in summary.problems if problem.new] == ["re_29"]


def test_summary_leaves_out_the_sums_of_a_refund_that_another_run_reversed() -> None:
    summary = Summary()
    ours: dict[str, Any] = {"amount": 1000, "currency": "EUR"}
    theirs: dict[str, Any] = {"amount": 500, "currency": "USD"}
    summary.add(result(Outcome.RECORDED, reward=CASH), **ours)
    summary.add(result(Outcome.RECORDED, reward=CASH), **theirs)
    summary.add(result(Outcome.ALREADY_RECORDED), **theirs)

    summary.attribute_elsewhere(result(Outcome.RECORDED, reward=CASH), **theirs)
    summary.attribute_elsewhere(result(Outcome.ALREADY_RECORDED), **theirs)

    payload = summary.to_json()
    assert (payload["outcomes"]["recorded"], payload["outcomes"]["already_recorded"], payload["sent"]) == (2, 1, 3)
    assert {unit: amount for unit, amount in summary.rewards.items() if amount} == {"cash": -200}
    assert payload["rewards"] == {"cash": -200}
    assert payload["amounts"] == {"EUR": 1000}
    assert (payload["rewards_unknown"], payload["without_sale_event_id"]) == (0, 1)


def test_total_has_what_earlier_tries_settled_and_not_what_comes_again() -> None:
    earlier, this = Summary(), Summary(account="acc")
    for summary in (earlier, this):
        for outcome in Outcome:
            summary.add(result(outcome, reward=CASH if outcome is Outcome.RECORDED else None), amount=10)

    total = this.plus_settled(earlier)

    assert total.account == "acc"
    assert total.outcomes == {
        "recorded": 2,
        "already_recorded": 2,
        "not_referred": 2,
        "rejected": 1,
        "changed": 1,
        "failed": 1,
        "reverted": 2,
        "pending": 1,
    }
    assert total.rewards == {"cash": -400}
    assert total.amounts == {"account": 40}
    assert (total.rewards_unknown, total.without_sale_event_id) == (2, 4)
    assert this.outcomes[Outcome.RECORDED] == 1, "the summary of this try stays as it is"
    assert total.sent == this.sent


@pytest.mark.parametrize(
    ("outcome", "stored", "on_record", "remembers_content", "needs_attention"),
    [
        ("recorded", True, True, False, False),
        ("already_recorded", True, True, False, False),
        ("not_referred", True, False, True, False),
        ("rejected", True, False, True, True),
        ("failed", True, False, False, False),
        ("reverted", True, False, False, False),
        ("changed", False, False, False, True),
        ("pending", False, False, False, False),
    ],
)
def test_outcome_says_what_follows_from_it(
    outcome: str, stored: bool, on_record: bool, remembers_content: bool, needs_attention: bool
) -> None:
    one = Outcome(outcome)
    assert (one.stored, one.on_record, one.remembers_content, one.needs_attention) == (
        stored,
        on_record,
        remembers_content,
        needs_attention,
    )
    assert one.is_problem is (needs_attention or outcome == "failed")


def test_reverted_is_the_strongest_outcome_and_failed_the_weakest_that_is_stored() -> None:
    by_strength = sorted((one for one in Outcome if one.stored), key=lambda one: one.strength)
    assert by_strength == ["failed", "rejected", "not_referred", "already_recorded", "recorded", "reverted"]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_outcomes_that_need_nothing_more_are_settled(outcome: Outcome) -> None:
    assert outcome.settled == (outcome in ("recorded", "already_recorded", "not_referred", "reverted"))
