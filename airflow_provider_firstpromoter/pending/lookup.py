"""One look into warehouse and ledger: which refunds are pending? The sensor's question, and the trigger's."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

from airflow_provider_firstpromoter.database import Parameters, RefundQuery
from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.pending.antijoin import unsettled_rows
from airflow_provider_firstpromoter.pending.rules import Action, classify_rows
from airflow_provider_firstpromoter.refunds import Row, numbered


@dataclass(frozen=True)
class PendingRefunds:
    """
    Where to look; the sensor's parameters of the same names say more.

    :param statement_timeout: seconds that the database may take for the query, where it knows such a limit
    """

    sql: str
    sql_conn_id: str
    parameters: Parameters = None
    firstpromoter_conn_id: str = FirstPromoterHook.default_conn_name
    ledger_conn_id: str | None = None
    ledger_table: str | None = None
    recheck_unreferred: timedelta | None = None
    statement_timeout: float | None = None

    def find(self, limit: int) -> list[Row]:
        """
        Look once. Reads connections and databases, and writes nothing.

        :param limit: how many rows at most
        :raises RefundInputError: if the query lacks a column
        :raises ConnectionSettingsError: if no ledger is named anywhere
        """
        account = FirstPromoterHook(self.firstpromoter_conn_id).account
        ledger = RefundLedger.required(account, self.ledger_conn_id, self.ledger_table)
        query = RefundQuery.from_connection(
            self.sql_conn_id, self.sql, self.parameters, statement_timeout=self.statement_timeout
        )
        with closing(unsettled_rows(query, ledger, self.recheck_unreferred)) as rows:
            return find_pending(
                numbered(rows),
                ledger,
                key=account.fingerprint_key,
                limit=limit,
                recheck_unreferred=self.recheck_unreferred,
            )


def find_pending(
    rows: Iterable[Row], ledger: RefundLedger, *, key: bytes, limit: int, recheck_unreferred: timedelta | None = None
) -> list[Row]:
    """
    The rows that are worth a run: new ones first, then those to be asked again.

    Rows that need a person (settled with another amount, or without an event_id) are never reason enough for a
    run, but they are handed on with others, so that the run names them. Rejected rows that have not changed are
    passed over.

    :param limit: how many rows at most; reading ends as soon as so many new ones are found
    :returns: empty if nothing is pending
    """
    new: list[Row] = []
    again: list[Row] = []
    for_a_person: list[Row] = []
    wanted = {Action.SEND: new, Action.RECHECK: again, Action.CHANGED: for_a_person}
    for batch in classify_rows(rows, ledger, key=key, recheck_unreferred=recheck_unreferred, details=False):
        for row, action, _ in batch:
            found = wanted.get(action if row.event_id else Action.CHANGED)
            if found is not None and len(found) < limit:
                found.append(row)
        if len(new) >= limit:
            break
    pending = new + again
    return (pending + for_a_person)[:limit] if pending else []
