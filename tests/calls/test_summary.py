"""Summary: counts and sums of results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import Commission, Outcome, Result, Summary, Totals


def result(
    outcome: Outcome, sent: bool = True, reward: Commission | None = None, event_id: str | None = "re"
) -> Result:
    return Result(
        event_id=event_id, outcome=outcome, sent=sent, commissions=(reward,) if reward else (), message=f"is {outcome}"
    )


CASH = Commission(id=1, amount=-200, unit="cash")


def add(summary: Summary, result: Result, *, new: bool = True, **sent: Any) -> None:
    """Count a result and its sums."""
    summary.add(result, new=new)
    summary.add_sums(result, **sent)


def test_summary_adds_up() -> None:
    summary = Summary()
    add(summary, result(Outcome.RECORDED, reward=CASH), amount=1000, currency="EUR")
    add(summary, result(Outcome.RECORDED, reward=CASH), amount=500, currency="JPY", names_no_sale=True)
    add(summary, result(Outcome.RECORDED, sent=False, reward=CASH), amount=100, currency="EUR", names_no_sale=True)
    add(
        summary,
        result(Outcome.RECORDED, reward=Commission(id=1, amount=-3, unit="credits")),
        amount=7,
        names_no_sale=True,
    )
    add(summary, result(Outcome.RECORDED, reward=Commission(id=1, amount=-1)))
    add(
        summary,
        result(Outcome.RECORDED, reward=Commission(id=1, unit="cash")),
        amount=40,
        currency="EUR",
    )
    add(summary, result(Outcome.ALREADY_RECORDED), amount=60, currency="EUR")
    add(summary, result(Outcome.NOT_REFERRED), amount=9999, currency="EUR")
    add(summary, result(Outcome.NOT_REFERRED, sent=False), amount=9999, currency="EUR")
    add(summary, result(Outcome.REJECTED, sent=False))
    add(summary, result(Outcome.REJECTED), amount=9999, currency="EUR")
    add(summary, result(Outcome.CHANGED, sent=False))
    add(summary, result(Outcome.CHANGED, sent=False), new=False)
    add(summary, result(Outcome.FAILED), amount=9999, currency="EUR")
    add(summary, result(Outcome.PENDING, sent=False))

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
    assert payload["rewards_unknown"] == 1
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


def test_summary_counts_an_event_without_its_sums() -> None:
    """Another task run reports its commissions."""
    summary = Summary()
    summary.add(result(Outcome.RECORDED, reward=CASH))
    assert (summary.outcomes, summary.rewards, summary.amounts) == ({Outcome.RECORDED: 1}, {}, {})


def test_reverted_refund_has_only_the_rewards_that_are_in_effect_and_no_amount() -> None:
    summary = Summary()
    denied = CASH.model_copy(update={"status": "denied"})
    add(summary, result(Outcome.REVERTED, reward=denied), amount=1000)
    assert (summary.outcomes, summary.to_json()["rewards"], summary.amounts) == ({Outcome.REVERTED: 1}, {}, {})
    add(summary, result(Outcome.REVERTED, reward=CASH), amount=1000)
    assert summary.rewards == {"cash": -200}, "a tier that was made later"


def test_summary_with_settled_has_what_all_tries_settled_and_what_the_last_one_did_not() -> None:
    this = Summary(account="acc", sent=3)
    for outcome in Outcome:
        add(this, result(outcome, reward=CASH if outcome is Outcome.RECORDED else None), amount=10)
    settled = Totals(outcomes={Outcome.RECORDED: 5}, rewards={"cash": -900}, amounts={"EUR": 70}, rewards_unknown=1)

    total = this.with_settled(settled)

    assert {outcome: count for outcome, count in total.outcomes.items() if count} == {
        "recorded": 5,
        "rejected": 1,
        "changed": 1,
        "failed": 1,
        "pending": 1,
    }
    assert (total.account, total.sent) == ("acc", this.sent)
    assert (total.rewards, total.amounts, total.rewards_unknown) == ({"cash": -900}, {"EUR": 70}, 1)
    assert this.outcomes[Outcome.NOT_REFERRED] == 1, "the summary of this try stays as it is"


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
