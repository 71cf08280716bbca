"""A private place on disk where FirstPromoter's books and the ledger lie side by side, however large they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from pydantic import TypeAdapter

from airflow_provider_firstpromoter.api import Commission
from airflow_provider_firstpromoter.ledger import LedgerRecord
from airflow_provider_firstpromoter.reconcile.mismatches import Key

_record_adapter = TypeAdapter(LedgerRecord)
#: Read from and written to in turns of so many.
BATCH = 500

SCHEMA = """
CREATE TABLE there (
    commission_id INTEGER PRIMARY KEY,
    event_id TEXT,
    referral_id INTEGER,
    amount TEXT,     -- in one text with its currency, to be compared
    judged INTEGER,  -- whether it is of the time in question
    body TEXT
);
CREATE INDEX there_event ON there (event_id);
CREATE TABLE here (event_id TEXT PRIMARY KEY, sent INTEGER, judged INTEGER, body TEXT) WITHOUT ROWID;
CREATE TABLE found (kind TEXT, event_id TEXT, commission_id INTEGER, PRIMARY KEY (kind, event_id, commission_id))
    WITHOUT ROWID;
CREATE TABLE earlier (kind TEXT, event_id TEXT, commission_id INTEGER);
"""

# A refund that was sent has one twin at most. What was sent twice itself, as two refunds, has none too many.
DUPLICATES = """
CREATE TABLE twins AS
WITH events AS (
    SELECT min(t.commission_id) AS commission_id, t.referral_id, t.amount, t.event_id, coalesce(h.sent, 0) AS sent
    FROM there t LEFT JOIN here h ON h.event_id = t.event_id
    WHERE t.referral_id IS NOT NULL AND t.amount IS NOT NULL
    GROUP BY coalesce(t.event_id, t.commission_id)
),
placed AS (
    SELECT *, row_number() OVER (PARTITION BY referral_id, amount, sent ORDER BY commission_id) AS place FROM events
)
SELECT commission_id, original AS event_id FROM (
    SELECT commission_id, sent,
        max(CASE WHEN sent THEN event_id END) OVER (PARTITION BY referral_id, amount, place) AS original
    FROM placed
)
WHERE NOT sent AND original IS NOT NULL
"""


class RefundPair(NamedTuple):
    """
    What both sides say of one refund.

    :param commissions: all of its event_id, the earliest first; empty if it is not there
    :param known: the ledger's entry; None if it is not here
    :param twin: the refund that was sent to the same referral with the same amount, if this one was not
    """

    event_id: str | None
    commissions: list[Commission]
    record: LedgerRecord | None
    duplicate_of: str | None = None


class Staging:
    """
    Both sides, to be filled and then gone through.

    A SQLite database without a name, as the spool of a run: nothing is left behind however the process ends. E-mails
    and uids do not get into it.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.executescript(SCHEMA)

    def add_commissions(self, commissions: Iterable[tuple[Commission, bool]]) -> None:
        """
        Take in commissions that were taken back.

        :param commissions: each with whether it is of the time in question
        """
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT OR REPLACE INTO there VALUES (?, ?, ?, ?, ?, ?)",
            (
                (
                    commission.id,
                    commission.event_id or None,
                    commission.referral.id,
                    commission.comparable_amount,
                    classify_rows,
                    commission.model_dump_json(),
                )
                for commission, classify_rows in commissions
            ),
        )
        self._database.execute("COMMIT")

    def add_ledger_rows(self, record: Iterable[LedgerRecord], *, classify_rows: bool) -> None:
        """
        Take in entries of the ledger.

        :param judged: whether they are of the time in question
        """
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT INTO here VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET judged = max(judged, excluded.judged)",
            (
                (one.event_id, one.recorded and one.last_sent_at is not None, classify_rows, _record_adapter.dump_json(one).decode())
                for one in record
            ),
        )
        self._database.execute("COMMIT")

    def commission_event_ids(self) -> Iterator[list[str]]:
        """The event_ids of the commissions, in batches."""
        return self._in_batches("SELECT DISTINCT event_id FROM there WHERE event_id IS NOT NULL AND event_id > ?")

    def ledger_only_event_ids(self) -> Iterator[list[str]]:
        """The event_ids of the time in question that no commission bears, in batches."""
        return self._in_batches(
            "SELECT event_id FROM here WHERE judged AND event_id > ? "
            "AND NOT EXISTS (SELECT 1 FROM there WHERE there.event_id = here.event_id)"
        )

    def _in_batches(self, sql: str) -> Iterator[list[str]]:
        """Each batch is read to its end, so that others may write meanwhile."""
        last = ""
        while True:
            batch = [
                event_id for (event_id,) in self._database.execute(f"{sql} ORDER BY event_id LIMIT {BATCH}", (last,))
            ]
            if not batch:
                return
            yield batch
            last = batch[-1]

    def __iter__(self) -> Iterator[RefundPair]:
        """Every refund of the time in question, once."""
        self._database.execute(DUPLICATES)
        self._database.execute("CREATE UNIQUE INDEX twin ON twins (commission_id)")
        joined = self._database.execute(
            """
            SELECT t.event_id, t.commission_id, t.body, h.body, t.judged OR coalesce(h.judged, 0), w.event_id
            FROM there t LEFT JOIN here h ON h.event_id = t.event_id
            LEFT JOIN twins w ON w.commission_id = t.commission_id
            ORDER BY t.event_id, t.commission_id
            """
        )
        for _, group in groupby(joined, key=lambda row: row[0] or row[1]):
            rows = list(group)
            event_id, _, _, record, _, duplicate_of = rows[0]
            if any(classify_rows for *_, classify_rows, _ in rows):
                commissions = [Commission.model_validate_json(body) for _, _, body, *_ in rows]
                yield RefundPair(event_id, commissions, _record_adapter.validate_json(record) if record else None, duplicate_of)
        for batch in self.ledger_only_event_ids():
            for event_id in batch:
                (record,) = self._database.execute("SELECT body FROM here WHERE event_id = ?", (event_id,)).fetchone()
                yield RefundPair(event_id, [], _record_adapter.validate_json(record))

    def note(self, found: Iterable[Key]) -> None:
        """Remember that these were found now."""
        self._database.executemany("INSERT OR IGNORE INTO found VALUES (?, ?, ?)", found)

    def add_open(self, keys: Iterable[Key]) -> None:
        """Take in what was found earlier, and was still there when last looked for."""
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO earlier VALUES (?, ?, ?)", keys)
        self._database.execute("COMMIT")

    def resolved_keys(self) -> Iterator[Key]:
        """What was found earlier, and not now."""
        yield from self._database.execute("SELECT * FROM earlier EXCEPT SELECT * FROM found")

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
