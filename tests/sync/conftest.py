"""Fixtures for runs through hook and ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, Call
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.sync.runs import Refunds, Sales


@pytest.fixture
def track(
    request: pytest.FixtureRequest,
    call: Call,
    sandbox: Sandbox,
    connect: Callable[..., str],
    new_database: Callable[..., Any],
) -> Refunds:
    """
    Sends refunds, or sales, to a sandbox that knows ``cus_0`` to ``cus_9``; each request is tried once.

    The ledger is in SQLite, and in PostgreSQL too where it matters to the test.
    """
    connect(max_attempts=1)
    ledger = new_database(getattr(request, "param", "sqlite"), "ledger")
    refunds = (Refunds if call == REFUND else Sales)(sandbox, connect, ledger.conn_id)
    refunds.refer(10)
    return refunds


@pytest.fixture
def move_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass for the times that runs write."""
    from datetime import datetime, timedelta

    from airflow_provider_firstpromoter.ledger import runs, store
    from airflow_provider_firstpromoter.pending import incremental
    from airflow_provider_firstpromoter.sync import run as sync_run

    passed = [0.0]
    real_now = store.now

    def now() -> datetime:
        return real_now() + timedelta(seconds=passed[0])

    for module in (store, runs, incremental, sync_run):
        monkeypatch.setattr(module, "now", now)

    def move(seconds: float) -> None:
        passed[0] += seconds

    return move
