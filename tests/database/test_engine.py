"""Which Airflow connections lead to rows, and which may hold the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.sql.hooks.sql import DbApiHook
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.exc import NoSuchModuleError

from airflow_provider_firstpromoter.database import ManagedTable, Source, engine, engine_for
from airflow_provider_firstpromoter.database.dialects import KINDS, LEDGER_DATABASES
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, LedgerError


class StubHook(DbApiHook):
    """A hook of a database that is not here; its engine cannot be made."""

    conn_name_attr = "stub_conn_id"
    conn_type = "stub"
    error: Exception = NotImplementedError()

    def get_conn(self) -> Any:
        raise AssertionError("no connection is opened")

    def get_sqlalchemy_engine(self, engine_kwargs: Any = None) -> Any:
        raise self.error


@pytest.fixture
def set_hook(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets every Airflow connection lead to a hook."""

    def set_hook(hook: Any, conn_type: str) -> None:
        class Connection:
            def get_hook(self) -> Any:
                if isinstance(hook, Exception):
                    raise hook
                return hook

        Connection.conn_type = conn_type  # type: ignore[attr-defined]
        monkeypatch.setattr(f"{engine.__name__}.BaseHook.get_connection", lambda conn_id: Connection())

    return set_hook


@pytest.mark.parametrize("conn_type", ["trino", "redshift", "mssql", "oracle", "vertica"])
def test_ledger_outside_the_tested_databases_is_refused_with_their_list(
    conn_type: str, set_hook: Callable[..., None]
) -> None:
    set_hook(StubHook(), conn_type)

    with pytest.raises(ConnectionSettingsError) as raised:
        engine_for("other")

    assert str(raised.value) == (
        f"Connection 'other' leads to {conn_type}, where the ledger cannot live. Set 'ledger_conn_id' to a connection "
        "to one of: PostgreSQL, MySQL and MariaDB, SQLite, DuckDB, Snowflake"
    )
    assert Source.from_connection("other").name == "other", "rows can be read all the same"


def test_bigquery_and_databricks_hold_no_ledger() -> None:
    assert LEDGER_DATABASES == "PostgreSQL, MySQL and MariaDB, SQLite, DuckDB, Snowflake"
    assert {kind.title for kind in KINDS if kind.ledger is None} == {"BigQuery", "Databricks"}


def test_connection_without_a_sql_hook_is_refused(set_connection: Callable[..., str]) -> None:
    set_connection("web", conn_type="http", host="https://example.com")

    with pytest.raises(
        ConnectionSettingsError, match="Connection 'web' is not a SQL database: its type 'http' leads to"
    ):
        Source.from_connection("web")


@pytest.mark.parametrize("conn_type", ["no_such_type", "databricks", "gcpbigquery"])
def test_connection_whose_provider_is_not_installed_is_refused(
    conn_type: str, set_connection: Callable[..., str]
) -> None:
    set_connection("warehouse", conn_type=conn_type, host="example.com")

    message = rf"Connection 'warehouse' has the type '{conn_type}', for which no SQL hook is installed \(.*\)\. Install"
    with pytest.raises(ConnectionSettingsError, match=message):
        Source.from_connection("warehouse")


@pytest.mark.parametrize(
    "error",
    [
        NoSuchModuleError("Can't load plugin: sqlalchemy.dialects:snowflake"),
        AttributeError("module 'sqlalchemy' has no attribute 'x'"),
        ImportError("cannot import name 'x' from 'sqlalchemy'"),
        KeyError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_dialect_that_does_not_work_is_reported_with_what_to_install(
    error: Exception, set_hook: Callable[..., None]
) -> None:
    hook = StubHook()
    hook.error = error
    set_hook(hook, "snowflake")

    with pytest.raises(
        ConnectionSettingsError,
        match=r"Connection 'other': SQLAlchemy \d\S* cannot be used with Snowflake \(.*\); "
        r"install 'airflow-provider-firstpromoter\[snowflake\]', which brings a SQLAlchemy below 2\.1",
    ) as raised:
        engine_for("other")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "version", "message"),
    [
        ("postgresql", (8, 0, 2), "needs PostgreSQL 11 or later; the server says that it is 8.0.2"),
        ("mariadb", (5, 7, 44), "needs MySQL and MariaDB 8.0.19 or later; the server says that it is 5.7.44"),
    ],
)
def test_server_that_is_too_old_is_refused(
    kind: str, version: tuple[int, ...], message: str, new_database: Callable[..., Any]
) -> None:
    """Redshift says that it is PostgreSQL 8.0.2."""
    database_engine = new_database(kind).engine()
    database_engine.connect().close()
    database_engine.dialect.server_version_info = version
    table = ManagedTable(database_engine, Table("notes", MetaData(), Column("id", Integer, primary_key=True)), "other")

    for use in (table.exists, table.ensure):
        with pytest.raises(ConnectionSettingsError, match=f"The table 'notes' of connection 'other' {message}"):
            use()


def test_error_of_any_kind_in_the_ledgers_database_is_a_ledger_error(
    new_database: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    database_engine = new_database("sqlite").engine()
    table = ManagedTable(database_engine, Table("notes", MetaData(), Column("id", Integer, primary_key=True)), "other")

    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("jane@example.com")

    monkeypatch.setattr(database_engine.dialect, "has_table", fail)

    with pytest.raises(LedgerError) as raised:
        table.ensure()
    assert str(raised.value) == "The table 'notes' of connection 'other' cannot be read: KeyError: '***'"
