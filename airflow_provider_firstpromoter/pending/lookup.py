"""Finds the events of a query that are pending, for the sensor and its trigger."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from airflow_provider_firstpromoter import RECHECK_EVERY
from airflow_provider_firstpromoter.calls import REFUND, Call, Outcome, Row, is_known_content, numbered
from airflow_provider_firstpromoter.database import CallQuery, Parameters
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.pending.antijoin import unsettled_rows
from airflow_provider_firstpromoter.pending.rules import (
    REASON_RECHECK,
    REASON_RETRY,
    Action,
    ClassifiedRow,
    PendingRules,
    classify_rows,
)


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
    call: Call = REFUND

    def find(self, limit: int) -> list[Row]:
        """
        Return the pending events. It reads connections and databases, and writes nothing.

        :param limit: how many rows at most
        :raises InputError: if the query lacks a column
        :raises ConnectionSettingsError: if no ledger is named
        """
        account = FirstPromoterHook(self.firstpromoter_conn_id).account
        ledger = Ledger.required(account, self.ledger_conn_id, self.ledger_table, self.call)
        query = CallQuery.from_connection(
            self.sql_conn_id, self.sql, self.parameters, statement_timeout=self.statement_timeout, call=self.call
        )
        rules = PendingRules(ledger.salt.encode(), self.recheck_unreferred, self.retry_rejected)
        # No connection stays open between two calls: many waiting sensors would use up what the database allows.
        with query, ledger, closing(unsettled_rows(query, ledger, self.recheck_unreferred)) as rows:
            return find_pending(numbered(rows, self.call), ledger, rules, limit=limit)


def find_pending(rows: Iterable[Row], ledger: Ledger, rules: PendingRules, *, limit: int) -> list[Row]:
    """
    Return the rows that are worth a run, in the order in which a run sends them.

    Rows that need attention (recorded with another amount, without an event_id, or refused by the provider's own
    validation) are never a reason for a run, but they are passed on with others: the run names them, and validates them
    with its own parameters, which may have been corrected. Other rejected rows that have not changed are left out.

    :param limit: how many rows at most; reading ends as soon as so many new ones are found
    :returns: empty if nothing is pending
    """
    found: dict[Action, list[ClassifiedRow]] = {
        action: [] for action in (Action.SEND, Action.SEND_AGAIN, Action.RECHECK, _ATTENTION)
    }
    for batch in classify_rows(rows, ledger, rules, commissions=False):
        now = datetime.now(UTC)
        for one in batch:
            action = _action(one)
            if action in found and not _must_pause(one, rules, now):
                found[action].append(one)
        for action in found:
            if len(found[action]) > limit:
                found[action] = sorted(found[action], key=_last_sent)[:limit]
        if len(found[Action.SEND]) >= limit:
            break
    attention = found.pop(_ATTENTION)
    pending = [one for action in found for one in sorted(found[action], key=_last_sent)]
    return [replace(one.row, reason=_reason(one, rules)) for one in (pending + attention)[:limit]] if pending else []


#: Stands for all rows that need attention.
_ATTENTION = Action.CHANGED
_NEVER = datetime.min.replace(tzinfo=UTC)


def _action(one: ClassifiedRow) -> Action:
    only_validation_refused = one.record is not None and one.record.http_status is None
    if one.row.event_id is None or (one.action is Action.STILL_REJECTED and only_validation_refused):
        return _ATTENTION
    return one.action


def _last_sent(one: ClassifiedRow) -> datetime:
    """Return the place of a row among others: what was sent the longest ago comes first, as in a run."""
    return one.record.last_sent_at or _NEVER if one.record is not None else _NEVER


def _must_pause(one: ClassifiedRow, rules: PendingRules, now: datetime) -> bool:
    """
    Return whether a rejected row was tried too recently: it would end each wait of the sensor at once.

    That is a row that has not changed, and each row of an event_id whose rows were rejected together: the ledger
    remembers none of them.
    """
    if one.record is None:
        return False
    together = one.record.outcome is Outcome.REJECTED and is_known_content(one.record.fingerprint, {}, rules.key)
    if one.action is not Action.STILL_REJECTED and _reason(one, rules) != REASON_RETRY and not together:
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
