"""Finds the events of a query that are pending, for the sensor and its trigger."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import starmap
from typing import Any

from airflow_provider_firstpromoter.calls import (
    CALLS,
    Outcome,
    Row,
    batches,
    content_token,
    is_known_content,
    numbered,
)
from airflow_provider_firstpromoter.database import CallQuery, Parameters, ScratchDatabase
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.parameters import RECHECK_EVERY, CallName, Incremental
from airflow_provider_firstpromoter.pending.incremental import QueryReading
from airflow_provider_firstpromoter.pending.rules import (
    REASON_RECHECK,
    REASON_RETRY,
    SENDING,
    Action,
    ClassifiedRow,
    PendingRules,
    classify_rows,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PendingEvents:
    """
    Finds pending events; its fields are the sensor's parameters of the same names.

    :param statement_timeout: seconds that the database may take for the query, where it has such a limit
    :param call: what the rows are
    """

    sql: str
    sql_conn_id: str
    parameters: Parameters = None
    firstpromoter_conn_id: str = FirstPromoterHook.default_conn_name
    ledger_conn_id: str | None = None
    ledger_table: str | None = None
    recheck_unreferred: timedelta | None = None
    retry_rejected: bool = False
    statement_timeout: float | None = None
    call: CallName = "refund"
    incremental_column: str | None = None
    lookback: timedelta = Incremental.lookback
    full_scan_every: timedelta = Incremental.full_scan_every
    full_scan: bool | str = False

    def find(self, limit: int) -> list[Row]:
        """
        Return the rows of pending events. It reads connections and databases, and writes nothing.

        :param limit: how many events at most
        :raises InputError: if the query lacks a column
        :raises ConnectionSettingsError: if no ledger is named
        """
        with self._reading() as (rows, ledger, rules):
            return find_pending(rows, ledger, rules, limit=limit)

    def exists(self) -> bool:
        """Return whether an event is pending; reading ends with the first one."""
        with self._reading() as (rows, ledger, rules):
            return is_any_pending(rows, ledger, rules)

    @contextmanager
    def _reading(self) -> Iterator[tuple[Iterator[Row], Ledger, PendingRules]]:
        account, call = FirstPromoterHook(self.firstpromoter_conn_id).account, CALLS[self.call]
        ledger = Ledger.required(account, self.ledger_conn_id, self.ledger_table, call=call)
        query = CallQuery.from_connection(
            self.sql_conn_id, self.sql, self.parameters, statement_timeout=self.statement_timeout, call=call
        )
        incremental = Incremental.of(self.incremental_column, self.lookback, self.full_scan_every, self.full_scan)
        reading = QueryReading(
            query,
            ledger,
            recheck_unreferred=self.recheck_unreferred,
            retry_rejected=self.retry_rejected,
            incremental=incremental,
        )
        # No connection stays open between two calls: many waiting sensors would use up what the database allows.
        with query, ledger, closing(reading.rows(partial(log.info, "read: %s"))) as rows:
            yield numbered(rows, call), ledger, reading.rules()


#: The places after those of :data:`SENDING`: what needs attention, and what is passed on only with its event.
_ATTENTION, _BESIDE = len(SENDING), len(SENDING) + 1
#: Different rows of one event_id that are passed on: one more than can still be one event, so that all are refused.
MOST_ROWS = 6
_SCHEMA = """
CREATE TABLE pending (
    position INTEGER PRIMARY KEY,
    event TEXT,
    place INTEGER,
    tried_at TEXT,
    content TEXT,
    row TEXT
)
"""
_EVENTS = """
SELECT event, min(place) AS place FROM pending
GROUP BY event HAVING min(place) < ? ORDER BY 2, max(tried_at), min(position) LIMIT ?
"""
_ROWS = "SELECT min(position), row FROM pending WHERE event = ? GROUP BY content ORDER BY 1 LIMIT ?"


def find_pending(rows: Iterable[Row], ledger: Ledger, rules: PendingRules, *, limit: int) -> list[Row]:
    """
    Return the rows of the events that are worth a run, in the order in which a run sends them.

    An event comes with all of its rows, wherever they are in the query: whether they are one event, contradict each
    other or come from a join that multiplies can be seen in all of them only. So the query is read to its end; its rows
    are kept on disk meanwhile.

    Events that need attention (recorded with another amount, without an event_id, or refused by the provider's own
    validation) are never a reason for a run, but they are passed on with others: the run names them, and validates them
    with its own parameters, which may have been corrected. Other rejected events that have not changed are left out.

    :param limit: how many events at most
    :returns: at most :data:`MOST_ROWS` different rows of each event; empty if nothing is pending
    """
    with ScratchDatabase(_SCHEMA) as scratch:
        for batch in batches(_open_rows(rows, ledger, rules)):
            scratch.insert("INSERT INTO pending VALUES (?, ?, ?, ?, ?, ?)", starmap(_values, batch))
        scratch.run("CREATE INDEX by_event ON pending (event, place, tried_at, position)")
        events = list(scratch.read(_EVENTS, _BESIDE, limit))
        if not events or events[0][1] >= _ATTENTION:
            return []
        return [
            Row.read(position, json.loads(text), ledger.call)
            for event, _ in events
            for position, text in scratch.read(_ROWS, event, MOST_ROWS)
        ]


def is_any_pending(rows: Iterable[Row], ledger: Ledger, rules: PendingRules) -> bool:
    """Return whether an event is worth a run; reading ends with the first one."""
    return any(place < _ATTENTION for _, place in _open_rows(rows, ledger, rules))


def _open_rows(rows: Iterable[Row], ledger: Ledger, rules: PendingRules) -> Iterator[tuple[ClassifiedRow, int]]:
    """Return the rows that are not settled, each with why it would be sent, and with its place."""
    for batch in classify_rows(rows, ledger, rules, commissions=False):
        now = datetime.now(UTC)
        for one in batch:
            if one.action is not Action.SETTLED:
                place = _BESIDE if _must_pause(one, rules, now) else _place(one)
                yield one._replace(row=replace(one.row, reason=_reason(one, rules))), place


def _place(one: ClassifiedRow) -> int:
    only_validation_refused = one.record is not None and one.record.http_status is None
    if one.row.event_id is None or (one.action is Action.STILL_REJECTED and only_validation_refused):
        return _ATTENTION
    if one.action in SENDING:
        return SENDING.index(one.action)
    return _ATTENTION if one.action is Action.CHANGED else _BESIDE


def _values(one: ClassifiedRow, place: int) -> tuple[Any, ...]:
    row, _, record = one
    return (
        row.position,
        row.event_id or f"\1{row.position}",  # no event_id has a control character
        place,
        record.last_sent_at.isoformat() if record and record.last_sent_at else "",  # the longest ago comes first
        content_token(row.values, b""),
        json.dumps(row.portable()),
    )


def _must_pause(one: ClassifiedRow, rules: PendingRules, now: datetime) -> bool:
    """
    Return whether a rejected row was tried too recently: it would end each wait of the sensor at once.

    That is a row that has not changed, and each row of an event_id whose rows were rejected together: the ledger
    remembers none of them.
    """
    if one.record is None:
        return False
    was_rejected = one.action is Action.STILL_REJECTED or _reason(one, rules) == REASON_RETRY
    if not was_rejected and not one.record.rejected_together:
        return False
    tried = one.record.last_sent_at or one.record.last_seen_at
    return tried is not None and now - tried < RECHECK_EVERY


def _reason(one: ClassifiedRow, rules: PendingRules) -> str | None:
    """Return why a row is pending that the ledger has: the task that sends it may have other parameters."""
    if one.action is Action.RECHECK:
        return REASON_RECHECK
    if one.action is Action.SEND_AGAIN and one.record is not None and one.record.outcome is Outcome.REJECTED:
        unchanged = is_known_content(one.record.fingerprint, one.row.values, rules.key)
        return REASON_RETRY if unchanged else None
    return None
