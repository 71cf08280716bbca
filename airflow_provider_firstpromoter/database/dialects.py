"""
Every difference between databases: one entry for each database, in :data:`KINDS`.

A database that has no entry is read through its hook's plain DB-API and cannot hold the ledger. To add one, add an
entry here, and its kind to ``EVERY_DATABASE`` in the tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from sqlalchemy.engine import Dialect

from airflow_provider_firstpromoter.database import upsert
from airflow_provider_firstpromoter.database.kinds import DatabaseKind, LedgerSql, Parameters, execute

#: What the provider's own names (parameters, columns, cursors) begin with in statements that hold the author's SQL.
RESERVED = "firstpromoter_"
#: Hexadecimal digits of a row's digest.
DIGEST_LENGTH = 16


def _run(connection: Any, sql: str) -> Any:
    cursor = connection.cursor()
    try:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None
    finally:
        cursor.close()


def _driver(made_by_it: Any) -> str:
    """Return the name of the driver's package."""
    return type(made_by_it).__module__.partition(".")[0]


def _names(cursor: Any) -> list[str]:
    return [str(column[0]) for column in cursor.description or ()]


def _columns_of_subquery(cursor: Any, sql: str, parameters: Parameters) -> list[str]:
    execute(cursor, f"SELECT * FROM (\n{sql}\n) q WHERE 1 = 0", parameters)
    return _names(cursor)


def _text_of_parts(concat: Callable[[list[str]], str]) -> Callable[[str, Iterable[str]], str]:
    """Hash the key and the values with MD5, each value with its length, so that no two rows give the same text."""

    def digest(key: str, values: Iterable[str]) -> str:
        parts = ["COALESCE({}, '-')".format(concat([f"LENGTH({value})", "':'", value])) for value in values]
        return f"SUBSTR(MD5({concat([key, *parts])}), 1, {DIGEST_LENGTH})"

    return digest


def _by_operator(parts: list[str]) -> str:
    return " || ".join(parts)


# --- PostgreSQL -------------------------------------------------------------------------------------------

#: PostgreSQL plans a cursor for its first rows, which makes a join of two large tables several times slower to the end.
#: It is set by a query of the settings, because a database that is only compatible with PostgreSQL may not have it.
PLAN_FOR_ALL_ROWS = (
    "SELECT set_config(name, '1', true) FROM pg_catalog.pg_settings WHERE name = 'cursor_tuple_fraction'"
)


def _postgresql_cursor(connection: Any, is_streaming: bool) -> Any:
    """Open a cursor of psycopg 2 or 3, with plain tuples whatever cursor the connection's extra names."""
    driver = _driver(connection)
    if driver not in ("psycopg", "psycopg2"):
        return connection.cursor()
    if is_streaming:
        _run(connection, PLAN_FOR_ALL_ROWS)
    name = {"name": RESERVED} if is_streaming else {}
    if driver == "psycopg":
        return connection.cursor(**name, row_factory=import_module("psycopg.rows").tuple_row)
    return connection.cursor(**name, cursor_factory=import_module("psycopg2.extensions").cursor)


POSTGRESQL = DatabaseKind(
    "postgresql",
    "PostgreSQL",
    conn_types=("postgres",),
    cursor=_postgresql_cursor,
    limit_time=lambda connection, seconds: _run(
        connection, f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}"
    ),
    ledger=LedgerSql(
        upsert=upsert.on_conflict,
        text="CAST({} AS TEXT)",
        exact_text='CAST({} AS TEXT) COLLATE "C"',
        byte_order='{} COLLATE "C"',
        contains="STRPOS({column}, {value}) > 0",
        digest=_text_of_parts(_by_operator),
        placeholders="percent",
        columns=_columns_of_subquery,
        key_collation="C",
        # A query that a cursor reads is not run in parallel, and one with a LIMIT is planned for its first rows.
        if_few="WITH firstpromoter_rows AS MATERIALIZED (\n{sql}\n) SELECT * FROM firstpromoter_rows LIMIT {limit}",
        covering_indexes=True,
        plans_by_length=True,
        least_version=(11,),
    ),
)

# --- MySQL and MariaDB ------------------------------------------------------------------------------------


def _mysql_cursor(connection: Any, is_streaming: bool) -> Any:
    """Open a cursor that does not read all rows into memory; mysql-connector's default cursor already is one."""
    driver = _driver(connection)
    if is_streaming and driver in ("pymysql", "MySQLdb"):
        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    return connection.cursor()


def _abandon_mysql(cursor: Any) -> None:
    """Discard the rows that are left: pymysql would read all of them before it closes the cursor."""
    result = getattr(cursor, "_result", None)
    if result is not None and _driver(cursor) == "pymysql":
        result.unbuffered_active = False
        cursor._result = None


def _limit_mysql(connection: Any, seconds: float) -> None:
    mariadb = "mariadb" in str((_run(connection, "SELECT VERSION()") or [""])[0]).lower()
    limit = f"max_statement_time = {seconds}" if mariadb else f"max_execution_time = {max(1, int(seconds * 1000))}"
    _run(connection, f"SET SESSION {limit}")


_MYSQL_TEXT = "CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin"

MYSQL = DatabaseKind(
    "mysql",
    "MySQL and MariaDB",
    conn_types=("mysql",),
    cursor=_mysql_cursor,
    abandon=_abandon_mysql,
    limit_time=_limit_mysql,
    ledger=LedgerSql(
        upsert=upsert.on_duplicate_key,
        text=_MYSQL_TEXT,
        # MySQL's collations ignore spaces at the end, the binary ones of utf8mb4 among them. As bytes, texts are
        # compared exactly, but without an index.
        exact_text=f"CAST({_MYSQL_TEXT} AS BINARY)",
        same_key=f"({{column}} = {_MYSQL_TEXT.format('{value}')} AND CAST({{column}} AS BINARY) = {{value}})",
        byte_order="CAST({} AS BINARY)",
        contains=f"LOCATE({_MYSQL_TEXT.format('{value}')}, {{column}}) > 0",
        digest=_text_of_parts(lambda parts: f"CONCAT({', '.join(parts)})"),
        # No NOT EXISTS: MariaDB remembers its result for an event_id, compared in the collation of the author's column.
        left_out="LEFT JOIN {ledger} l ON {key} WHERE ({settled}) IS NOT TRUE",
        placeholders="percent",
        columns=_columns_of_subquery,
        key_collation="utf8mb4_bin",
        least_version=(8, 0, 19),  # MariaDB counts from 10
        quotes="`",
    ),
)

# --- SQLite -----------------------------------------------------------------------------------------------


def _sqlite_digest(*values: Any) -> str:
    text = "".join("-" if value is None else f"{len(str(value))}:{value}" for value in values)
    return hashlib.md5(text.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()[:DIGEST_LENGTH]


SQLITE = DatabaseKind(
    "sqlite",
    "SQLite",
    conn_types=("sqlite",),
    prepare_connection=lambda connection: connection.create_function(
        "firstpromoter_digest", -1, _sqlite_digest, deterministic=True
    ),
    ledger=LedgerSql(
        upsert=upsert.on_conflict,
        text="CAST({} AS TEXT)",
        exact_text="CAST({} AS TEXT) COLLATE BINARY",
        byte_order="{} COLLATE BINARY",
        contains="INSTR({column}, {value}) > 0",
        digest=lambda key, values: f"firstpromoter_digest({', '.join([key, *values])})",
        placeholders="question",
        least_version=(3, 24),
        create_view="CREATE VIEW {}",
        is_threadsafe=False,
        columns=lambda cursor, sql, parameters: _without_numbers(_columns_of_subquery(cursor, sql, parameters)),
    ),
)


def _without_numbers(names: list[str]) -> list[str]:
    """Remove the numbers that SQLite adds to columns of a subquery with the same name: ``amount``, ``amount:1``."""
    return [base if number.isdigit() else name for name in names for base, _, number in [name.rpartition(":")]]


# --- DuckDB -----------------------------------------------------------------------------------------------


def _duckdb_columns(cursor: Any, sql: str, parameters: Parameters) -> list[str]:
    execute(cursor, f"DESCRIBE {sql}", parameters)
    return [str(name) for name, *_ in cursor.fetchall()]


DUCKDB = DatabaseKind(
    "duckdb",
    "DuckDB",
    conn_types=("duckdb",),
    # DuckDB refuses a second connection to a file with other settings, and its SQLAlchemy driver has settings of its
    # own and takes no connection from outside.
    connect=None,
    install="install duckdb-engine 0.15 or later",
    ledger=LedgerSql(
        upsert=upsert.on_conflict,
        text="CAST({} AS VARCHAR)",
        exact_text="CAST({} AS VARCHAR) COLLATE C",  # a cast alone keeps the collation of the author's column
        byte_order="{} COLLATE C",
        contains="CONTAINS({column}, {value})",
        digest=_text_of_parts(_by_operator),
        placeholders="dollar",
        columns=_duckdb_columns,
        indexes=False,  # it cannot update columns that an index has
    ),
)

# --- Snowflake --------------------------------------------------------------------------------------------


def _snowflake_columns(cursor: Any, sql: str, parameters: Parameters) -> list[str]:
    return [str(column[0]) for column in cursor.describe(sql, *([parameters] if parameters else []))]


def _without_autocommit(hook: Any) -> Any:
    """Open a connection whose statements are one transaction: Snowflake's default commits each of them."""
    connection = hook.get_conn()
    connection.autocommit(False)
    return connection


SNOWFLAKE = DatabaseKind(
    "snowflake",
    "Snowflake",
    conn_types=("snowflake",),
    install="install 'airflow-provider-firstpromoter[snowflake]', which brings a SQLAlchemy below 2.1",
    ledger=LedgerSql(
        upsert=upsert.merge,
        text="CAST({} AS VARCHAR)",
        exact_text="CAST({} AS VARCHAR)",
        byte_order="{}",
        contains="CONTAINS({column}, {value})",
        digest=_text_of_parts(_by_operator),
        placeholders="percent",
        columns=_snowflake_columns,
        indexes=False,
        connect=_without_autocommit,
        create_view="CREATE OR REPLACE VIEW {} COPY GRANTS",
    ),
)

# --- Rows only --------------------------------------------------------------------------------------------


#: Rows that BigQuery sends in one response, if they are not too large for it.
BIGQUERY_PAGE = 10_000


def _bigquery_connection(hook: Any) -> Any:
    """
    Open a connection of Google's own DB-API, which binds lists and mappings; the hook's cursor inlines values.

    Rows are read through the API that also takes the query. Results of several pages would otherwise be read through
    the Storage API, which needs a permission of its own and another host.
    """
    return import_module("google.cloud.bigquery.dbapi").connect(
        hook.get_client(project_id=hook.project_id, location=hook.location), prefer_bqstorage_client=False
    )


def _bigquery_cursor(connection: Any, is_streaming: bool) -> Any:  # noqa: ARG001
    cursor = connection.cursor()
    cursor.arraysize = BIGQUERY_PAGE
    return cursor


BIGQUERY = DatabaseKind(
    "bigquery",
    "BigQuery",
    conn_types=("gcpbigquery", "google_cloud_platform"),
    hook="airflow.providers.google.cloud.hooks.bigquery.BigQueryHook",
    hook_options={"use_legacy_sql": False},
    connect=_bigquery_connection,
    cursor=_bigquery_cursor,
    # Google's DB-API halves each %% even where there are no parameters.
    execute=lambda cursor, sql, parameters: execute(cursor, sql if parameters else sql.replace("%", "%%"), parameters),
)


def _databricks_connection(hook: Any) -> Any:
    """Open a connection of its own: the hook keeps its first one, and returns it again after it was closed."""
    return type(hook)(hook.get_conn_id()).get_conn()


DATABRICKS = DatabaseKind(
    "databricks",
    "Databricks",
    conn_types=("databricks",),
    hook="airflow.providers.databricks.hooks.databricks_sql.DatabricksSqlHook",
    connect=_databricks_connection,
)

KINDS = (POSTGRESQL, MYSQL, SQLITE, DUCKDB, SNOWFLAKE, BIGQUERY, DATABRICKS)
#: The databases that can hold the ledger, for error messages.
LEDGER_DATABASES = ", ".join(kind.title for kind in KINDS if kind.ledger)

_BY_CONN_TYPE = {conn_type: kind for kind in KINDS for conn_type in kind.conn_types}
#: By SQLAlchemy's name of the dialect.
BY_DIALECT = {**{kind.name: kind for kind in KINDS}, "mariadb": MYSQL}


def kind_of_connection(conn_type: str) -> DatabaseKind:
    """Return the kind of database that an Airflow connection of this type leads to."""
    return _BY_CONN_TYPE.get(conn_type) or DatabaseKind(conn_type, conn_type)


def kind_of_dialect(dialect: Dialect) -> DatabaseKind:
    """Return the kind of database that an engine connects to."""
    return BY_DIALECT.get(dialect.name) or DatabaseKind(dialect.name, dialect.name)
