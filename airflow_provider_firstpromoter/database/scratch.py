"""A private place on the worker's disk, for rows that do not fit into memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from airflow_provider_firstpromoter.exceptions import SpoolError


def scratch_database() -> sqlite3.Connection:
    """
    Open an empty SQLite database that lasts as long as its connection.

    It is a file of mode 0600 in the temporary folder (``SQLITE_TMPDIR``, ``TMPDIR``) that has no directory entry once
    it is open, so that nothing is left behind however the process ends. Use it inside :func:`disk_errors`.
    """
    database = sqlite3.connect("", isolation_level=None)
    database.execute("PRAGMA journal_mode = OFF")
    return database


@contextmanager
def disk_errors() -> Iterator[None]:
    """
    Explain what to do when the disk is full.

    :raises SpoolError: in place of SQLite's own error
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise SpoolError(
            f"The rows of this run could not be kept on the worker's disk: {error}. Make room in its temporary folder, "
            "or point TMPDIR (or SQLITE_TMPDIR) to another one; nothing is lost, the next try reads the query again"
        ) from None


#: The number of ids that are read at a time.
BATCH = 500


class PrivateDatabase:
    """
    A SQLite database in a temporary file without a name: nothing is left behind, however the process ends.

    :param schema: the statements that create its tables
    """

    def __init__(self, schema: str) -> None:
        self.connection = scratch_database()
        self.connection.executescript(schema)

    def insert(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """
        Execute a statement for each row, in one transaction.

        :raises SpoolError: if the worker's disk is full
        """
        with disk_errors():
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
