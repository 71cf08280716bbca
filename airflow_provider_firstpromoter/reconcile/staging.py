"""A private SQLite database that holds both sides of a reconciliation, however large they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from airflow_provider_firstpromoter.calls import Call, Commission, Outcome
from airflow_provider_firstpromoter.database import ScratchDatabase
from airflow_provider_firstpromoter.ledger import LedgerRecord, SentEvent
from airflow_provider_firstpromoter.reconcile.duplicates import Recorded, match_duplicates
from airflow_provider_firstpromoter.reconcile.mismatches import CHECKED_KINDS, Key

_record_adapter = TypeAdapter(LedgerRecord)

SCHEMA = """
-- original and amount: what the customer was paid back, with its currency, and the same in the account's currency.
CREATE TABLE commissions (
    commission_id INTEGER PRIMARY KEY, event_id TEXT, lead_id INTEGER, created_at REAL, original TEXT, amount INTEGER,
    denied INTEGER, in_period INTEGER, body TEXT
);
CREATE INDEX commissions_event ON commissions (event_id);
CREATE INDEX commissions_lead ON commissions (lead_id);
CREATE TABLE ledger (
    event_id TEXT PRIMARY KEY, sent INTEGER, sent_at REAL, reverted INTEGER, in_period INTEGER, look_up INTEGER,
    body TEXT
) WITHOUT ROWID;
-- The commissions that the ledger knows.
CREATE TABLE known (event_id TEXT, commission_id INTEGER, PRIMARY KEY (event_id, commission_id)) WITHOUT ROWID;
-- Refunds that were sent to the leads of commissions that were not, at whatever time.
CREATE TABLE sent_to_leads (event_id TEXT PRIMARY KEY, lead_id INTEGER, sent_at REAL, original TEXT, amount INTEGER)
    WITHOUT ROWID;
CREATE TABLE duplicates (commission_id INTEGER PRIMARY KEY, event_id TEXT);
-- One row per refund in FirstPromoter that is in effect: its first commission.
CREATE VIEW in_effect AS
    SELECT c.event_id, min(c.commission_id) AS commission_id, c.lead_id, coalesce(l.sent_at, c.created_at) AS moment,
        c.original, c.amount, coalesce(l.sent, 0) AS sent
    FROM commissions c LEFT JOIN ledger l ON l.event_id = c.event_id
    WHERE NOT coalesce(l.reverted, 0)
    GROUP BY coalesce(c.event_id, c.commission_id) HAVING NOT min(c.denied);
-- Mismatches that this run found, and those that were open before.
CREATE TABLE found (kind TEXT, event_id TEXT, commission_id INTEGER, PRIMARY KEY (kind, event_id, commission_id))
    WITHOUT ROWID;
CREATE TABLE open_before (kind TEXT, event_id TEXT, commission_id INTEGER);
CREATE TABLE compared (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE checked (kind TEXT, event_id TEXT, PRIMARY KEY (kind, event_id)) WITHOUT ROWID;
-- What the warehouse's query selects, and what it does not although it was sent in the period.
CREATE TABLE selected (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE unselected (event_id TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID;
-- Refunds whose sale may be looked up; urgent are those with an open mismatch.
CREATE TABLE sales (event_id TEXT PRIMARY KEY, sale_event_id TEXT, urgent INTEGER, body TEXT) WITHOUT ROWID;
CREATE INDEX sales_sale ON sales (sale_event_id);
CREATE TABLE unreadable (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""

# The leads of which something was reversed that was not sent, with all of their refunds.
EVENTS_OF_LEADS = """
SELECT lead_id, sent, event_id, commission_id, moment, original, amount FROM in_effect
WHERE lead_id IN (SELECT lead_id FROM in_effect WHERE NOT sent)
UNION ALL
SELECT lead_id, 1, event_id, 0, sent_at, original, amount FROM sent_to_leads
WHERE NOT EXISTS (SELECT 1 FROM commissions WHERE commissions.event_id = sent_to_leads.event_id)
ORDER BY lead_id
"""


class EventPair(NamedTuple):
    """
    What the ledger and FirstPromoter have of one refund.

    :param event_id: None for a commission without one
    :param commissions: all commissions of the event_id, the earliest first; empty if there are none
    :param record: None if the ledger has no row
    :param duplicate_of: the refund that was sent to the same lead with the same amount, if this one was not sent
    :param in_period: False if the refund was read only because something else depends on it
    :param sign: of its commissions
    """

    event_id: str | None
    commissions: list[Commission]
    record: LedgerRecord | None
    duplicate_of: str | None = None
    in_period: bool = True
    sign: int = -1

    @property
    def recorded(self) -> bool:
        """Whether the ledger has the refund as recorded."""
        return self.record is not None and self.record.recorded

    @property
    def recoverable(self) -> bool:
        """Whether the ledger has the refund as sent, and not as recorded."""
        return self.record is not None and _recoverable(self.record)


def known_ids(record: LedgerRecord) -> set[int]:
    """Return the ids of the commissions that the ledger knows."""
    return {one.id for one in record.commissions}


def _recoverable(record: LedgerRecord) -> bool:
    if record.last_sent_at is None:
        return False
    # FirstPromoter recorded nothing of what it rejected, unless a response was lost before.
    return record.outcome in (Outcome.NOT_REFERRED, Outcome.FAILED) or (
        record.outcome is Outcome.REJECTED and bool(record.lost)
    )


class Staging(ScratchDatabase):
    """
    Both sides of a reconciliation, first filled and then read, and the mismatches that were open and are found.

    It holds no e-mail address and no uid.
    """

    def __init__(self, call: Call) -> None:
        super().__init__(SCHEMA)
        self.sign = call.sign
        self._duplicates_within = call.duplicates_within

    def add_commissions(self, commissions: Iterable[tuple[Commission, datetime, bool]]) -> None:
        """
        Add commissions.

        :param commissions: each with the time at which it was made, and whether that is in the period
        """
        self.insert(
            "INSERT INTO commissions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET denied = excluded.denied, body = excluded.body, in_period = max(in_period, excluded.in_period)",
            (
                (
                    commission.id,
                    commission.event_id,
                    commission.lead_id,
                    created_at.timestamp(),
                    _original(commission.original_sale_amount, commission.original_sale_currency),
                    commission.sale_amount,
                    commission.status == "denied",
                    in_period,
                    commission.model_dump_json(),
                )
                for commission, created_at, in_period in commissions
            ),
        )

    def add_ledger_rows(
        self, records: Collection[LedgerRecord], *, in_period: bool = False, look_up: bool = False
    ) -> None:
        """
        Add rows of the ledger.

        :param in_period: whether they are in the period
        :param look_up: whether they are to be looked up although they are not in the period
        """
        self.insert(
            "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET in_period = max(in_period, excluded.in_period), look_up = max(look_up, excluded.look_up)",
            (
                (
                    one.event_id,
                    one.last_sent_at is not None and (one.recorded or _recoverable(one)),
                    one.last_sent_at and one.last_sent_at.timestamp(),
                    one.outcome is Outcome.REVERTED,
                    in_period,
                    look_up,
                    _record_adapter.dump_json(one).decode(),
                )
                for one in records
            ),
        )

        known = ((one.event_id, number) for one in records if one.recorded for number in known_ids(one))
        self.insert("INSERT OR IGNORE INTO known VALUES (?, ?)", known)

    def add_sent_to_leads(self, refunds: Iterable[SentEvent]) -> None:
        """Add refunds that were sent, so that duplicates of them are recognized."""
        self.insert(
            "INSERT OR IGNORE INTO sent_to_leads VALUES (?, ?, ?, ?, ?)",
            (
                (
                    one.event_id,
                    one.lead_id,
                    one.last_sent_at.timestamp(),
                    _original(one.sent_amount and self.sign * one.sent_amount, one.sent_currency),
                    one.recorded_amount
                    if one.recorded_amount is not None or one.sent_currency
                    else one.sent_amount and self.sign * one.sent_amount,
                )
                for one in refunds
            ),
        )

    def commission_event_ids(self) -> Iterator[list[str]]:
        """Yield the event_ids of the commissions in batches."""
        yield from self.ids_in_batches("SELECT DISTINCT event_id FROM commissions WHERE event_id > ?", "")

    def unsent_lead_ids(self) -> Iterator[list[int]]:
        """Yield the leads of commissions in the period that were not sent, in batches."""
        yield from self.ids_in_batches(
            "SELECT DISTINCT lead_id FROM commissions LEFT JOIN ledger ON ledger.event_id = commissions.event_id "
            "WHERE commissions.in_period AND NOT coalesce(sent, 0) AND lead_id > ?",
            -(2**63),
        )

    def count_without_commission(self) -> int:
        """Count the ledger's rows that have to be looked up."""
        return int(self.connection.execute(f"SELECT count(*) FROM ledger WHERE {_WITHOUT_COMMISSION}").fetchone()[0])

    def without_commission(self, size: int) -> Iterator[list[EventPair]]:
        """
        Yield the ledger's rows that have to be looked up: what was read has no commission of them, or not all.

        :param size: of a batch
        :returns: those of the period that have no commission are ``in_period``
        """
        for event_ids in self.ids_in_batches(
            f"SELECT event_id FROM ledger WHERE {_WITHOUT_COMMISSION} AND event_id > ?", "", size
        ):
            rows = self.connection.execute(
                "SELECT event_id, body, in_period AND NOT EXISTS "
                "(SELECT 1 FROM commissions WHERE commissions.event_id = ledger.event_id) "
                f"FROM ledger WHERE event_id IN ({', '.join('?' * len(event_ids))}) "
                "ORDER BY event_id",
                event_ids,
            ).fetchall()
            yield [
                EventPair(event_id, [], _record_adapter.validate_json(body), in_period=bool(in_period), sign=self.sign)
                for event_id, body, in_period in rows
            ]

    def find_duplicates(self) -> None:
        """Determine which commissions reverse a refund a second time; call it when both sides are complete."""
        rows = self.connection.execute(EVENTS_OF_LEADS)
        self.insert(
            "INSERT INTO duplicates VALUES (?, ?)",
            (
                (duplicate.commission_id, original.event_id)
                for lead_id, group in groupby(rows, key=lambda row: row[0])
                if lead_id is not None
                for duplicate, original in _match(list(group), self._duplicates_within)
            ),
        )

    def __iter__(self) -> Iterator[EventPair]:
        """Yield each refund that has a commission and is in the period or was looked up."""
        joined = self.connection.execute(
            """
            SELECT c.event_id, c.commission_id, c.body, l.body, c.in_period OR coalesce(l.in_period, 0),
                coalesce(l.look_up, 0), d.event_id
            FROM commissions c LEFT JOIN ledger l ON l.event_id = c.event_id
            LEFT JOIN duplicates d ON d.commission_id = c.commission_id
            WHERE NOT EXISTS (SELECT 1 FROM unreadable u WHERE u.event_id = c.event_id)
            ORDER BY c.event_id, c.commission_id
            """
        )
        for _, group in groupby(joined, key=lambda row: row[0] or row[1]):
            rows = list(group)
            event_id, _, _, record, _, looked_up, duplicate_of = rows[0]
            in_period = any(row[4] for row in rows)
            if in_period or looked_up:
                yield EventPair(
                    event_id,
                    [Commission.model_validate_json(body) for _, _, body, *_ in rows],
                    _record_adapter.validate_json(record) if record else None,
                    duplicate_of,
                    in_period,
                    self.sign,
                )

    def add_found(self, keys: Iterable[Key]) -> None:
        """Add mismatches that the reconciliation found."""
        self.insert("INSERT OR IGNORE INTO found VALUES (?, ?, ?)", keys)

    def add_compared(self, event_ids: Iterable[str | None]) -> None:
        """Add refunds of the period that were compared. None is for no event_id."""
        self.insert("INSERT OR IGNORE INTO compared VALUES (?)", ((one or "",) for one in event_ids))

    def add_checked(self, kind: str, event_ids: Iterable[str]) -> None:
        """Add refunds for which one of :data:`CHECKED_KINDS` was looked for."""
        self.insert("INSERT OR IGNORE INTO checked VALUES (?, ?)", ((kind, one) for one in event_ids))

    def add_open(self, keys: Iterable[Key]) -> None:
        """Add mismatches that earlier reconciliations found and that are still open, in place of those from before."""
        self.connection.execute("DELETE FROM open_before")
        self.insert("INSERT INTO open_before VALUES (?, ?, ?)", keys)

    def add_unreadable(self, event_ids: Iterable[str | None]) -> None:
        """Add the event_ids of commissions that cannot be read: their mismatches stay open. None is for no event_id."""
        self.insert("INSERT OR IGNORE INTO unreadable VALUES (?)", ((one or "",) for one in event_ids))

    def resolved(self) -> Iterator[Key]:
        """
        Yield the mismatches that were open before and were not found now, although they could be read.

        All commissions of the period were read: one that is gone is resolved. A refund without a commission is only if
        it was compared, because a refund that was adopted is of no period; and what is checked, if that was checked.
        """
        checked = ", ".join(f"'{kind.value}'" for kind in CHECKED_KINDS)
        yield from self.connection.execute(
            "SELECT * FROM open_before o WHERE event_id NOT IN (SELECT event_id FROM unreadable) "
            f"AND CASE WHEN kind IN ({checked}) "
            "THEN EXISTS (SELECT 1 FROM checked c WHERE c.kind = o.kind AND c.event_id = o.event_id) "
            "ELSE commission_id <> 0 OR event_id IN (SELECT event_id FROM compared) END "
            "EXCEPT SELECT * FROM found"
        )

    def add_selected(self, event_ids: Iterable[str]) -> None:
        """Add what the warehouse's query selects."""
        self.insert("INSERT OR IGNORE INTO selected VALUES (?)", ((one,) for one in event_ids))

    def add_sent(self, records: Collection[LedgerRecord]) -> int:
        """
        Add refunds that were sent in the period, to be compared with what is selected; call it after that is complete.

        :returns: how many of them are selected
        """
        marks = ", ".join("?" * len(records))
        ids = [one.event_id for one in records]
        rows = self.connection.execute(f"SELECT event_id FROM selected WHERE event_id IN ({marks})", ids)
        selected = {event_id for (event_id,) in rows}
        self.insert(
            "INSERT OR IGNORE INTO unselected VALUES (?, ?)",
            (
                (one.event_id, _record_adapter.dump_json(one).decode())
                for one in records
                if one.event_id not in selected
            ),
        )
        return len(selected)

    def unselected(self) -> Iterator[LedgerRecord]:
        """Yield the refunds that the query does not select."""
        for (body,) in self.connection.execute("SELECT body FROM unselected ORDER BY event_id"):
            yield _record_adapter.validate_json(body)

    def add_sales(self, records: Iterable[LedgerRecord], *, urgent: bool = False) -> None:
        """Add refunds whose sale is to be looked up."""
        self.insert(
            "INSERT INTO sales VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET urgent = max(urgent, excluded.urgent)",
            (
                (one.event_id, one.sale_event_id, urgent, _record_adapter.dump_json(one).decode())
                for one in records
                if one.sale_event_id
            ),
        )

    def sales(self, most: int) -> tuple[list[str], int]:
        """
        Choose the sales to look up: those of open mismatches first, and a random choice of the others.

        :returns: their event_ids, and how many are left out
        """
        (count,) = self.connection.execute("SELECT count(DISTINCT sale_event_id) FROM sales").fetchone()
        rows = self.connection.execute(
            "SELECT sale_event_id FROM sales GROUP BY 1 ORDER BY max(urgent) DESC, random() LIMIT ?", (most,)
        )
        chosen = [sale_event_id for (sale_event_id,) in rows]
        return chosen, count - len(chosen)

    def refunds_of_sale(self, sale_event_id: str) -> list[LedgerRecord]:
        """Return the refunds of a sale."""
        rows = self.connection.execute("SELECT body FROM sales WHERE sale_event_id = ? LIMIT 500", (sale_event_id,))
        return [_record_adapter.validate_json(body) for (body,) in rows]


_WITHOUT_COMMISSION = """
    CASE WHEN EXISTS (SELECT 1 FROM commissions c WHERE c.event_id = ledger.event_id) THEN EXISTS (
        SELECT 1 FROM known k WHERE k.event_id = ledger.event_id
        AND NOT EXISTS (SELECT 1 FROM commissions c WHERE c.commission_id = k.commission_id)
    ) ELSE in_period OR look_up END
"""


def _match(rows: list[tuple[Any, ...]], within: timedelta | None) -> Iterator[tuple[Recorded, Recorded]]:
    """Match the events of one lead."""
    return match_duplicates(
        [Recorded(*row[2:]) for row in rows if row[1]], [Recorded(*row[2:]) for row in rows if not row[1]], within
    )


def _original(amount: int | None, currency: str | None) -> str | None:
    return f"{amount} {currency.upper()}" if amount is not None and currency else None
