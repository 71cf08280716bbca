"""
A private place on disk for the rows of a run.

A paced run lasts hours, and the warehouse's transaction must not: so the rows are read at once, and sent from here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator

from airflow_provider_firstpromoter.refunds import Row, amount_text, batches, portable


class Spool:
    """
    Rows on disk, as often as they are wanted, with those marked whose event_id came before.

    A SQLite database without a name: a file of mode 0600 in the temporary folder (``SQLITE_TMPDIR``, ``TMPDIR``) that
    has no entry there once it is open, so that nothing is left behind however the process ends.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE spool (position INTEGER PRIMARY KEY, event_id TEXT, row TEXT)")
        self._length = 0

    def fill(self, rows: Iterable[Row]) -> None:
        """Take the rows in; to be called once."""
        for batch in batches(rows):
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT INTO spool VALUES (?, ?, ?)",
                [(row.position, row.event_id, json.dumps(portable(row.values))) for row in batch],
            )
            self._database.execute("COMMIT")
            self._length += len(batch)
        self._database.execute("CREATE INDEX first ON spool (event_id, position)")

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Row]:
        earlier = (
            "SELECT row FROM spool AS e WHERE e.event_id = s.event_id AND e.position < s.position "
            "ORDER BY e.position LIMIT 1"
        )
        for position, event_id, row, before in self._database.execute(
            f"SELECT position, event_id, row, ({earlier}) FROM spool AS s ORDER BY position"
        ):
            values = json.loads(row)
            repeats = (amount_text(json.loads(before).get("amount")) or "") if before else None
            yield Row(position, values, event_id, amount_text(values.get("amount")), repeats)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
