"""Warehouses that need clients of their own: ``make test-warehouses`` installs them and runs these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox


@pytest.fixture
def firstpromoter(sandbox: Sandbox, connect: Callable[..., str]) -> Sandbox:
    """A FirstPromoter that knows ``cus_0`` to ``cus_9``; its connection says that the ledger is in the warehouse."""
    connect(max_attempts=1, ledger_conn_id="warehouse")
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(10))
    return sandbox


@pytest.fixture
def snowflake(new_database: Callable[..., Any]) -> Any:
    """An empty Snowflake database behind the Airflow connection ``warehouse``."""
    return new_database("snowflake", "warehouse")


@pytest.fixture(scope="session")
def _bigquery_server() -> Iterator[Any]:
    from tests.warehouses import bigquery_server

    with pytest.MonkeyPatch.context() as environment, bigquery_server.running_bigquery() as server:
        for name, value in bigquery_server.environment(server).items():
            environment.setenv(name, value)
        yield server


@pytest.fixture
def bigquery(_bigquery_server: Any, set_connection: Callable[..., str]) -> Any:
    """An empty BigQuery behind the Airflow connection ``warehouse``."""
    _bigquery_server.reset()
    set_connection("warehouse", **_bigquery_server.connection)
    return _bigquery_server
