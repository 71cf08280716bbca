"""What can differ between databases: the parts of an entry of ``dialects.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from airflow_provider_firstpromoter.database import upsert

Parameters: TypeAlias = Mapping[str, Any] | Sequence[Any] | None


def execute(cursor: Any, sql: str, parameters: Parameters) -> None:
    """Run a statement with parameters in the driver's own style, or without any."""
    # An empty list of parameters would make some drivers read every % as a placeholder.
    if parameters:
        cursor.execute(sql, dict(parameters) if isinstance(parameters, Mapping) else tuple(parameters))
    else:
        cursor.execute(sql)


@dataclass(frozen=True)
class LedgerSql:
    """
    How the provider's own SQL is written in a database that can hold the ledger.

    The templates are completed by ``str.format``. Text is compared byte for byte whatever the collations of the
    database, its tables and the author's query are.

    :param upsert: writes the statement that inserts or updates several rows
    :param text: an expression as text of any length
    :param exact_text: the same, so that ``=`` and ``<>`` compare it exactly with a text column of the provider
    :param same_key: whether a key column of the provider (``column``) equals the ``exact_text`` of a value; uses its
        index
    :param byte_order: an expression by which text sorts in the order of its UTF-8 bytes
    :param contains: whether a text column of the provider contains a text
    :param digest: a keyed hash of some texts, of which each may be NULL
    :param placeholders: how parameters are written
    :param left_out: a query ``q`` without rows for which ``settled`` is true in the row of ``ledger`` that fulfils
        ``key``; where it is unknown (NULL), the row stays
    :param columns: the names of a query's columns as its author wrote them, without running it
    :param key_collation: compares the provider's key columns byte for byte; None where every text is compared so
    :param indexes: whether tables may have indexes besides the key
    :param covering_indexes: whether an index may hold further columns
    :param plans_by_length: whether the planner takes a column in which all values are NULL for half as long as its type
        allows, so that such a column needs a type without a length
    :param least_version: the oldest usable version of the server, where older ones lack a part of this
    :param connect: opens the connections of SQLAlchemy's engine; None opens them like those through which rows are read
    :param if_few: a query with a limit, written so that it is planned as without one; None where streams are no slower
    :param create_view: the beginning of a statement that creates a view or replaces it with the rights that it had
    :param quotes: what names of columns are quoted with
    :param is_threadsafe: whether a connection may be used by a thread that did not open it
    """

    upsert: upsert.Form
    text: str
    exact_text: str
    byte_order: str
    contains: str
    digest: Callable[[str, Iterable[str]], str]
    placeholders: Literal["percent", "question", "dollar"]
    columns: Callable[[Any, str, Parameters], list[str]]
    same_key: str = "{column} = {value}"
    left_out: str = "WHERE NOT EXISTS (SELECT 1 FROM {ledger} l WHERE {key} AND ({settled}))"
    key_collation: str | None = None
    indexes: bool = True
    covering_indexes: bool = False
    plans_by_length: bool = False
    least_version: tuple[int, ...] = ()
    connect: Callable[[Any], Any] | None = None
    if_few: str | None = None
    create_view: str = "CREATE OR REPLACE VIEW {}"
    quotes: str = '"'
    is_threadsafe: bool = True

    def quote(self, name: str) -> str:
        """Return a column's name as the database gave it, for SQL."""
        return f"{self.quotes}{name.replace(self.quotes, 2 * self.quotes)}{self.quotes}"


@dataclass(frozen=True)
class DatabaseKind:
    """
    What one kind of database does differently when it is read.

    :param name: SQLAlchemy's name of the dialect, or the Airflow connection's type
    :param title: its name in documentation and error messages
    :param conn_types: the types of Airflow connections that lead to it
    :param hook: the hook's class, where the connection's type leads to one that speaks no SQL
    :param hook_options: arguments of the hook
    :param connect: opens a DB-API connection; None where SQLAlchemy has to open all of them, because connections that
        are opened in two ways exclude each other
    :param cursor: opens a cursor, one that streams or a plain one, and prepares the session
    :param abandon: what a cursor needs before its connection is closed with rows left
    :param limit_time: makes the database end a statement that takes longer than so many seconds
    :param execute: runs a statement; called without parameters where the author gave none
    :param prepare_connection: what a connection needs before the provider's own SQL can run on it
    :param install: what to install where SQLAlchemy cannot be used with it
    :param ledger: how the ledger's SQL is written; None if the database cannot hold the ledger
    """

    name: str
    title: str = ""
    conn_types: tuple[str, ...] = ()
    hook: str | None = None
    hook_options: Mapping[str, Any] = field(default_factory=dict)
    connect: Callable[[Any], Any] | None = lambda hook: hook.get_conn()
    cursor: Callable[[Any, bool], Any] = lambda connection, is_streaming: connection.cursor()  # noqa: ARG005
    abandon: Callable[[Any], None] | None = None
    limit_time: Callable[[Any, float], None] | None = None
    execute: Callable[[Any, str, Parameters], None] = execute
    prepare_connection: Callable[[Any], None] | None = None
    install: str = ""
    ledger: LedgerSql | None = None
