"""A SQLite database that only this process sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self

from airflow_provider_firstpromoter.database import disk_errors, scratch_database

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
