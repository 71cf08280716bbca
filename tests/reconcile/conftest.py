"""Fixtures for reconciliations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.reconcile.account import AccountWithLedger


@pytest.fixture
def account(sandbox: Sandbox, connect: Callable[..., str], warehouse: Any) -> AccountWithLedger:
    connect(ledger_conn_id="warehouse", max_attempts=3)
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(1000))
    return AccountWithLedger(sandbox, warehouse)
