"""A sync sent a thousand refunds that it should not have sent, while another DAG sent good ones."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import EventsFailedError, SyncInterruptedError
from airflow_provider_firstpromoter.operators.revert import RevertRefundsOperator
from tests.revert.mistake import AccountToRevert
from tests.support import refund, refunds

WRONG: dict[str, Any] = {"dag_id": "sync", "run_id": "scheduled__1"}
COUNT = 1000


def amounts_of_good_refunds(account: AccountToRevert) -> dict[str, int]:
    sums: dict[str, int] = {}
    for one in account.sandbox.recorded():
        if one.event_id.startswith("good_"):
            sums[one.promoter_ref_id] = sums.get(one.promoter_ref_id, 0) + one.reward_amount
    return sums


def test_a_thousand_wrong_refunds_between_good_ones_are_reverted_by_run_to_the_cent(
    account: AccountToRevert, monkeypatch: pytest.MonkeyPatch
) -> None:
    customers = [{"uid": f"cus_{n % 200}"} for n in range(COUNT)]
    account.sandbox.add_commissions(
        {"uid": f"cus_{n}", "sale_amount": 54_321 + n, "event_id": f"sale_{n}"} for n in range(200)
    )
    before = account.balances()
    good = [refund(n, event_id=f"good_{n}", amount=777 + n, uid=f"cus_{n % 200}") for n in range(120)]
    account.database.fill(
        [
            {**row, **customer, "amount": 1000 + 13 * n}
            for n, (row, customer) in enumerate(zip(refunds(COUNT), customers, strict=True))
        ]
    )
    # The wrong run stops half-way and is tried again, and the other DAG's refunds are recorded in between. Both DAGs'
    # runs have the same run_id.
    account.track(*good[:40], dag_id="other", run_id="scheduled__1")
    account.sync(limit=COUNT // 2, **WRONG)
    account.track(*good[40:80], dag_id="other", run_id="scheduled__1")
    account.sync(**WRONG)
    account.track(*good[80:], dag_id="other", run_id="scheduled__2")
    assert len(account.sandbox.recorded()) == COUNT + 120
    good_sums = amounts_of_good_refunds(account)
    assert account.balances() != {name: before[name] + good_sums[name] for name in before}
    good_rows = {event_id: row for event_id, row in account.ledger("*").items() if event_id.startswith("good_")}
    assert account.preview(**WRONG)["to_revert"] == COUNT

    # Killed in the middle: after the seventh call's batch has been started.
    from airflow_provider_firstpromoter.api import deny_commissions

    killed = RevertRefundsOperator(task_id="revert", preview=False, max_reverted=COUNT, **WRONG)
    calls = 0

    def deny_and_kill(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 7:
            killed.on_kill()
        return deny_commissions(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("airflow_provider_firstpromoter.hooks.firstpromoter.deny_commissions", deny_and_kill)
        with pytest.raises(SyncInterruptedError):
            account.run(killed, "revert__1", "undo")
    assert list(account.ledger().values()).count("reverted") == 600

    # The next try has a batch that fails in the middle; its other calls go on.
    account.sandbox.fault("batch_failed", after=30)
    with pytest.raises(EventsFailedError, match="70 of"):
        account.revert(**WRONG)

    report = account.revert(max_reverted=70, **WRONG)

    assert (report["reverted"], report["failed"], report["already_reverted"]) == (70, 0, COUNT - 70)
    assert account.balances() == {name: before[name] + good_sums[name] for name in before}
    assert {one.event_id for one in account.sandbox.recorded() if one.reward_status == "denied"} == {
        f"re_{n}" for n in range(COUNT)
    }
    rows = account.ledger("*")
    assert {event_id: row for event_id, row in rows.items() if event_id.startswith("good_")} == good_rows

    calls_before = account.deny_calls()
    again = account.revert(**WRONG)
    assert (again["to_revert"], again["already_reverted"], again["reverted"]) == (0, COUNT, 0)
    assert account.deny_calls() == calls_before
    assert account.ledger("*") == rows
    assert again["requests"] < 30, "by pages, and not one by one"

    sent = len(account.sandbox.refund_requests())
    summary = account.sync(run_id="scheduled__3", dag_id="sync")
    assert (len(account.sandbox.refund_requests()), summary["rewards"]) == (sent, {})
