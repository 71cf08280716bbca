"""A private place on the worker's disk, for rows that do not fit into memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

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
