"""What a revert does with refunds whose commission the ledger does not know, or which may be another tool's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.cli.definition import main
from airflow_provider_firstpromoter.exceptions import EventsFailedError
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from tests.revert.mistake import AccountToRevert, printed_command
from tests.support import refund, refunds

WRONG: dict[str, Any] = {"dag_id": "sync", "run_id": "manual__wrong"}


@pytest.mark.parametrize("preview", [True, False])
@pytest.mark.parametrize("by", ["run", "event_ids", "time"])
def test_refund_whose_response_was_lost_is_named_as_unresolved(
    account: AccountToRevert, by: str, preview: bool
) -> None:
    account.sandbox.fault("reset_after", event_id="re_1", times=None)
    with pytest.raises(EventsFailedError):
        account.track(*refunds(3), refund(999, uid="nobody"), **WRONG)
    selection = {
        "run": WRONG,
        "event_ids": {"event_ids": ["re_0", "re_1", "re_2"]},
        "time": {"sent_from": "2020-01-01"},
    }

    report = (account.preview if preview else account.revert)(**selection[by])

    assert (report["to_revert"], report["reverted"], report["unresolved"]) == (2, 0 if preview else 2, 1)
    assert [one["event_id"] for one in report["cases"]["unresolved"]] == ["re_1"]
    assert "not complete: of 1 refund that had been sent" in report["warnings"][-1]
    assert "'re_1'" in report["warnings"][-1]
    assert account.pushed["summary"]["warnings"] == report["warnings"]

    account.sandbox.clear_faults()
    main(printed_command(report["warnings"][-1], "reconcile", until=", and then"))

    assert account.ledger()["re_1"] == "already_recorded"


def test_refund_whose_response_was_lost_is_reverted_after_a_reconciliation(account: AccountToRevert) -> None:
    before = account.balances()
    account.sandbox.fault("reset_after", event_id="re_1", times=None)
    with pytest.raises(EventsFailedError):
        account.track(*refunds(3), **WRONG)
    account.sandbox.clear_faults()
    account.revert(**WRONG)
    account.run(ReconcileRefundsOperator(task_id="reconcile"))

    report = account.revert(**WRONG)

    assert (report["reverted"], report["unresolved"], report["warnings"]) == (1, 0, [])
    assert account.balances() == before
    assert set(account.ledger().values()) == {"reverted"}


def test_at_most_twenty_unresolved_refunds_are_named_and_all_are_counted(account: AccountToRevert) -> None:
    account.sandbox.fault("reset_after", times=None)
    for start in range(0, 25, 5):  # ten failures in a row end a run
        with pytest.raises(EventsFailedError):
            account.track(*refunds(5, start=start), **WRONG)

    report = account.preview(**WRONG)

    assert (report["unresolved"], len(report["cases"]["unresolved"])) == (25, 20)
    assert "25 refunds" in report["warnings"][-1]


def make_older(account: AccountToRevert, days: float) -> None:
    """Let days pass for what the ledger has as sent."""
    then = (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None).isoformat(sep=" ")
    account.database.run(f"UPDATE firstpromoter_refunds SET first_sent_at = '{then}', last_sent_at = '{then}'")


def other_tool_reverses(account: AccountToRevert, number: int, days_ago: float) -> None:
    account.sandbox.add_lead(uid=f"cus_{number}", promoter="anna")
    created_at = datetime.now(UTC) - timedelta(days=days_ago)
    account.sandbox.add_commission(
        event_id=f"re_{number}", uid=f"cus_{number}", sale_amount=-1500, created_at=created_at
    )
    account.sandbox.store.reserve_event_id(account.sandbox.account_id, "refund", f"re_{number}")


def test_commission_that_another_tool_made_between_our_404_and_our_409_is_left_alone(account: AccountToRevert) -> None:
    account.track(refund(500), run_id="first")
    make_older(account, 10)
    other_tool_reverses(account, 500, days_ago=5)
    account.track(refund(500, amount=1501), **WRONG)
    assert account.ledger("outcome, run_id")["re_500"] == ("already_recorded", "manual__wrong")

    report = account.revert(**WRONG)

    assert report["reverted"] == 0, "nobody knows who sent it"
    assert account.deny_calls() == 0


def test_commission_that_another_tool_made_after_our_404_is_left_alone_when_a_reconciliation_found_it(
    account: AccountToRevert,
) -> None:
    account.track(refund(500), **WRONG)
    make_older(account, 10)
    other_tool_reverses(account, 500, days_ago=5)
    account.run(ReconcileRefundsOperator(task_id="reconcile"))
    assert account.ledger("outcome, run_id")["re_500"] == ("already_recorded", "manual__wrong")

    report = account.revert(**WRONG)

    assert (report["reverted"], report["not_ours"]) == (0, 1)


@pytest.mark.parametrize("found_by", ["sync", "reconciliation"])
def test_commission_of_our_lost_response_is_ours_whenever_it_is_found(account: AccountToRevert, found_by: str) -> None:
    account.sandbox.fault("reset_after", times=None)
    with pytest.raises(EventsFailedError):
        account.track(refund(1), **WRONG)
    account.sandbox.clear_faults()
    make_older(account, 10)
    ten_days_ago = (datetime.now(UTC) - timedelta(days=10)).isoformat()
    account.sandbox.store.execute("UPDATE commissions SET created_at = ? WHERE event_id = 're_1'", (ten_days_ago,))
    if found_by == "sync":
        account.track(refund(1), **WRONG)
    else:
        account.run(ReconcileRefundsOperator(task_id="reconcile"))
    assert account.ledger() == {"re_1": "already_recorded"}

    assert account.revert(**WRONG)["reverted"] == 1
