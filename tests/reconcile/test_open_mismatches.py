"""A reconciliation resolves only mismatches that it has compared."""

from __future__ import annotations

from datetime import timedelta

from tests.reconcile.account import AccountWithLedger


def test_mismatch_of_an_adopted_refund_stays_open_after_a_run_that_does_not_compare_it(
    account: AccountWithLedger,
) -> None:
    """An adopted refund was never sent, so that it is of no period: a run over some days does not look it up."""
    commission = account.commission("re_0001", "cus_1", 1000)
    assert account.reconcile(adopt=True)["adopted"] == 1
    account.sandbox.store.execute("DELETE FROM commissions WHERE id = ?", (commission,))
    account.reconcile()
    missing = [("missing_in_firstpromoter", "re_0001")]
    assert account.mismatches() == missing

    account.reconcile(created_from=timedelta(days=35))

    assert account.mismatches() == missing
    account.commission("re_0001", "cus_1", 1000)
    account.reconcile(created_from=timedelta(days=35))
    assert account.mismatches() == []


def test_mismatch_of_a_commission_that_was_deleted_is_resolved(account: AccountWithLedger) -> None:
    commission = account.commission("re_0001", "cus_1", 1000, days_ago=2)
    account.reconcile(created_from=timedelta(days=35))
    assert account.mismatches() == [("missing_in_ledger", "re_0001")]
    account.sandbox.store.execute("DELETE FROM commissions WHERE id = ?", (commission,))

    account.reconcile(created_from=timedelta(days=35))

    assert account.mismatches() == []
