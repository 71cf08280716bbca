"""Reads rows through the DB-API connections that an Airflow hook opens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_firstpromoter.database.dialects import kind_of_dialect
from airflow_provider_firstpromoter.database.engine import hook_for, make_engine
from airflow_provider_firstpromoter.database.kinds import DatabaseKind, Parameters

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


#: The number of rows that are fetched from the driver at once.
FETCH = 2000


class Batch(NamedTuple):
    """
    Some rows of a query.

    :param names: the columns, as the database names them
    :param rows: their values in the same order
    """

    names: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Source:
    """
    A database to read from.

    :param name: the connection's id, for error messages
    :param open: opens a DB-API connection that is not shared
    """

    name: str
    kind: DatabaseKind
    open: Callable[[], Any]

    @classmethod
    def from_connection(cls, conn_id: str) -> Source:
        """
        Return the database of an Airflow connection.

        :raises ConnectionSettingsError: if no hook for SQL is installed for the connection's type
        """
        hook, kind = hook_for(conn_id)
        connect = kind.connect
        if connect is None:
            return cls.from_engine(make_engine(conn_id, hook, kind), conn_id)
        return cls(conn_id, kind, lambda: connect(hook))

    @classmethod
    def from_engine(cls, engine: Engine, name: str = "source") -> Source:
        """Return the database of an engine, with connections that do not go back to its pool."""

        def open_connection() -> Any:
            pooled = engine.raw_connection()
            pooled.detach()
            return pooled.dbapi_connection

        return cls(name, kind_of_dialect(engine.dialect), open_connection)

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[Any]:
        """
        A DB-API connection for the block.

        :param timeout: seconds that a statement may take, in databases that have such a limit
        """
        connection = self.open()
        try:
            if self.kind.prepare_connection:
                self.kind.prepare_connection(connection)
            if timeout and self.kind.limit_time:
                self.kind.limit_time(connection, timeout)
            yield connection
        finally:
            # That a connection which the server has closed cannot be closed again is no further error.
            with contextlib.suppress(Exception):
                connection.close()

    def fetch(
        self, sql: str, parameters: Parameters = None, timeout: float | None = None, *, is_streaming: bool = True
    ) -> Generator[Batch, None, None]:
        """
        Run a query and return its rows in batches; close the iterator to end early.

        The connection is closed, and not the cursor before it: some drivers would first read all that is left.

        :param is_streaming: whether the rows come through a server-side cursor, where the driver has one
        :returns: at least one batch, which may have no rows; without names if the statement returns no rows at all
        :raises Exception: whatever hook and driver raise
        """
        with self.connection(timeout) as connection:
            cursor = self.kind.cursor(connection, is_streaming)
            try:
                self.kind.execute(cursor, sql, parameters)
                yield from _batches(cursor)
            finally:
                if self.kind.abandon:
                    self.kind.abandon(cursor)


def _batches(cursor: Any) -> Iterator[Batch]:
    # Server-side cursors of psycopg2 know their columns only after the first rows.
    if cursor.description is None and getattr(cursor, "name", None) is None:
        yield Batch([], [])
        return
    rows = cursor.fetchmany(FETCH)
    names = [str(column[0]) for column in cursor.description or ()]
    yield Batch(names, rows)
    while rows := cursor.fetchmany(FETCH):
        yield Batch(names, rows)
