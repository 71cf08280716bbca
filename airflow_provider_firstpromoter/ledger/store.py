"""The ledger of one account: reads its records of refunds, and writes their results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, literal, not_, or_, select, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_firstpromoter.api import DEFAULT_LEDGER_TABLE, Account
from airflow_provider_firstpromoter.database import ManagedTable, engine_for, first_line, retry_on_conflict
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, LedgerError
from airflow_provider_firstpromoter.ledger.records import (
    DETAIL_COLUMNS,
    RULE_COLUMNS,
    LedgerBatch,
    LedgerRecord,
    RunKey,
)
from airflow_provider_firstpromoter.ledger.rows import changed_row, ledger_row, renewed_row, reward_row
from airflow_provider_firstpromoter.ledger.table import ledger_table
from airflow_provider_firstpromoter.refunds import Outcome, Result, batches

if TYPE_CHECKING:
    from sqlalchemy.sql.elements import ColumnElement

#: The columns that a later result of the same refund leaves as they are.
KEPT = ("first_sent_at", "refunded_at")
ON_RECORD = tuple(outcome.value for outcome in Outcome if outcome.on_record)
#: The outcomes that a later result of a run overwrites only if it is stronger.
KEPT_OUTCOMES = (*ON_RECORD, Outcome.REVERTED.value)


class RefundLedger(ManagedTable):
    """
    The ledger of one account.

    :param engine: for the database in which the table lives
    :param account: :attr:`Account.key`
    :param table: ``table`` or ``schema.table``
    :param name: the connection's id, for error messages
    :param digest_key: the key of the hashes that the database computes; it makes them useless to others
    """

    WHAT = "ledger"

    def __init__(
        self,
        engine: Engine,
        account: str,
        table: str = DEFAULT_LEDGER_TABLE,
        name: str = "ledger",
        digest_key: str = "",
    ) -> None:
        super().__init__(engine, ledger_table(table), name)
        self.account = account
        self.digest_key = digest_key

    @classmethod
    def from_connection(
        cls, conn_id: str, account: str, table: str = DEFAULT_LEDGER_TABLE, digest_key: str = ""
    ) -> RefundLedger:
        """Return the ledger in the database of an Airflow SQL connection."""
        return cls(engine_for(conn_id), account, table, name=conn_id, digest_key=digest_key)

    @classmethod
    def of(cls, account: Account, conn_id: str | None = None, table: str | None = None) -> RefundLedger | None:
        """
        Return the account's ledger.

        :param conn_id: its SQL connection; by default the one in the FirstPromoter connection's extra
        :param table: its table; by default likewise
        :returns: None if neither names a connection
        """
        conn_id = conn_id or account.extra.ledger_conn_id
        if conn_id is None:
            return None
        return cls.from_connection(conn_id, account.key, table or account.extra.ledger_table, account.digest_key)

    @classmethod
    def required(cls, account: Account, conn_id: str | None = None, table: str | None = None) -> RefundLedger:
        """
        Return the account's ledger, for tasks that need one.

        :raises ConnectionSettingsError: if no ledger connection is named
        """
        ledger = cls.of(account, conn_id, table)
        if ledger is None:
            raise ConnectionSettingsError(
                "No ledger is named, so it cannot be known which refunds are pending. Set 'ledger_conn_id' in the "
                f"extra of connection {account.conn_id!r} (for all tasks of the account), or on this task"
            )
        return ledger

    # --- reading ---

    def find(self, event_ids: Collection[str], details: bool = True) -> dict[str, LedgerRecord]:
        """
        Return the records of these refunds; an unknown refund has none, and a missing table counts as an empty ledger.

        :param details: whether :meth:`LedgerRecord.result` will be called
        :raises LedgerError: if the database refuses
        """
        if not event_ids or not self.exists():
            return {}
        try:
            with self.engine.connect() as connection:
                return self._find(connection, event_ids, details)
        except SQLAlchemyError as error:
            raise self._unreachable(error) from None

    def _find(self, connection: Connection, event_ids: Collection[str], details: bool) -> dict[str, LedgerRecord]:
        found: dict[str, LedgerRecord] = {}
        for chunk in batches(sorted(event_ids)):
            for record in self._select(connection, self.table.c.event_id.in_(chunk), details):
                # Databases that do not enforce keys can hold a row of each of two writers: the stronger one counts.
                rival = found.get(record.event_id)
                if rival is None or record.outcome.strength > rival.outcome.strength:
                    found[record.event_id] = record
        return found

    def records_of_run(self, run: RunKey) -> Iterator[LedgerRecord]:
        """Return every refund whose outcome this task run decided, in the order of the event_ids."""
        yield from self._stream(self._is_of(run), order_by=self.table.c.event_id)

    def recorded_between(self, start: datetime | None, end: datetime | None) -> Iterator[LedgerRecord]:
        """
        Return every refund that FirstPromoter has, as far as the ledger knows, and that was last sent in this time.

        Refunds that were reverted since are among them.

        :param start: None is no limit; without both limits, adopted refunds, which were never sent, are among them
        :param end: exclusive
        """
        c = self.table.c
        where: list[ColumnElement[bool]] = [c.outcome.in_(KEPT_OUTCOMES)]
        if start is not None:
            where.append(c.last_sent_at >= start)
        if end is not None:
            where.append(c.last_sent_at < end)
        yield from self._stream(and_(*where))

    def _is_of(self, run: RunKey) -> ColumnElement[bool]:
        return and_(*(self.table.c[name] == value for name, value in run._asdict().items()))

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
        query = select(*(c[name] for name in RULE_COLUMNS + (DETAIL_COLUMNS if details else ()))).where(
            c.account == self.account, where
        )
        for row in connection.execute(query if order_by is None else query.order_by(order_by)):
            yield LedgerRecord(*row)

    # --- writing ---

    def write(
        self,
        batch: LedgerBatch,
        run: RunKey,
        also: Callable[[Connection, dict[str, LedgerRecord]], None] | None = None,
    ) -> dict[str, LedgerRecord]:
        """
        Write the results of refunds, in one transaction; a weaker outcome never overwrites a stronger one.

        :param run: the task run that the rows name
        :param also: further statements of the same transaction; called with what this method returns
        :returns: refunds of the batch that another task run has on record as its own
        :raises LedgerError: if the database refuses; nothing of the batch is then written
        """
        claimed: dict[str, LedgerRecord] = {}

        def change() -> None:
            with self.engine.begin() as connection:
                claimed.clear()
                claimed.update(self._write(connection, batch, run))
                if also is not None:
                    also(connection, claimed)

        try:
            # Two writers can meet on a key, or one can lose a lock: the second try sees the winner's row.
            retry_on_conflict(change)
        except SQLAlchemyError as error:
            raise LedgerError(
                f"{self} refused {len(batch)} results: {first_line(error)}. Correct that and run the task again: "
                "FirstPromoter knows the refunds that it was sent, and does not record them twice"
            ) from None
        return claimed

    def _write(self, connection: Connection, batch: LedgerBatch, run: RunKey) -> dict[str, LedgerRecord]:
        columns = [column.name for column in self.table.columns if not column.primary_key]
        for known in (False, True):
            rows = [ledger_row(self.account, write, run) for write in batch.strongest(known)]
            self.upsert(connection, rows, update=columns, when=_may_replace(known), keep=KEPT)
        self.upsert(
            connection,
            _one_each(changed_row(self.account, *change) for change in batch.changed),
            update=("changed_amount", "last_seen_at", "reported_at", "reported_run_id", "accepted_at"),
        )
        self.upsert(
            connection,
            _one_each(renewed_row(self.account, *renewal) for renewal in batch.renewed),
            update=("row_amount", "fingerprint", "row_digest"),
            keep=("row_amount",),
        )
        self._touch(connection, batch.seen, last_seen_at=batch.seen_at)
        on_record = {
            write.result.event_id for write in batch.writes if write.result.outcome.on_record and write.result.event_id
        }
        if not on_record or run == RunKey():
            return {}
        return {
            event_id: record
            for event_id, record in self._find(connection, on_record, details=True).items()
            if record.recorded and record.run != run
        }

    def _touch(self, connection: Connection, event_ids: Sequence[str], **values: Any) -> None:
        c = self.table.c
        for chunk in batches(event_ids):
            connection.execute(
                update(self.table).where(c.account == self.account, c.event_id.in_(chunk)).values(**values)
            )

    def mark(self, event_ids: Iterable[str], **values: Any) -> None:
        """
        Set columns of these refunds to the same values.

        :raises LedgerError: if the database refuses
        """
        for chunk in batches(event_ids):
            self._change(self._touch, chunk, **values)

    def update_rewards(self, refunds: Collection[tuple[LedgerRecord, Result]]) -> None:
        """
        Write the rewards of these refunds as FirstPromoter's commissions now show them.

        The stored result stays the one that was passed downstream, unless it had no reward.

        :param refunds: each with a result that has its reward
        :raises LedgerError: if the database refuses; nothing of it is then written
        """
        rows = _one_each(reward_row(self.account, *refund) for refund in refunds)
        if rows:
            update_columns = [name for name in rows[0] if name not in ("account", "event_id", "outcome")]
            self._change(self.upsert, rows, update=update_columns)

    def _change(self, change: Callable[..., None], rows: Collection[Any], **options: Any) -> None:
        def in_transaction() -> None:
            with self.engine.begin() as connection:
                change(connection, rows, **options)

        try:
            retry_on_conflict(in_transaction)
        except SQLAlchemyError as error:
            raise LedgerError(f"{self} refused {len(rows)} changes: {first_line(error)}") from None


def now() -> datetime:
    """Return the time, to the second: databases keep fractions differently."""
    return datetime.now(UTC).replace(microsecond=0)


def _one_each(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last row of each event_id: one statement may not change a row twice."""
    return list({row["event_id"]: row for row in rows}.values())


def _may_replace(known: bool) -> Callable[[Any, Any], ColumnElement[bool]]:
    """
    Return the condition under which a new row replaces an old one, whoever wrote it in the meantime.

    What is recorded stays as it was first recorded, and a reward belongs to the run that wrote it first: of two racing
    runs only that one reports it. Of the other outcomes, a run that knew the old row replaces it by its newer result;
    one that did not know it follows the strength of the outcomes.
    """

    def strength(column: Any) -> Any:
        return case(
            *((column == outcome.value, literal(outcome.strength)) for outcome in Outcome if outcome.stored),
            else_=literal(0),
        )

    def condition(old: Any, new: Any) -> ColumnElement[bool]:
        claimed = and_(old.outcome.in_(ON_RECORD), old.reward_id.is_not(None))
        stronger = and_(strength(new.outcome) > strength(old.outcome), not_(claimed))
        if known:
            return or_(stronger, old.outcome.not_in(KEPT_OUTCOMES))
        renewed = and_(new.outcome == old.outcome, new.outcome.not_in(KEPT_OUTCOMES))
        return or_(stronger, renewed)

    return condition
