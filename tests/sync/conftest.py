"""Fixtures for runs through hook and ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.sync.runs import Refunds


@pytest.fixture
def track(
    request: pytest.FixtureRequest, sandbox: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]
) -> Refunds:
    """
    Sends refunds to a sandbox that knows ``cus_0`` to ``cus_9``; each request is tried once.

    The ledger is in SQLite, and in PostgreSQL too where it matters to the test.
    """
    connect(max_attempts=1)
    refunds = Refunds(sandbox, connect, new_database(getattr(request, "param", "sqlite"), "ledger").conn_id)
    refunds.refer(10)
    return refunds
