"""Both sides of a reconciliation on the worker's disk, however large they are, and the duplicates among them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Hashable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from airflow_provider_firstpromoter.calls import Call, Commission, Outcome
from airflow_provider_firstpromoter.database import ScratchDatabase
from airflow_provider_firstpromoter.ledger import LedgerRecord
from airflow_provider_firstpromoter.reconcile.compare import EventPair, is_recoverable
from airflow_provider_firstpromoter.reconcile.reading import known_in_effect

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
-- The commissions in effect that the ledger knows.
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


class Staging(ScratchDatabase):
    """
    Both sides of a reconciliation, first filled and then read.

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
                    one.last_sent_at is not None and (one.recorded or is_recoverable(one)),
                    one.last_sent_at and one.last_sent_at.timestamp(),
                    one.outcome is Outcome.REVERTED,
                    in_period,
                    look_up,
                    _record_adapter.dump_json(one).decode(),
                )
                for one in records
            ),
        )

        known = ((one.event_id, number) for one in records if one.recorded for number in known_in_effect(one))
        self.insert("INSERT OR IGNORE INTO known VALUES (?, ?)", known)

    def add_sent_to_leads(self, refunds: Iterable[LedgerRecord]) -> None:
        """Add refunds that were sent, so that duplicates of them are recognized."""
        self.insert(
            "INSERT OR IGNORE INTO sent_to_leads VALUES (?, ?, ?, ?, ?)",
            (
                (
                    one.event_id,
                    one.lead_id,
                    one.last_sent_at and one.last_sent_at.timestamp(),
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
                for duplicate, original in match_duplicates(*_sides(group), self._duplicates_within)
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

    def add_unreadable(self, event_ids: Iterable[str | None]) -> None:
        """Add the event_ids of commissions that cannot be read: their mismatches stay open. None is for no event_id."""
        self.insert("INSERT OR IGNORE INTO unreadable VALUES (?)", ((one or "",) for one in event_ids))


_WITHOUT_COMMISSION = """
    CASE WHEN EXISTS (SELECT 1 FROM commissions c WHERE c.event_id = ledger.event_id) THEN EXISTS (
        SELECT 1 FROM known k WHERE k.event_id = ledger.event_id
        AND NOT EXISTS (SELECT 1 FROM commissions c WHERE c.commission_id = k.commission_id)
    ) ELSE in_period OR look_up END
"""


def _original(amount: int | None, currency: str | None) -> str | None:
    return f"{amount} {currency.upper()}" if amount is not None and currency else None


def _sides(rows: Iterable[tuple[Any, ...]]) -> tuple[list[Recorded], list[Recorded]]:
    """Return the events of one lead that were sent, and those that were not."""
    sides: tuple[list[Recorded], list[Recorded]] = ([], [])
    for _, sent, *values in rows:
        sides[not sent].append(Recorded(*values))
    return sides


class Recorded(NamedTuple):
    """
    An event of one lead that FirstPromoter has recorded.

    :param event_id: None if the commission has none
    :param commission_id: of its first commission; 0 if it was not read
    :param moment: when it was sent or, if it was not sent, when the commission was made; seconds since 1970
    :param original: the amount and currency that the customer paid or was paid back, as one text; None if not known
    :param amount: the same in the account's currency, in minor units; None if not known
    """

    event_id: str | None
    commission_id: int
    moment: float
    original: str | None
    amount: int | None


def match_duplicates(
    sent: Iterable[Recorded], unsent: Iterable[Recorded], within: timedelta | None = None
) -> Iterator[tuple[Recorded, Recorded]]:
    """
    Match events that were not sent with events that were, by their amount; all are of one lead.

    One that was sent has at most one duplicate, so that a customer who is refunded the same price several times,
    and each time twice, has as many duplicates as refunds. Of several with the same amount, the one nearest in
    time is taken. Amounts are compared in the customer's currency where both sides have that, and otherwise in the
    account's currency.

    :param within: further apart they are no duplicates; None is no limit
    :returns: each duplicate with the event that was sent
    """
    pools: dict[Hashable, list[tuple[float, str, Recorded]]] = {}
    for one in sorted(sent, key=lambda one: (one.moment, one.event_id)):
        for key in _keys_of_sent(one):
            pools.setdefault(key, []).append((one.moment, one.event_id or "", one))
    for one in sorted(unsent, key=lambda one: (one.moment, one.commission_id)):
        candidates = [near for key in _keys_of_unsent(one) for near in _nearest(pools.get(key, []), one.moment)]
        if within is not None:
            candidates = [near for near in candidates if abs(near.moment - one.moment) <= within.total_seconds()]
        if not candidates:
            continue
        chosen = min(candidates, key=lambda other: (abs(other.moment - one.moment), other.event_id))
        for key in _keys_of_sent(chosen):
            pools[key].remove((chosen.moment, chosen.event_id or "", chosen))
        yield one, chosen


def _keys_of_sent(one: Recorded) -> list[Hashable]:
    keys: list[Hashable] = []
    if one.original is not None:
        keys.append(("original", one.original))
    elif one.amount is not None:
        keys.append(("amount, original unknown", one.amount))
    if one.amount is not None:
        keys.append(("amount", one.amount))
    return keys


def _keys_of_unsent(one: Recorded) -> list[Hashable]:
    if one.original is None:
        return [("amount", one.amount)]
    return [("original", one.original), ("amount, original unknown", one.amount)]


def _nearest(pool: list[tuple[float, str, Recorded]], moment: float) -> list[Recorded]:
    """Return the last event before a moment and the first one after it."""
    place = bisect_left(pool, moment, key=lambda entry: entry[0])
    return [entry[2] for entry in pool[max(place - 1, 0) : place + 1]]
