"""The reconciliation as a whole: errors, many pages, memory and privacy."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, ReadError
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.reconcile.account import AccountWithLedger, refund


def test_reconciliation_without_a_ledger_raises(account: AccountWithLedger, connect: Callable[..., str]) -> None:
    connect()
    with pytest.raises(ConnectionSettingsError, match="No ledger is named"):
        account.reconcile()


def test_unreadable_commissions_change_nothing(account: AccountWithLedger, impatient: None) -> None:
    account.track(refund(1))
    account.reconcile()
    before = account.everything()
    account.sandbox.store.execute("DELETE FROM commissions")
    account.sandbox.fault("status", status=503, times=None, path="/company/commissions")

    with pytest.raises(ReadError, match="answered 503 in 3 tries"):
        account.reconcile()

    assert account.everything() == before


def test_many_pages_of_commissions_are_read(account: AccountWithLedger) -> None:
    account.sandbox.add_commissions(
        {"event_id": f"x_{n:05}", "uid": f"cus_{n % 1000}", "sale_amount": -(100_000 + n)} for n in range(630)
    )

    report = account.reconcile(adopt=True)

    assert (report["adopted"], report["requests"], report["commissions"]) == (630, 8, 630)
    assert account.reconcile()["matched"] == 630


def test_memory_does_not_grow_with_the_commissions(
    sandbox: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]
) -> None:
    connect(ledger_conn_id="warehouse")
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(1000))
    account = AccountWithLedger(sandbox, new_database("sqlite", "warehouse"))

    def peak(first: int, count: int) -> float:
        sandbox.add_commissions(
            {"event_id": f"x_{n:05}", "uid": f"cus_{n % 1000}", "sale_amount": -(100_000 + n)}
            for n in range(first, first + count)
        )
        tracemalloc.start()
        try:
            assert account.reconcile(adopt=True)["adopted"] == count
            return tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()

    peak(0, 600)  # imports and caches happen in the first run
    small, large = peak(600, 600), peak(1200, 3000)

    assert large - small < 2, f"{small:.1f} MiB for 1,200 commissions, {large:.1f} MiB for 4,200"


def test_table_and_result_have_no_email_and_no_uid(account: AccountWithLedger) -> None:
    account.sandbox.add_lead(uid="cus_secret", email="secret@example.com")
    account.track(refund(1, uid="cus_secret"))
    account.commission("stripe_1", "cus_secret", 1001)
    report = account.reconcile(adopt=True)

    text = json.dumps(report) + str(account.everything())
    assert "re_0001" in text
    assert "secret" not in text


def test_run_history_has_each_reconciliation(account: AccountWithLedger, impatient: None) -> None:
    account.commission("by_hand", "cus_1", 5000)
    account.reconcile()
    account.sandbox.fault("status", status=503, times=None, path="/company/commissions")
    with pytest.raises(ReadError):
        account.reconcile()

    rows = account.database.run(
        "SELECT kind, task_id, mismatches, requests, error, ended_at IS NULL FROM firstpromoter_refunds_runs "
        "ORDER BY requests"
    )
    assert [tuple(row[:5]) for row in rows] == [
        ("reconcile", "reconcile", 1, 2, None),
        ("reconcile", "reconcile", 0, 3, "ReadError"),
    ]
    assert not any(row[5] for row in rows)
