"""
The customers of the soak tests: which leads FirstPromoter has of them, and what must become of their refunds.

Customer ``n`` has the uid ``cus_<n>``, the e-mail address ``c<n>@example.com`` and the refund ``re_<n>``, of which the
query gives both ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sandbox.seeds import LeadSeed
from tests import support

#: Customer ``n`` is of kind ``KINDS[n % len(KINDS)]``.
KINDS = (
    "unknown",  # to both ids the API answers 404, for ever
    "without_sale",  # 204 for the uid and 404 for the e-mail address, for ever
    "by_uid",
    "by_email",  # 404 for the uid, 200 for the e-mail address
    "sale_under_email",  # two leads: 204 for the uid, 200 for the e-mail address
    "late_sale",  # 204 for the uid until the sale arrives
    "late_lead",  # 404 for both until the lead arrives, known by its e-mail address
)
LATE = ("late_sale", "late_lead")
NEVER_REFERRED = ("unknown", "without_sale")


def kind(number: int) -> str:
    return KINDS[number % len(KINDS)]


def refund(number: int, **values: Any) -> dict[str, Any]:
    """Return the row of a customer's refund."""
    return support.refund(number, digits=5, **{"email": f"c{number}@example.com", **values})


def refunds(count: int) -> list[dict[str, Any]]:
    return [refund(number) for number in range(count)]


def event_ids(count: int, *kinds: str) -> set[str]:
    """Return the event_ids of all customers of these kinds."""
    return {refund(number)["event_id"] for number in range(count) if kind(number) in kinds}


def leads(count: int) -> Iterator[LeadSeed]:
    """Return the leads that FirstPromoter has from the beginning."""
    for number in range(count):
        uid, email = f"cus_{number}", f"c{number}@example.com"
        match kind(number):
            case "without_sale" | "late_sale":
                yield {"uid": uid, "bought": False}
            case "by_uid":
                yield {"uid": uid}
            case "by_email":
                yield {"email": email}
            case "sale_under_email":
                yield {"uid": uid, "bought": False}
                yield {"email": email}


def arrive_late(sandbox: Sandbox, count: int) -> None:
    """Let the late sales and leads arrive, after which their refunds can be recorded."""
    sandbox.add_leads({"email": f"c{number}@example.com"} for number in range(count) if kind(number) == "late_lead")
    sandbox.store.execute_many(
        "UPDATE leads SET customer_since = created_at WHERE uid = ?",
        [(f"cus_{number}",) for number in range(count) if kind(number) == "late_sale"],
    )


def age_ledger(database: Any, days: int) -> None:
    """Make every refund in the ledger older, so that ``not_referred`` ones are due to be sent again."""
    for column in ("first_sent_at", "last_sent_at"):
        aged = [
            ((datetime.fromisoformat(str(at)) - timedelta(days=days)).isoformat(" ", "microseconds"), event_id)
            for event_id, at in database.run(f"SELECT event_id, {column} FROM firstpromoter_refunds")
            if at is not None
        ]
        place = "?" if database.kind in ("sqlite", "duckdb") else "%s"
        if aged:
            database.run(f"UPDATE firstpromoter_refunds SET {column} = {place} WHERE event_id = {place}", aged)


def check_audit(sandbox: Sandbox, database: Any, truth: dict[str, str]) -> None:
    """
    Compare the ledger with what the sandbox recorded: nothing lost, nothing twice, no wrong outcome or reward.

    :param truth: the outcome of each event_id, with ``recorded`` also for ``already_recorded``
    """
    recorded = {refund.event_id: refund for refund in sandbox.recorded()}
    assert len(recorded) == len(sandbox.recorded()), "a refund was recorded twice"
    expected = {event_id for event_id, outcome in truth.items() if outcome == "recorded"}
    assert expected - recorded.keys() == set(), "refunds were lost"
    assert recorded.keys() - expected == set(), "refunds were recorded that must not be"
    outcomes = support.ledger_outcomes(database)
    settled = {event_id: outcome.removeprefix("already_") for event_id, outcome in outcomes.items()}
    wrong = {event_id: (settled.get(event_id), outcome) for event_id, outcome in truth.items()}
    assert {event_id: pair for event_id, pair in wrong.items() if pair[0] != pair[1]} == {}, "wrong outcomes"
    assert settled.keys() == truth.keys()
    rows = database.run(f"SELECT event_id, reward_id, reward_amount FROM {support.REFUNDS_WITH_REWARDS}")
    rewards = {event_id: (reward_id, amount) for event_id, reward_id, amount in rows if event_id in expected}
    assert rewards == {event_id: (each.reward_id, each.reward_amount) for event_id, each in recorded.items()}


def truth(count: int) -> dict[str, str]:
    """Return the outcome that each refund must have in the end, when the late sales and leads have arrived."""
    return {
        refund(number)["event_id"]: "not_referred" if kind(number) in NEVER_REFERRED else "recorded"
        for number in range(count)
    }
