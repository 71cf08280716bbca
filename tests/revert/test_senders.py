"""A revert by run covers what that run sent, whichever run found it recorded, and commission by commission."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import EventsFailedError
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from tests.revert.mistake import AccountToRevert
from tests.support import refunds

WRONG: dict[str, Any] = {"dag_id": "sync", "run_id": "manual__wrong"}
NEXT: dict[str, Any] = {"dag_id": "sync", "run_id": "scheduled__next"}


def test_refund_whose_lost_response_the_next_run_found_is_reverted_with_the_run_that_sent_it(
    account: AccountToRevert,
) -> None:
    before = account.balances()
    for event_id in ("re_1", "re_4"):
        account.sandbox.fault("reset_after", event_id=event_id, times=None)
    with pytest.raises(EventsFailedError):
        account.track(*refunds(6), **WRONG)
    account.sandbox.clear_faults()
    account.track(*refunds(6), **NEXT)
    assert account.ledger("outcome, run_id")["re_1"] == ("already_recorded", "scheduled__next")
    account.run(ReconcileRefundsOperator(task_id="reconcile"))

    report = account.revert(**WRONG)

    assert (report["reverted"], report["sender_unknown"]) == (6, 0)
    assert account.balances() == before
    assert account.preview(**NEXT)["selected"] == 0


def test_refund_whose_sender_a_kill_hid_is_listed_and_left_to_event_ids(account: AccountToRevert) -> None:
    before = account.balances()
    account.track(*refunds(6), **WRONG)
    # SIGKILL: what was not written yet, and the end of the try, are missing.
    account.database.run("DELETE FROM firstpromoter_refunds WHERE event_id IN ('re_1', 're_4')")
    account.database.run("DELETE FROM firstpromoter_refunds_commissions WHERE event_id IN ('re_1', 're_4')")
    account.database.run("UPDATE firstpromoter_refunds_runs SET ended_at = NULL")
    account.track(*refunds(6), **NEXT)
    account.run(ReconcileRefundsOperator(task_id="reconcile"))
    hours_later = "UPDATE firstpromoter_refunds SET {0} = datetime({0}, '+5 hours') WHERE event_id IN ('re_1', 're_4')"
    for column in ("first_sent_at", "last_sent_at"):
        account.database.run(hours_later.format(column))

    report = account.revert(**WRONG)

    assert (report["selected"], report["reverted"], report["sender_unknown"]) == (4, 4, 2)
    unknown = [one["event_id"] for one in report["cases"]["sender_unknown"]]
    assert unknown == ["re_1", "re_4"]
    assert "'re_1', 're_4'" in report["warnings"][-1]
    assert account.revert(event_ids=unknown)["reverted"] == 2
    assert account.balances() == before


def test_tier_that_was_made_a_moment_later_is_found_in_a_large_revert(account: AccountToRevert) -> None:
    account.track(*refunds(130), **WRONG)
    recorded = account.recorded("re_3")
    account.sandbox.add_commission(
        event_id="re_3", uid=recorded.lead_uid, sale_amount=-1003, promoter="cleo", amount=-50, tier=2
    )

    report = account.revert(**WRONG)

    assert (report["reverted"], report["in_parts"]) == (130, 1)
    states = account.sandbox.store.execute("SELECT status FROM commissions WHERE event_id = 're_3'")
    assert [row["status"] for row in states] == ["denied", "denied"]


def test_tier_that_was_denied_by_hand_takes_only_its_own_amount_out(account: AccountToRevert) -> None:
    account.track(*refunds(1), **WRONG)
    recorded = account.recorded("re_0")
    second = account.sandbox.add_commission(
        event_id="re_0", uid=recorded.lead_uid, sale_amount=-1000, promoter="cleo", amount=-50, tier=2
    )
    account.run(ReconcileRefundsOperator(task_id="reconcile"))
    account.sandbox.change_commission(recorded.reward_id, status="denied")

    account.run(ReconcileRefundsOperator(task_id="reconcile", max_mismatches=None))

    stored = account.database.run("SELECT commission_id, status, amount FROM firstpromoter_refunds_commissions")
    assert sorted(stored) == [(recorded.reward_id, "denied", recorded.reward_amount), (second, "approved", -50)]
    report = account.preview(**WRONG)
    assert (report["to_revert"], report["to_deny"]) == (1, {"cash": -50})
