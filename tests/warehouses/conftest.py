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


@pytest.fixture(scope="session")
def snowflake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.warehouses import snowflake_server

    folder = tmp_path_factory.mktemp("snowflake")
    with pytest.MonkeyPatch.context() as environment, snowflake_server.running_snowflake(folder) as server:
        environment.setenv(snowflake_server.CERTIFICATE_VARIABLE, str(server.certificate))
        for name, value in snowflake_server.OTHER_VARIABLES.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture
def snowflake(snowflake_server: Any, set_connection: Callable[..., str]) -> Any:
    """An empty Snowflake database behind the Airflow connection ``warehouse``."""
    from tests.warehouses.snowflake_server import SnowflakeDatabase

    snowflake_server.reset()
    database = SnowflakeDatabase(snowflake_server)
    database.conn_id = set_connection("warehouse", **database.connection)
    yield database
    snowflake_server.reset()


@pytest.fixture(scope="session")
def _bigquery_server() -> Iterator[Any]:
    from tests.warehouses import bigquery_server

    with pytest.MonkeyPatch.context() as environment, bigquery_server.running_bigquery() as server:
        environment.setenv(bigquery_server.HOST_VARIABLE, server.url)
        for name, value in bigquery_server.OTHER_VARIABLES.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture
def bigquery(_bigquery_server: Any, set_connection: Callable[..., str]) -> Any:
    """An empty BigQuery behind the Airflow connection ``warehouse``."""
    _bigquery_server.reset()
    set_connection("warehouse", **_bigquery_server.connection)
    return _bigquery_server
