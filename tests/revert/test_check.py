"""What a revert does with refunds whose commission the ledger does not know, or which may be another tool's."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import RefundsFailedError
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from tests.revert.mistake import AccountToRevert
from tests.support import refund, refunds

WRONG: dict[str, Any] = {"dag_id": "sync", "run_id": "manual__wrong"}


@pytest.mark.parametrize("preview", [True, False])
@pytest.mark.parametrize("by", ["run", "event_ids", "time"])
def test_refund_whose_response_was_lost_is_named_as_unresolved(
    account: AccountToRevert, by: str, preview: bool
) -> None:
    account.sandbox.fault("reset_after", event_id="re_1", times=None)
    with pytest.raises(RefundsFailedError):
        account.track(*refunds(3), refund(999, uid="nobody"), **WRONG)
    selection = {
        "run": WRONG,
        "event_ids": {"event_ids": ["re_0", "re_1", "re_2"]},
        "time": {"sent_from": "2020-01-01"},
    }

    report = (account.preview if preview else account.revert)(**selection[by])

    assert (report["to_revert"], report["reverted"], report["unresolved"]) == (2, 0 if preview else 2, 1)
    assert [one["event_id"] for one in report["cases"]["unresolved"]] == ["re_1"]
    assert "not complete: of 1 refunds" in report["warnings"][-1]
    assert "'re_1'" in report["warnings"][-1]
    assert "ReconcileRefundsOperator" in account.pushed["summary"]["warnings"][-1]


def test_refund_whose_response_was_lost_is_reverted_after_a_reconciliation(account: AccountToRevert) -> None:
    before = account.balances()
    account.sandbox.fault("reset_after", event_id="re_1", times=None)
    with pytest.raises(RefundsFailedError):
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
        with pytest.raises(RefundsFailedError):
            account.track(*refunds(5, start=start), **WRONG)

    report = account.preview(**WRONG)

    assert (report["unresolved"], len(report["cases"]["unresolved"])) == (25, 20)
    assert "25 refunds" in report["warnings"][-1]
