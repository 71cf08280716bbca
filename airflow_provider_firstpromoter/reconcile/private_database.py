"""A SQLite database that only this process sees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from airflow_provider_firstpromoter.database import disk_errors, scratch_database


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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
