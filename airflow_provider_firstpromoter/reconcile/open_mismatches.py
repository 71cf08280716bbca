"""Determines which open mismatches a reconciliation no longer finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from airflow_provider_firstpromoter.database import PrivateDatabase
from airflow_provider_firstpromoter.reconcile.mismatches import Key

SCHEMA = """
CREATE TABLE found (kind TEXT, event_id TEXT, commission_id INTEGER, PRIMARY KEY (kind, event_id, commission_id))
    WITHOUT ROWID;
CREATE TABLE open_before (kind TEXT, event_id TEXT, commission_id INTEGER);
CREATE TABLE compared (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE unreadable (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class OpenMismatches(PrivateDatabase):
    """The mismatches that were open before a reconciliation, and those that it found."""

    def __init__(self) -> None:
        super().__init__(SCHEMA)

    def add_found(self, keys: Iterable[Key]) -> None:
        """Add mismatches that the reconciliation found."""
        self.insert("INSERT OR IGNORE INTO found VALUES (?, ?, ?)", keys)

    def add_compared(self, event_ids: Iterable[str | None]) -> None:
        """Add refunds of the period that were compared. None is for no event_id."""
        self.insert("INSERT OR IGNORE INTO compared VALUES (?)", ((one or "",) for one in event_ids))

    def add_open(self, keys: Iterable[Key]) -> None:
        """Add mismatches of the period that earlier reconciliations found and that are still open."""
        self.insert("INSERT INTO open_before VALUES (?, ?, ?)", keys)

    def add_unreadable(self, event_ids: Iterable[str | None]) -> None:
        """Add the event_ids of commissions that cannot be read: their mismatches stay open. None is for no event_id."""
        self.insert("INSERT OR IGNORE INTO unreadable VALUES (?)", ((one or "",) for one in event_ids))

    def resolved(self) -> Iterator[Key]:
        """
        Yield the mismatches that were open before and were not found now, although they could be read.

        All commissions of the period were read: one that is gone is resolved. A refund without a commission is only if
        it was compared, because a refund that was adopted is of no period.
        """
        yield from self.connection.execute(
            "SELECT * FROM open_before WHERE event_id NOT IN (SELECT event_id FROM unreadable) "
            "AND (commission_id <> 0 OR event_id IN (SELECT event_id FROM compared)) "
            "EXCEPT SELECT * FROM found"
        )
