"""Fixtures for SqlToFirstPromoterOperator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox


@pytest.fixture(autouse=True)
def firstpromoter(sandbox: Sandbox, connect: Callable[..., str]) -> Sandbox:
    """A FirstPromoter that knows ``cus_0`` to ``cus_9``; its connection says that the ledger is in the warehouse."""
    connect(max_attempts=1, ledger_conn_id="warehouse")
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(10))
    return sandbox


@pytest.fixture
def sqlite(new_database: Callable[..., Any]) -> Any:
    """A warehouse in SQLite, for what is the same in every database."""
    return new_database("sqlite", "warehouse")
