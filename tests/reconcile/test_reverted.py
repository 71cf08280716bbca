"""A reconciliation knows refunds that were reverted."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_firstpromoter.reconcile import Reconciliation
from tests.reconcile.account import AccountWithLedger, nonzero_kinds, refund


def revert(account: AccountWithLedger) -> None:
    from airflow_provider_firstpromoter.operators.revert import RevertRefundsOperator

    account.run_operator(
        RevertRefundsOperator(task_id="revert", dag_id="dag", run_id="manual__1", preview=False, max_reverted=100)
    )


def test_reverted_refund_whose_commission_is_denied_or_deleted_is_no_mismatch(account: AccountWithLedger) -> None:
    account.track(*(refund(n) for n in range(4)))
    revert(account)
    account.sandbox.store.execute("DELETE FROM commissions WHERE event_id = 're_0003'")

    report = account.reconcile()

    assert nonzero_kinds(report) == {}
    assert (report["matched"], report["rewards_updated"]) == (0, 0)
    assert set(account.ledger("outcome, reward_status").values()) == {("reverted", "denied")}


def test_reverted_refund_whose_commission_is_approved_again_is_a_mismatch_until_it_is_reverted_again(
    account: AccountWithLedger,
) -> None:
    account.track(*(refund(n) for n in range(4)))
    revert(account)
    (approved,) = [one.reward_id for one in account.sandbox.recorded() if one.event_id == "re_0002"]
    account.sandbox.change_commission(approved, status="approved")

    assert nonzero_kinds(account.reconcile()) == {"reverted_not_denied": 1}
    assert account.mismatches() == [("reverted_not_denied", "re_0002")]
    assert account.ledger()["re_0002"] == "reverted"

    revert(account)

    assert nonzero_kinds(account.reconcile()) == {}
    assert account.mismatches() == []


def test_reward_of_a_refund_that_is_reverted_during_a_reconciliation_stays_denied(
    account: AccountWithLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.track(refund(1))
    account.database.run("UPDATE firstpromoter_refunds_commissions SET status = 'pending'")  # as before the approval
    original = Reconciliation._compare

    def compare_after_revert(reconciliation: Reconciliation, pairs: Any, *more: Any) -> None:
        if pairs:
            revert(account)
        original(reconciliation, pairs, *more)

    with monkeypatch.context() as patched:
        patched.setattr(Reconciliation, "_compare", compare_after_revert)
        account.reconcile()
    assert account.ledger("outcome, reward_status")["re_0001"] == ("reverted", "denied")

    account.reconcile()

    assert account.ledger("outcome, reward_status")["re_0001"] == ("reverted", "denied")
    assert account.mismatches() == []
