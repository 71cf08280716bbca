"""docs/warehouses.md: its table and its connections are what the code does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_firstpromoter.database.dialects import KINDS
from airflow_provider_firstpromoter.database.engine import hook_for

PAGE = (Path(__file__).parents[2] / "docs" / "warehouses.md").read_text()
CONNECTIONS = dict(re.findall(r"^### ([^\n]+)\n\n```json\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
#: The rows of the table: database, rows, ledger, and the rest.
TABLE = {
    cells[0]: cells[1:] for cells in re.findall(r"^\| ([^|]+) \| (\w+) \| (yes|no) \| ([^|]+) \|", PAGE, re.MULTILINE)
}


def test_table_names_the_databases_that_can_hold_the_ledger() -> None:
    holds = {title for title, (_, ledger, _) in TABLE.items() if ledger == "yes"}

    assert holds == {kind.title for kind in KINDS if kind.ledger}
    assert {left_out for _, ledger, left_out in TABLE.values() if ledger == "no"} == {"on the worker"}


def test_every_database_of_the_table_has_a_connection() -> None:
    assert set(TABLE) - {"any other `DbApiHook`"} == set(CONNECTIONS)


@pytest.mark.parametrize("title", list(CONNECTIONS))
def test_documented_connection_leads_to_a_sql_hook(title: str, set_connection: Callable[..., str]) -> None:
    fields: dict[str, Any] = json.loads(CONNECTIONS[title])
    modules = {
        "PostgreSQL": "airflow.providers.postgres",
        "MySQL and MariaDB": "MySQLdb",
        "SQLite": "airflow.providers.sqlite",
        "DuckDB": "duckdb_provider",
        "Snowflake": "snowflake.connector",
        "BigQuery": "sqlalchemy_bigquery",
    }
    if not find_spec(modules.get(title, "redshift_connector").split(".")[0]):
        pytest.skip("needs an environment of its own: make test-warehouses")

    hook, kind = hook_for(set_connection("warehouse", **fields))

    assert kind.conn_types == () or fields["conn_type"] in kind.conn_types
    assert "Hook" in type(hook).__name__
    assert bool(kind.ledger) == (TABLE[title][1] == "yes")
