"""A FirstPromoter and a ledger for TrackRefundOperator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox


@pytest.fixture
def firstpromoter(sandbox: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]) -> None:
    """A FirstPromoter that knows ``cus_0`` to ``cus_9``, and a ledger in SQLite that its connection names."""
    new_database("sqlite", "ledger")
    connect(max_attempts=1, ledger_conn_id="ledger")
    sandbox.add_leads({"uid": f"cus_{n}", "email": f"c{n}@example.com", "promoter": "anna"} for n in range(10))
