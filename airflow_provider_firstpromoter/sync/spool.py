"""
A private place on disk for the rows of a run.

A rate-limited run lasts hours, and the warehouse's transaction must not: so the rows are read at once, and sent from
here, in the order in which a run sends them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from airflow_provider_firstpromoter.calls import Row, batches
from airflow_provider_firstpromoter.database import disk_errors, scratch_database
from airflow_provider_firstpromoter.pending import Action, ClassifiedRow

#: The order of a run: what needs no request, then refunds never tried, then those tried before, then rechecks.
RANKS = {
    Action.SETTLED: 0,
    Action.COMPARE: 0,
    Action.CHANGED: 0,
    Action.STILL_REJECTED: 0,
    Action.SEND: 1,
    Action.SEND_AGAIN: 2,
    Action.RECHECK: 3,
}
SCHEMA = """
CREATE TABLE spool (
    position INTEGER PRIMARY KEY,
    event_id TEXT,
    rank INTEGER,
    tried_at TEXT,  -- when it was last sent: the longest ago comes first
    row TEXT
);
CREATE TABLE reported (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class Group(NamedTuple):
    """
    The rows of one event_id, in the order of the input; nearly always one.

    :param rank: of the first of its rows that are sent, or else of its first row
    """

    rank: int
    rows: list[Row]


class Spool:
    """
    Rows on disk, in groups of one event_id.

    :raises SpoolError: from every method, if the disk is full
    """

    def __init__(self) -> None:
        self._database = scratch_database()
        self._database.executescript(SCHEMA)
        self._length = 0

    def fill(self, rows: Iterable[ClassifiedRow]) -> None:
        """Store the rows; call this once."""
        for batch in batches(rows):
            values = [
                (
                    row.position,
                    row.event_id,
                    RANKS[action],
                    _text(record.last_sent_at) if record else None,
                    json.dumps(row.portable()),
                )
                for row, action, record in batch
            ]
            self._write("INSERT INTO spool VALUES (?, ?, ?, ?, ?)", values)
            self._length += len(batch)
        self._write("CREATE INDEX event ON spool (event_id, rank, position)")

    def __len__(self) -> int:
        return self._length

    def groups(self) -> Iterator[Group]:
        """
        Return the rows in the order of a run, those of one event_id together.

        A group has the place of the first of its rows that are sent, or else of its first row.
        """
        ((several,),) = self._read("SELECT EXISTS (SELECT 1 FROM spool GROUP BY event_id HAVING count(event_id) > 1)")
        order = "ORDER BY rank, tried_at, position"
        if not several:
            for position, rank, row in self._read(f"SELECT position, rank, row FROM spool {order}"):
                yield Group(rank, [_row(position, row)])
            return
        first = (
            "SELECT position, event_id, rank, row FROM spool AS s WHERE event_id IS NULL OR position = ("
            "SELECT position FROM spool AS e WHERE e.event_id = s.event_id ORDER BY rank = 0, rank, position LIMIT 1"
            f") {order}"
        )
        for position, event_id, rank, row in self._read(first):
            rows = [(position, row)]
            if event_id is not None:
                rows = list(
                    self._read("SELECT position, row FROM spool WHERE event_id = ? ORDER BY position", event_id)
                )
            yield Group(rank, [_row(*one) for one in rows])

    def __iter__(self) -> Iterator[Row]:
        """Return all rows, in the order of the input."""
        for position, row in self._read("SELECT position, row FROM spool ORDER BY position"):
            yield _row(position, row)

    def note_reported(self, event_ids: Iterable[str]) -> None:
        """Remember problems that this run is the first to report."""
        self._write("INSERT OR IGNORE INTO reported VALUES (?)", [(event_id,) for event_id in event_ids])

    def reported(self) -> Iterator[str]:
        """Return the event_ids of the problems that this run is the first to report."""
        return (event_id for (event_id,) in self._read("SELECT event_id FROM reported"))

    def _write(self, sql: str, rows: Iterable[tuple[object, ...]] | None = None) -> None:
        with disk_errors():
            if rows is None:
                self._database.execute(sql)
                return
            self._database.execute("BEGIN")
            self._database.executemany(sql, rows)
            self._database.execute("COMMIT")

    def _read(self, sql: str, *parameters: object) -> Iterator[Any]:
        with disk_errors():
            yield from self._database.execute(sql, parameters)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()


def _row(position: int, text: str) -> Row:
    return Row.read(position, json.loads(text))


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
