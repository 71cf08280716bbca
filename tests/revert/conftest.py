"""Fixtures for reverts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.revert.mistake import AccountToRevert


@pytest.fixture
def account(sandbox: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]) -> AccountToRevert:
    """An account with a ledger in SQLite, which knows ``cus_0`` to ``cus_199``, of three promoters."""
    connect(ledger_conn_id="warehouse", max_attempts=2)
    sandbox.change_settings(batch_polls=1)
    sandbox.add_leads(
        {"uid": f"cus_{number}", "promoter": ("anna", "ben", "cleo")[number % 3]} for number in range(200)
    )
    return AccountToRevert(sandbox, new_database("sqlite", "warehouse"))


@pytest.fixture(autouse=True)
def polls_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a batch again almost at once."""
    from airflow_provider_firstpromoter.api import batches

    monkeypatch.setattr(batches, "FIRST_POLL", 0.01)
    monkeypatch.setattr(batches, "LONGEST_POLL", 0.01)
