"""A reconciliation that runs between FirstPromoter's response to a refund and the ledger's commit of it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, numbered
from airflow_provider_firstpromoter.exceptions import EventsFailedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, RunKey
from airflow_provider_firstpromoter.reconcile import Period, Reconciliation, Revert, RevertSelection
from airflow_provider_firstpromoter.sync import Sync, SyncOptions
from tests.reconcile.account import AccountWithLedger, refund


def send_while_reconciling(*, adopt: bool) -> tuple[Sync, dict[str, Any]]:
    """Send a refund, and reconcile before its result is written; return the run and the reconciliation's report."""
    hook = FirstPromoterHook()
    run = RunKey("dag", "run_sync", "sync", -1)
    sync = Sync(hook, Ledger.required(hook.account, call=REFUND), SyncOptions(), run)
    reports = []

    def reconcile(*_: Any) -> None:
        hook = FirstPromoterHook()
        ledger = Ledger.required(hook.account, call=REFUND)
        nightly = RunKey("dag", "nightly", "reconcile", -1)
        reports.append(Reconciliation(hook, ledger, Period(), adopt=adopt, run=nightly).run().to_json())

    sync.run(numbered([refund(1)], call=REFUND), on_result=reconcile)
    (report,) = reports
    return sync, report


def assert_it_belongs_to_the_run_that_sent_it(account: AccountWithLedger, sync: Sync) -> None:
    (recorded,) = account.sandbox.recorded()
    assert dict(sync.summary.rewards) == {"cash": recorded.reward_amount}
    assert account.ledger("outcome, run_id, first_sent_at IS NOT NULL, reward_id")["re_0001"] == (
        "recorded",
        "run_sync",
        True,
        recorded.reward_id,
    )
    hook = FirstPromoterHook()
    selection = RevertSelection(dag_id="dag", run_id="run_sync")
    report = Revert(hook, Ledger.required(hook.account, call=REFUND), selection, preview=True).run()
    assert report.to_revert == 1


def test_refund_adopted_while_it_is_sent_belongs_to_the_run_that_sent_it(account: AccountWithLedger) -> None:
    sync, report = send_while_reconciling(adopt=True)

    assert report["adopted"] == 1
    assert_it_belongs_to_the_run_that_sent_it(account, sync)


def test_refund_recovered_while_it_is_sent_again_belongs_to_the_run_that_sent_it(account: AccountWithLedger) -> None:
    account.sandbox.fault("bare_404", path="/track/refund")
    with pytest.raises(EventsFailedError):
        account.track(refund(1))
    assert account.ledger() == {"re_0001": "failed"}

    sync, report = send_while_reconciling(adopt=False)

    assert report["recovered"] == 1
    assert_it_belongs_to_the_run_that_sent_it(account, sync)
