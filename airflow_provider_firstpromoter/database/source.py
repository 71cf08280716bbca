"""Reads rows through the DB-API connections that an Airflow hook opens."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from airflow_provider_firstpromoter.database.background import in_background, stop_if_cancelled
from airflow_provider_firstpromoter.database.dialects import DatabaseKind, kind_of_dialect
from airflow_provider_firstpromoter.database.drivers import Parameters
from airflow_provider_firstpromoter.database.engine import hook_for, make_engine

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

T = TypeVar("T")
#: The number of rows that are fetched from the driver at once, and of rows with columns that are not kept.
FETCH = 2000
FETCH_WIDE = 200
#: SQLite looks so often, in steps of its own, at whether the task was killed.
STEPS = 100_000
#: Chooses, once, the places of the columns that are kept.
Keep = Callable[[Sequence[str]], Sequence[int]]


class RowBatch(NamedTuple):
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

    Statements run in a thread, so that neither a driver written in C nor a slow server keeps a killed task: it ends
    within half a second, and the database is asked to end the statement. SQLite's run on the calling thread.

    :param name: the connection's id, for error messages
    :param open: opens a DB-API connection that is not shared
    :param cancelled: ends every statement
    """

    name: str
    kind: DatabaseKind
    open: Callable[[], Any]
    cancelled: threading.Event | None = None
    #: A connection that was read through, for the next reading.
    _idle: list[Any] = field(default_factory=list, compare=False, repr=False)

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
    def from_engine(cls, engine: Engine, name: str = "source", cancelled: threading.Event | None = None) -> Source:
        """Return the database of an engine, with connections that do not go back to its pool."""

        def open_connection() -> Any:
            pooled = engine.raw_connection()
            pooled.detach()
            return pooled.dbapi_connection

        return cls(name, kind_of_dialect(engine.dialect), open_connection, cancelled)

    def close(self) -> None:
        """Close the connection that is kept."""
        while self._idle:
            with contextlib.suppress(Exception):
                self._idle.pop().close()

    def fetch(
        self,
        sql: str,
        parameters: Parameters = None,
        timeout: float | None = None,
        *,
        is_streaming: bool = True,
        keep: Keep | None = None,
    ) -> Generator[RowBatch, None, None]:
        """
        Run a query and return its rows in batches; close the iterator to end early.

        :param timeout: seconds that it may take, in databases that have such a limit
        :param is_streaming: whether the rows come through a server-side cursor, where the driver has one
        :returns: at least one batch, which may have no rows; without names if the statement returns no rows at all
        :raises Exception: whatever hook, driver and ``keep`` raise
        """

        def read(connection: Any) -> Iterator[RowBatch]:
            cursor = self.kind.cursor(connection, is_streaming)
            try:
                self.kind.execute(cursor, sql, parameters)
                yield from _batches(cursor, keep)
            finally:
                # The connection is closed, and not the cursor before it: some drivers would first read all that is
                # left.
                if self.kind.abandon:
                    self.kind.abandon(cursor)

        return self.read(read, timeout)

    def read(
        self, read: Callable[[Any], Iterator[T]], timeout: float | None = None, *, keeps: bool = False
    ) -> Generator[T, None, None]:
        """
        Return what is read through a connection of its own.

        :param read: yields it; called in the thread
        :param keeps: whether the connection is kept for the next reading, if this one ends well
        """
        # On the calling thread: it may read the Airflow connection.
        connection = self._idle.pop() if self._idle else self.open()

        def items() -> Generator[T, None, None]:
            try:
                if self.kind.prepare_connection:
                    self.kind.prepare_connection(connection)
                if timeout and self.kind.limit_time:
                    self.kind.limit_time(connection, timeout)
                yield from read(connection)
                if keeps:
                    with contextlib.suppress(Exception):  # what knows no transactions is closed
                        connection.rollback()
                        self._idle.append(connection)
            finally:
                if connection not in self._idle:
                    # That a connection which the server has closed cannot be closed again is no further error.
                    with contextlib.suppress(Exception):
                        connection.close()

        if self.kind.is_threadsafe:
            interrupt = self.kind.interrupt
            yield from in_background(items(), self.cancelled, interrupt and partial(interrupt, connection))
            return
        cancelled = self.cancelled or threading.Event()
        connection.set_progress_handler(cancelled.is_set, STEPS)
        with contextlib.closing(items()) as own:
            try:
                yield from own
            except Exception:
                stop_if_cancelled(cancelled)
                raise


def _batches(cursor: Any, keep: Keep | None) -> Iterator[RowBatch]:
    # Server-side cursors of psycopg2 know their columns only after the first rows.
    if cursor.description is None and getattr(cursor, "name", None) is None:
        if keep is not None:
            keep([])
        yield RowBatch([], [])
        return
    size = FETCH if keep is None else FETCH_WIDE
    rows = cursor.fetchmany(size)
    names = [str(column[0]) for column in cursor.description or ()]
    places = list(range(len(names)) if keep is None else keep(names))
    if len(places) == len(names):
        size, cut = FETCH, None
    else:
        # Two at least: event_id and amount.
        names, cut = [names[place] for place in places], itemgetter(*places)
    while True:
        yield RowBatch(names, rows if cut is None else list(map(cut, rows)))
        rows = cursor.fetchmany(size)
        if not rows:
            return
