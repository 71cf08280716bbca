"""
Every difference between databases: one entry for each database, in :data:`KINDS`.

A database that has no entry is read through its hook's plain DB-API and cannot hold the ledger. To add one, add an
entry here, and its kind to ``EVERY_DATABASE`` in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy.engine import Dialect

from airflow_provider_firstpromoter.database import drivers, upsert
from airflow_provider_firstpromoter.database.drivers import DIGEST_LENGTH, Parameters, execute

#: Seconds that a statement waits for a lock, and the least that a kill can have to wait for a driver written in C.
LOCK_TIMEOUT = 2


@dataclass(frozen=True, kw_only=True)
class QuerySql:
    """How the provider's own SQL around an author's query is written."""

    #: An expression as text of any length.
    text: str
    #: How parameters are written.
    placeholders: Literal["percent", "question", "dollar"]
    quotes: str = '"'

    def quote(self, name: str) -> str:
        """Return a column's name as the database gave it, for SQL."""
        return f"{self.quotes}{name.replace(self.quotes, 2 * self.quotes)}{self.quotes}"


@dataclass(frozen=True, kw_only=True)
class LedgerSql(QuerySql):
    """
    How the provider's own SQL is written in a database that can hold the ledger.

    The templates are completed by ``str.format``. Text is compared byte for byte whatever the collations of the
    database, its tables and the author's query are.
    """

    #: Writes the statement that inserts or updates several rows.
    upsert: upsert.Form
    #: An expression as text that ``=`` and ``<>`` compare with a text column of the provider.
    exact_text: str
    #: An expression by which text sorts in the order of its UTF-8 bytes.
    byte_order: str
    #: Whether a text column of the provider contains a text.
    contains: str
    #: A keyed hash of some texts, of which each may be NULL.
    digest: Callable[[str, Iterable[str]], str]
    #: The names of a query's columns as its author wrote them, without running it.
    columns: Callable[[Any, str, Parameters], list[str]]
    #: Statements for each new connection: at least how long it waits for a lock.
    session: tuple[str, ...] = ()
    #: Makes a connection use Unicode; returns the encoding of a database that cannot store it.
    narrow_encoding: Callable[[Any], str | None] = lambda connection: None  # noqa: ARG005
    #: A query of the columns of a ``table`` in a ``schema`` (a literal, or NULL) that cannot store Unicode.
    narrow_columns: str | None = None
    #: Whether a key column of the provider equals the ``exact_text`` of a value; uses its index.
    same_key: str = "{column} = {value}"
    #: A query ``q`` without rows for which ``settled`` is true in the row of ``ledger`` that fulfils ``key``; where it
    #: is unknown (NULL), the row stays.
    left_out: str = "WHERE NOT EXISTS (SELECT 1 FROM {ledger} l WHERE {key} AND ({settled}))"
    #: Compares the provider's key columns byte for byte; None where every text is compared so.
    key_collation: str | None = None
    #: Whether tables may have indexes besides the key, and such that hold further columns.
    indexes: bool = True
    covering_indexes: bool = False
    #: Whether the planner takes a column in which all values are NULL for half as long as its type allows.
    plans_by_length: bool = False
    #: The numbers of errors that report a CHECK constraint, where their class does not tell them from a lock's.
    failed_checks: tuple[int, ...] = ()
    #: The oldest usable version of the server, where older ones lack a part of this.
    least_version: tuple[int, ...] = ()
    #: Opens the connections of SQLAlchemy's engine; None opens them like those through which rows are read.
    connect: Callable[[Any], Any] | None = None
    #: A query with a limit, planned as without one; None where streams are no slower.
    if_few: str | None = None
    #: The beginning of a statement that creates a view or replaces it with the rights that it had.
    create_view: str = "CREATE OR REPLACE VIEW {}"


@dataclass(frozen=True)
class DatabaseKind:
    """What one kind of database does differently when it is read."""

    #: SQLAlchemy's name of the dialect, or the Airflow connection's type; and the name in documentation and errors.
    name: str
    title: str = ""
    #: The types of Airflow connections that lead to it.
    conn_types: tuple[str, ...] = ()
    #: The hook's class with its arguments, where the connection's type leads to one that speaks no SQL.
    hook: str | None = None
    hook_options: Mapping[str, Any] = field(default_factory=dict)
    #: Opens a DB-API connection; None where SQLAlchemy has to open all of them.
    connect: Callable[[Any], Any] | None = lambda hook: hook.get_conn()
    #: Opens a cursor, one that streams or a plain one.
    cursor: Callable[[Any, bool], Any] = lambda connection, is_streaming: connection.cursor()  # noqa: ARG005
    #: What a cursor needs before its connection is closed with rows left.
    abandon: Callable[[Any], None] | None = None
    #: Makes the database end a statement that takes longer than so many seconds.
    limit_time: Callable[[Any, float], None] | None = None
    #: Runs a statement; called without parameters where the author gave none.
    execute: Callable[[Any, str, Parameters], None] = execute
    #: What a connection needs before rows are read through it.
    prepare_connection: Callable[[Any], None] | None = None
    #: Ends the statement of a connection that another thread uses.
    interrupt: Callable[[Any], object] | None = None
    #: Whether a connection may be used by a thread that did not open it.
    is_threadsafe: bool = True
    #: What to install where SQLAlchemy cannot be used with it.
    install: str = ""
    #: How the ledger's SQL is written; None if the database cannot hold the ledger.
    ledger: LedgerSql | None = None
    #: How SQL around a query is written, where the ledger's is not; None if queries are only read as they are.
    query: QuerySql | None = None


def _columns_of_subquery(cursor: Any, sql: str, parameters: Parameters) -> list[str]:
    execute(cursor, f"SELECT * FROM (\n{sql}\n) q WHERE 1 = 0", parameters)
    return [str(column[0]) for column in cursor.description or ()]


def _text_of_parts(concat: Callable[[list[str]], str]) -> Callable[[str, Iterable[str]], str]:
    """Hash the key and the values with MD5, each value with its length, so that no two rows give the same text."""

    def digest(key: str, values: Iterable[str]) -> str:
        parts = ["COALESCE({}, '-')".format(concat([f"LENGTH({value})", "':'", value])) for value in values]
        return f"SUBSTR(MD5({concat([key, *parts])}), 1, {DIGEST_LENGTH})"

    return digest


def _by_operator(parts: list[str]) -> str:
    return " || ".join(parts)


# --- PostgreSQL -------------------------------------------------------------------------------------------

POSTGRESQL = DatabaseKind(
    "postgresql",
    "PostgreSQL",
    conn_types=("postgres",),
    cursor=drivers.postgresql_cursor,
    prepare_connection=drivers.read_odd_dates,
    interrupt=lambda connection: connection.cancel(),
    limit_time=lambda connection, seconds: drivers.run(
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
        session=(f"SET lock_timeout = '{LOCK_TIMEOUT}s'",),
        narrow_encoding=drivers.narrow_postgresql,
        key_collation="C",
        # A query that a cursor reads is not run in parallel, and one with a LIMIT is planned for its first rows.
        if_few="WITH firstpromoter_rows AS MATERIALIZED (\n{sql}\n) SELECT * FROM firstpromoter_rows LIMIT {limit}",
        covering_indexes=True,
        plans_by_length=True,
        least_version=(11,),
    ),
)

# --- MySQL and MariaDB ------------------------------------------------------------------------------------


_MYSQL_TEXT = "CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin"

MYSQL = DatabaseKind(
    "mysql",
    "MySQL and MariaDB",
    conn_types=("mysql",),
    cursor=drivers.mysql_cursor,
    abandon=drivers.abandon_mysql,
    interrupt=drivers.interrupt_mysql,
    limit_time=drivers.limit_mysql,
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
        session=(f"SET SESSION innodb_lock_wait_timeout = {LOCK_TIMEOUT}, lock_wait_timeout = {LOCK_TIMEOUT}",),
        narrow_encoding=drivers.narrow_mysql,
        narrow_columns="SELECT column_name, character_set_name FROM information_schema.columns WHERE table_schema = "
        "COALESCE({schema}, DATABASE()) AND table_name = {table} AND character_set_name <> 'utf8mb4'",
        key_collation="utf8mb4_bin",
        failed_checks=(4025, 3819),  # of MariaDB, of MySQL
        least_version=(8, 0, 19),  # MariaDB counts from 10
        quotes="`",
    ),
)

# --- SQLite -----------------------------------------------------------------------------------------------


def _digest_of_bytes(key: str, values: Iterable[str]) -> str:
    """Let SQLite call :func:`.drivers.sqlite_digest`, with bytes: a function gets no text that is not UTF-8."""
    return f"firstpromoter_digest({', '.join(f'CAST({each} AS BLOB)' for each in (key, *values))})"


SQLITE = DatabaseKind(
    "sqlite",
    "SQLite",
    conn_types=("sqlite",),
    prepare_connection=drivers.prepare_sqlite,
    is_threadsafe=False,
    ledger=LedgerSql(
        upsert=upsert.on_conflict,
        text="CAST({} AS TEXT)",
        exact_text="CAST({} AS TEXT) COLLATE BINARY",
        byte_order="{} COLLATE BINARY",
        contains="INSTR({column}, {value}) > 0",
        digest=_digest_of_bytes,
        placeholders="question",
        least_version=(3, 24),
        create_view="CREATE VIEW {}",
        session=(f"PRAGMA busy_timeout = {1000 * LOCK_TIMEOUT}",),
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
    interrupt=lambda connection: connection.interrupt(),
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
        create_view="CREATE OR REPLACE VIEW {} COPY GRANTS",
        connect=drivers.without_autocommit,
    ),
)

# --- Rows only --------------------------------------------------------------------------------------------


BIGQUERY = DatabaseKind(
    "bigquery",
    "BigQuery",
    conn_types=("gcpbigquery", "google_cloud_platform"),
    hook="airflow.providers.google.cloud.hooks.bigquery.BigQueryHook",
    hook_options={"use_legacy_sql": False},
    connect=drivers.bigquery_connection,
    cursor=drivers.bigquery_cursor,
    # Google's DB-API halves each %% even where there are no parameters.
    execute=lambda cursor, sql, parameters: execute(cursor, sql if parameters else sql.replace("%", "%%"), parameters),
    query=QuerySql(text="CAST({} AS STRING)", placeholders="percent", quotes="`"),
)


DATABRICKS = DatabaseKind(
    "databricks",
    "Databricks",
    conn_types=("databricks",),
    hook="airflow.providers.databricks.hooks.databricks_sql.DatabricksSqlHook",
    connect=drivers.databricks_connection,
)

KINDS = (POSTGRESQL, MYSQL, SQLITE, DUCKDB, SNOWFLAKE, BIGQUERY, DATABRICKS)
#: The databases that can hold the ledger, and those of whose queries a part can be read, for error messages.
LEDGER_DATABASES = ", ".join(kind.title for kind in KINDS if kind.ledger)
INCREMENTAL_DATABASES = ", ".join(kind.title for kind in KINDS if kind.ledger or kind.query)

_BY_CONN_TYPE = {conn_type: kind for kind in KINDS for conn_type in kind.conn_types}
#: By SQLAlchemy's name of the dialect.
BY_DIALECT = {**{kind.name: kind for kind in KINDS}, "mariadb": MYSQL}


def kind_of_connection(conn_type: str) -> DatabaseKind:
    """Return the kind of database that an Airflow connection of this type leads to."""
    return _BY_CONN_TYPE.get(conn_type) or DatabaseKind(conn_type, conn_type)


def kind_of_dialect(dialect: Dialect) -> DatabaseKind:
    """Return the kind of database that an engine connects to."""
    return BY_DIALECT.get(dialect.name) or DatabaseKind(dialect.name, dialect.name)
