"""A private place on the worker's disk, for rows that do not fit into memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from airflow_provider_firstpromoter.exceptions import SpoolError

#: SQLite's own steps between two looks at whether the task was killed: some milliseconds.
STEPS = 20_000
#: The number of ids that are read at a time.
BATCH = 500


class ScratchDatabase:
    """
    An empty SQLite database that lasts as long as its connection.

    It is a file of mode 0600 in the temporary folder (``SQLITE_TMPDIR``, ``TMPDIR``) that has no directory entry once
    it is open, so that nothing is left behind however the process ends.

    A kill and a task's time-out end its statements, within some ten milliseconds: SQLite runs the signal's handler
    while it works.

    :param schema: the statements that create its tables
    :param raise_if_killed: called again and again during a statement; what it raises ends the statement
    :raises SpoolError: from every method, if the disk is full
    """

    def __init__(self, schema: str, raise_if_killed: Callable[[], None] = lambda: None) -> None:
        self._ended: BaseException | None = None
        self.connection = sqlite3.connect("", isolation_level=None)
        with self._errors():
            self.connection.execute("PRAGMA journal_mode = OFF")
            self.connection.executescript(schema)
        self.connection.set_progress_handler(self._beats(raise_if_killed).__next__, STEPS)

    def _beats(self, raise_if_killed: Callable[[], None]) -> Iterator[bool]:
        """
        Yield whether the statement must end.

        A generator, because SQLite swallows what its handler raises: here a signal's exception arrives in the ``try``.
        """
        while True:
            try:
                yield self._ended is not None
                raise_if_killed()
            except GeneratorExit:
                return
            except BaseException as error:
                self._ended = error

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if self._ended is not None:
                raise self._ended from None
            raise SpoolError(
                f"The rows of this run could not be kept on the worker's disk: {error}. Make room in its temporary "
                "folder, or point TMPDIR (or SQLITE_TMPDIR) to another one; nothing is lost, the next try reads the "
                "query again"
            ) from None

    def run(self, sql: str) -> None:
        """Execute one statement."""
        with self._errors():
            self.connection.execute(sql)

    def read(self, sql: str, *parameters: object) -> Iterator[Any]:
        """Yield the rows of a query."""
        with self._errors():
            yield from self.connection.execute(sql, parameters)

    def insert(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement for each row, in one transaction."""
        with self._errors():
            self.connection.execute("BEGIN")
            self.connection.executemany(sql, rows)
            self.connection.execute("COMMIT")

    def ids_in_batches(self, sql: str, last: Any, size: int = BATCH) -> Iterator[list[Any]]:
        """
        Yield a query's only column in batches, each read to its end so that the tables can be written meanwhile.

        :param sql: ends in a condition that the ids are greater than its parameter
        :param last: what is less than every id
        """
        while batch := [value for (value,) in self.connection.execute(f"{sql} ORDER BY 1 LIMIT {size}", (last,))]:
            yield batch
            last = batch[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
