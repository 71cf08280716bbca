"""What the drivers of databases do differently: opening connections and cursors, encodings, cells that they refuse."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeAlias

Parameters: TypeAlias = Mapping[str, Any] | Sequence[Any] | None
#: What the provider's own names (parameters, columns, cursors) begin with in statements that hold the author's SQL.
RESERVED = "firstpromoter_"
#: Hexadecimal digits of a row's digest.
DIGEST_LENGTH = 16


def execute(cursor: Any, sql: str, parameters: Parameters) -> None:
    """Run a statement with parameters in the driver's own style, or without any."""
    # An empty list of parameters would make some drivers read every % as a placeholder.
    if parameters:
        cursor.execute(sql, dict(parameters) if isinstance(parameters, Mapping) else tuple(parameters))
    else:
        cursor.execute(sql)


class UnreadableCell:
    """The text of a cell that Python has no value for, such as a date before Christ: its row alone is rejected."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"UnreadableCell({self._text!r})"


def run(connection: Any, sql: str) -> Any:
    cursor = connection.cursor()
    try:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None
    finally:
        cursor.close()


def _driver(made_by_it: Any) -> str:
    """Return the name of the driver's package."""
    return type(made_by_it).__module__.partition(".")[0]


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

#: PostgreSQL plans a cursor for its first rows, which makes a join of two large tables several times slower to the end.
#: It is set by a query of the settings, because a database that is only compatible with PostgreSQL may not have it.
PLAN_FOR_ALL_ROWS = (
    "SELECT set_config(name, '1', true) FROM pg_catalog.pg_settings WHERE name = 'cursor_tuple_fraction'"
)


def postgresql_cursor(connection: Any, is_streaming: bool) -> Any:
    """Open a cursor of psycopg 2 or 3, with plain tuples whatever cursor the connection's extra names."""
    driver = _driver(connection)
    if driver not in ("psycopg", "psycopg2"):
        return connection.cursor()
    if is_streaming:
        run(connection, PLAN_FOR_ALL_ROWS)
    name = {"name": RESERVED} if is_streaming else {}
    if driver == "psycopg":
        return connection.cursor(**name, row_factory=import_module("psycopg.rows").tuple_row)
    return connection.cursor(**name, cursor_factory=import_module("psycopg2.extensions").cursor)


def read_odd_dates(connection: Any) -> None:
    """Let dates that Python does not know (``infinity``, before Christ) spoil their cell, and not the whole result."""
    driver = _driver(connection)
    if driver == "psycopg2":
        ext = import_module("psycopg2.extensions")
        for base in (ext.PYDATE, ext.PYDATETIME, ext.PYDATETIMETZ, ext.PYINTERVAL, ext.PYTIME):
            ext.register_type(ext.new_type(base.values, base.name, _or_unreadable(base)), connection)
    elif driver == "psycopg":
        text = import_module("psycopg.pq").Format.TEXT
        for name in ("date", "timestamp", "timestamptz", "interval", "time", "timetz"):
            oid = connection.adapters.types[name].oid
            connection.adapters.register_loader(oid, _lenient_loader(connection.adapters.get_loader(oid, text)))


def _or_unreadable(read: Callable[..., Any]) -> Callable[..., Any]:
    def cell(text: str | None, *more: Any) -> Any:
        try:
            return read(text, *more)
        except Exception:
            return UnreadableCell(str(text))

    return cell


def _lenient_loader(base: Any) -> Any:
    class Lenient(import_module("psycopg.abc").Loader):  # type: ignore[misc]
        format = base.format

        def __init__(self, oid: int, context: Any = None) -> None:
            self._base = base(oid, context)

        def load(self, data: Any) -> Any:
            try:
                return self._base.load(data)
            except Exception:
                return UnreadableCell(bytes(data).decode(errors="replace"))

    return Lenient


def narrow_postgresql(connection: Any) -> str | None:
    """The server transcodes what it stores; a client in another encoding could not even send it."""
    status = connection.info.parameter_status
    server: str | None = status("server_encoding")
    if server not in (None, "UTF8"):
        return server
    if status("client_encoding") not in (None, "UTF8"):
        if _driver(connection) == "psycopg2":
            connection.set_client_encoding("UTF8")
        else:
            run(connection, "SET client_encoding TO 'UTF8'")
    return None


# --- MySQL and MariaDB ------------------------------------------------------------------------------------------------


def mysql_cursor(connection: Any, is_streaming: bool) -> Any:
    """Open a cursor that does not read all rows into memory; mysql-connector's default cursor already is one."""
    driver = _driver(connection)
    if is_streaming and driver in ("pymysql", "MySQLdb"):
        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    return connection.cursor()


def abandon_mysql(cursor: Any) -> None:
    """Discard the rows that are left: pymysql would read all of them before it closes the cursor."""
    result = getattr(cursor, "_result", None)
    if result is not None and _driver(cursor) == "pymysql":
        result.unbuffered_active = False
        cursor._result = None


def limit_mysql(connection: Any, seconds: float) -> None:
    mariadb = "mariadb" in str((run(connection, "SELECT VERSION()") or [""])[0]).lower()
    limit = f"max_statement_time = {seconds}" if mariadb else f"max_execution_time = {max(1, int(seconds * 1000))}"
    run(connection, f"SET SESSION {limit}")


def interrupt_mysql(connection: Any) -> None:
    """End what pymysql waits for; to close the connection would wait for the thread that reads from it."""
    connection._sock.shutdown(socket.SHUT_RDWR)


def narrow_mysql(connection: Any) -> str | None:
    """Make the connection use all of Unicode: Airflow's default is MySQL's ``utf8``, which has no emoji."""
    if connection.character_set_name() != "utf8mb4":
        (getattr(connection, "set_character_set", None) or connection.set_charset)("utf8mb4")
    return None


# --- SQLite -----------------------------------------------------------------------------------------------------------


def sqlite_digest(*values: bytes | None) -> str:
    parts = b"".join(b"-" if value is None else b"%d:%b" % (len(value), value) for value in values)
    return hashlib.md5(parts, usedforsecurity=False).hexdigest()[:DIGEST_LENGTH]


def prepare_sqlite(connection: Any) -> None:
    connection.create_function("firstpromoter_digest", -1, sqlite_digest, deterministic=True)
    # Half surrogate pairs, which validation rejects, for bytes that are no UTF-8: else the driver refuses all rows.
    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")


# --- Others -----------------------------------------------------------------------------------------------------------


def without_autocommit(hook: Any) -> Any:
    """Open a connection whose statements are one transaction: Snowflake's default commits each of them."""
    connection = hook.get_conn()
    connection.autocommit(False)
    return connection


#: Rows that BigQuery sends in one response, if they are not too large for it.
BIGQUERY_PAGE = 10_000


def bigquery_connection(hook: Any) -> Any:
    """
    Open a connection of Google's own DB-API, which binds lists and mappings; the hook's cursor inlines values.

    Rows are read through the API that also takes the query. Results of several pages would otherwise be read through
    the Storage API, which needs a permission of its own and another host.
    """
    return import_module("google.cloud.bigquery.dbapi").connect(
        hook.get_client(project_id=hook.project_id, location=hook.location), prefer_bqstorage_client=False
    )


def bigquery_cursor(connection: Any, is_streaming: bool) -> Any:  # noqa: ARG001
    cursor = connection.cursor()
    cursor.arraysize = BIGQUERY_PAGE
    return cursor


def databricks_connection(hook: Any) -> Any:
    """Open a connection of its own: the hook keeps its first one, and returns it again after it was closed."""
    return type(hook)(hook.get_conn_id()).get_conn()
