"""
The ledger: the SQL table that remembers, per account and event_id, what became of a refund.

Analysts read it, so it has plain columns and one row an event. ``python -m airflow_provider_firstpromoter.ledger.store
postgresql`` prints its DDL for those who may not create tables.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_firstpromoter.api import DEFAULT_LEDGER_TABLE, Account
from airflow_provider_firstpromoter.database import ManagedTable, as_bind_params, chunks, engine_for, first_line, retry_on_conflict
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, LedgerError
from airflow_provider_firstpromoter.ledger.records import LedgerWrite, LedgerRecord, RunKey
from airflow_provider_firstpromoter.ledger.table import ledger_table
from airflow_provider_firstpromoter.refunds import (
    Outcome,
    Result,
)

if TYPE_CHECKING:
    from sqlalchemy.sql.elements import ColumnElement


class RefundLedger(ManagedTable):
    """
    The ledger of one account.

    :param engine: for the database that it lives in
    :param account: :attr:`Account.key`
    :param table: ``table`` or ``schema.table``
    :param name: how errors call the database: the connection's id
    """

    WHAT = "ledger"

    def __init__(self, engine: Engine, account: str, table: str = DEFAULT_LEDGER_TABLE, name: str = "ledger") -> None:
        super().__init__(engine, ledger_table(table), name)
        self.account = account

    @classmethod
    def from_connection(cls, conn_id: str, account: str, table: str = DEFAULT_LEDGER_TABLE) -> RefundLedger:
        """The ledger behind an Airflow SQL connection."""
        return cls(engine_for(conn_id), account, table, name=conn_id)

    @classmethod
    def of(cls, account: Account, conn_id: str | None = None, table: str | None = None) -> RefundLedger | None:
        """
        The account's ledger.

        :param conn_id: where it lives; else the FirstPromoter connection's extra says
        :param table: its table; likewise
        :returns: None if neither says where
        """
        conn_id = conn_id or account.extra.ledger_conn_id
        if conn_id is None:
            return None
        return cls.from_connection(conn_id, account.key, table or account.extra.ledger_table)

    @classmethod
    def required(cls, account: Account, conn_id: str | None = None, table: str | None = None) -> RefundLedger:
        """
        The account's ledger, for those who cannot do without.

        :raises ConnectionSettingsError: if nobody says where it lives
        """
        ledger = cls.of(account, conn_id, table)
        if ledger is None:
            raise ConnectionSettingsError(
                "No ledger is named, so there is no telling which refunds are pending. Set 'ledger_conn_id' in the "
                f"extra of connection {account.conn_id!r} (for all tasks of the account), or on this task"
            )
        return ledger

    # --- reading ---

    def find(self, event_ids: Collection[str], details: bool = True) -> dict[str, LedgerRecord]:
        """
        What is known of these refunds; an unknown one is absent, and a missing table is an empty ledger.

        :param details: whether :meth:`LedgerRecord.result` will be wanted
        """
        if not event_ids or not self.exists():
            return {}
        record: dict[str, LedgerRecord] = {}
        try:
            with self.engine.connect() as connection:
                for chunk in chunks(list(event_ids)):
                    for entry in self._select(connection, self.table.c.event_id.in_(chunk), details):
                        # Databases that don't enforce keys can hold two rows of two writers: the stronger counts.
                        rival = record.get(entry.event_id)
                        if rival is None or entry.outcome.strength > rival.outcome.strength:
                            record[entry.event_id] = entry
        except SQLAlchemyError as error:
            raise self._unreachable(error) from None
        return record

    def records_of_run(self, run: RunKey) -> Iterator[LedgerRecord]:
        """Everything that this task run was the last to send, or rejected; in the order of the event_ids."""
        where = and_(*(self.table.c[name] == value for name, value in run._asdict().items()))
        yield from self._stream(where, order_by=self.table.c.event_id)

    def recorded_between(self, start: datetime | None, end: datetime | None) -> Iterator[LedgerRecord]:
        """
        Everything that FirstPromoter has, as far as the ledger knows, and was asked about in this time.

        :param start: None for no limit; without both, what was adopted, and never sent, is among it
        :param end: not itself
        """
        c = self.table.c
        where: list[ColumnElement[bool]] = [c.outcome.in_([outcome for outcome in Outcome if outcome.on_record])]
        if start is not None:
            where.append(c.last_sent_at >= start)
        if end is not None:
            where.append(c.last_sent_at < end)
        yield from self._stream(and_(*where))

    def _stream(self, where: ColumnElement[bool], order_by: Any = None) -> Iterator[LedgerRecord]:
        if not self.exists():
            return
        try:
            with self.engine.connect().execution_options(stream_results=True) as connection:
                yield from self._select(connection, where, details=True, order_by=order_by)
        except SQLAlchemyError as error:
            raise self._unreachable(error) from None

    def _select(
        self, connection: Connection, where: ColumnElement[bool], details: bool, order_by: Any = None
    ) -> Iterator[LedgerRecord]:
        c = self.table.c
        columns = [
            c.event_id,
            c.outcome,
            c.http_status,
            c.row_amount,
            c.sent_amount,
            c.sent_currency,
            c.sale_event_id,
            c.fingerprint,
            c.first_sent_at,
            c.last_sent_at,
            c.dag_id,
            c.run_id,
            c.task_id,
            c.map_index,
        ]
        if details:
            columns += [
                c.details,
                c.recorded_amount,
                c.reward_id,
                c.reward_status,
                c.reward_amount,
                c.reward_unit,
                c.promoter_id,
                c.lead_id,
            ]
        query = select(*columns).where(c.account == self.account, where)
        for row in connection.execute(query if order_by is None else query.order_by(order_by)):
            yield LedgerRecord(*row)

    # --- writing ---

    def write(self, entries: Iterable[LedgerWrite]) -> None:
        """
        Remember what became of these refunds; a weaker outcome never overwrites a stronger one.

        Outcomes that settle nothing and reject nothing (``failed``, ``changed``, ``pending``) are left out.

        :raises LedgerError: if the database refuses; nothing of the batch is then written
        """
        rows: dict[str, dict[str, Any]] = {}
        for entry in entries:
            outcome, event_id = entry.result.outcome, entry.result.event_id
            if not outcome.strength or event_id is None:
                continue
            if event_id not in rows or outcome.strength >= rows[event_id]["outcome"].strength:
                rows[event_id] = self._row(entry)
        if not rows:
            return
        try:
            # Two writers can meet on a key, or one can lose a lock: the second try sees the winner's row.
            retry_on_conflict(self._write, rows)
        except SQLAlchemyError as error:
            raise LedgerError(
                f"{self} refused {len(rows)} results: {first_line(error)}. Run the task again when it is mended: "
                "FirstPromoter knows the refunds that it was sent, and does not record them twice"
            ) from None

    def _write(self, rows: dict[str, dict[str, Any]]) -> None:
        c = self.table.c
        with self.engine.begin() as connection:
            present = {
                event_id
                for chunk in chunks(list(rows))
                for (event_id,) in connection.execute(
                    select(c.event_id).where(c.account == self.account, c.event_id.in_(chunk))
                )
            }
            if new := [row for event_id, row in rows.items() if event_id not in present]:
                connection.execute(insert(self.table), new)
            for outcome in Outcome:
                again = [rows[event_id] for event_id in present if rows[event_id]["outcome"] is outcome]
                if again:
                    connection.execute(self._overwrite_weaker(outcome), [as_bind_params(row) for row in again])

    def _overwrite_weaker(self, outcome: Outcome) -> Any:
        """
        An update that leaves stronger rows alone, whoever wrote them in the meantime.

        What is recorded stays as it was first recorded; the others may be renewed by their like.
        """
        c = self.table.c
        overwritten = [
            # Not as a list: SQLAlchemy cannot expand one for many rows.
            c.outcome == other
            for other in Outcome
            if other.strength < outcome.strength or (other is outcome and outcome.renewable)
        ]
        values = {
            column.name: bindparam(f"new_{column.name}", type_=column.type)
            for column in self.table.columns
            if not column.primary_key
        }
        return (
            update(self.table)
            .where(
                c.account == bindparam("new_account"),
                c.event_id == bindparam("new_event_id"),
                or_(*overwritten),
            )
            .values({**values, "first_sent_at": func.coalesce(c.first_sent_at, values["first_sent_at"])})
        )

    def update_rewards(self, refunds: Iterable[tuple[LedgerRecord, Result]]) -> None:
        """
        Write what the books now say of the rewards of these refunds.

        The stored result stays the one that was handed on, unless it had no reward.

        :param refunds: each with a result that has its reward
        :raises LedgerError: if the database refuses; nothing of it is then written
        """
        rows = []
        for record, result in refunds:
            reward, lead, promoter = result.reward, result.lead, result.promoter
            rows.append(
                {
                    "event_id": record.event_id,
                    "account": self.account,
                    "recorded_amount": record.recorded_amount or result.recorded_amount,
                    "reward_id": reward and reward.id,
                    "reward_status": reward and reward.status,
                    "reward_amount": reward and reward.amount,
                    "reward_unit": reward and reward.unit,
                    "promoter_id": record.promoter_id or (promoter and promoter.id),
                    "lead_id": record.lead_id or (lead and lead.id),
                    "details": record.details if record.reward_id else result.model_dump_json(),
                }
            )
        if not rows:
            return
        try:
            retry_on_conflict(self._update, rows)
        except SQLAlchemyError as error:
            raise LedgerError(f"{self} refused {len(rows)} rewards: {first_line(error)}") from None

    def _update(self, rows: list[dict[str, Any]]) -> None:
        c = self.table.c
        values = {name: bindparam(f"new_{name}", type_=c[name].type) for name in rows[0] if not c[name].primary_key}
        change: Any = (
            update(self.table)
            .where(c.account == bindparam("new_account"), c.event_id == bindparam("new_event_id"))
            .values(values)
        )
        with self.engine.begin() as connection:
            connection.execute(change, [as_bind_params(row) for row in rows])

    def _row(self, entry: LedgerWrite) -> dict[str, Any]:
        result, refund = entry.result, entry.refund
        reward, lead, promoter = result.reward, result.lead, result.promoter
        return {
            "account": self.account,
            "event_id": result.event_id,
            "outcome": result.outcome,
            "http_status": result.http_status,
            "message": result.message,
            "row_amount": entry.row_amount,
            "sent_amount": refund.amount if refund else None,
            "sent_currency": refund.currency if refund else None,
            "sale_event_id": refund.sale_event_id if refund else None,
            "recorded_amount": result.recorded_amount,
            "refund_id": result.refund_id,
            "reward_id": reward.id if reward else None,
            "reward_status": reward.status if reward else None,
            "reward_amount": reward.amount if reward else None,
            "reward_unit": reward.unit if reward else None,
            "promoter_id": promoter.id if promoter else None,
            "lead_id": lead.id if lead else None,
            "details": result.model_dump_json(),
            "fingerprint": entry.fingerprint,
            **entry.run._asdict(),
            "first_sent_at": entry.at if result.sent else None,
            "last_sent_at": entry.at if result.sent else None,
        }
