"""The ledger of one account: reads its records of refunds, and writes their results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_firstpromoter.account import DEFAULT_LEDGER_TABLE, Account
from airflow_provider_firstpromoter.calls import batches
from airflow_provider_firstpromoter.database import ManagedTable, engine_for, first_line
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, LedgerError
from airflow_provider_firstpromoter.ledger.reading import find_records, recorded_by_others, select_records
from airflow_provider_firstpromoter.ledger.records import LedgerBatch, LedgerRecord, RunKey
from airflow_provider_firstpromoter.ledger.salt import Salts
from airflow_provider_firstpromoter.ledger.table import ledger_table
from airflow_provider_firstpromoter.ledger.writing import set_columns, write_batch

if TYPE_CHECKING:
    from sqlalchemy.sql.elements import ColumnElement


class RefundLedger(ManagedTable):
    """
    The ledger of one account.

    :param engine: for the database in which the table lives
    :param account: :attr:`Account.key`
    :param table: ``table`` or ``schema.table``
    :param name: the connection's id, for error messages
    """

    WHAT = "ledger"
    LONGER_BESIDE = 24

    def __init__(
        self,
        engine: Engine,
        account: str,
        table: str = DEFAULT_LEDGER_TABLE,
        name: str = "ledger",
    ) -> None:
        super().__init__(engine, ledger_table(table), name)
        self.account = account
        self.salts = Salts(engine, self.table.fullname, name)
        self._salt = ""

    @classmethod
    def from_connection(cls, conn_id: str, account: str, table: str = DEFAULT_LEDGER_TABLE) -> RefundLedger:
        """Return the ledger in the database of an Airflow SQL connection."""
        return cls(engine_for(conn_id), account, table, name=conn_id)

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
        return cls.from_connection(conn_id, account.key, table or account.extra.ledger_table)

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

    def ensure(self) -> None:
        """Create the table and the account's salt if they do not exist; two processes may do so at once."""
        super().ensure()
        if not self.salt:
            self._salt = self.salts.make(self.account)

    @property
    def salt(self) -> str:
        """
        The key of the hashes by which rows' contents are recognised; empty before anything was written.

        It is random, one for each account, and never changes: neither a new API key nor a second connection of the
        account makes a known content look new.

        :raises LedgerError: if it cannot be read
        """
        if not self._salt:
            self._salt = self.salts.find(self.account) or ""
        return self._salt

    def find(self, event_ids: Collection[str], details: bool = True) -> dict[str, LedgerRecord]:
        """
        Return the records of these refunds; an unknown refund has none, and a missing table counts as an empty ledger.

        :param details: whether :meth:`LedgerRecord.result` will be called
        :raises LedgerError: if the database refuses
        """
        if not event_ids or not self.exists():
            return {}
        try:
            return self.retry(self._find, event_ids, details)
        except SQLAlchemyError as error:
            raise self._unreachable(error) from None

    def _find(self, event_ids: Collection[str], details: bool) -> dict[str, LedgerRecord]:
        with self.engine.connect() as connection:
            return find_records(self, connection, event_ids, details)

    def records_of_run(self, run: RunKey) -> Iterator[LedgerRecord]:
        """Return every refund whose outcome this task run decided, in the order of the event_ids."""
        c = self.table.c
        where = and_(*(c[name] == value for name, value in run._asdict().items()))
        yield from self.stream(where, order_by=c.event_id)

    def stream(self, where: ColumnElement[bool], order_by: Any = None) -> Iterator[LedgerRecord]:
        """
        Read the refunds of the account that fulfil a condition, with their details.

        :raises LedgerError: if the database cannot be read
        """
        if not self.exists():
            return
        try:
            with self.engine.connect().execution_options(stream_results=True) as connection:
                yield from select_records(self, connection, where, order_by=order_by)
        except SQLAlchemyError as error:
            raise self._unreachable(error) from None

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
                write_batch(self, connection, batch, run)
                claimed.clear()
                claimed.update(recorded_by_others(self, connection, batch.on_record(), run))
                if also is not None:
                    also(connection, claimed)

        try:
            # Two writers can meet on a key, or one can lose a lock: the second try sees the winner's row.
            self.retry(change)
        except SQLAlchemyError as error:
            raise LedgerError(
                f"{self} refused {len(batch)} results: {first_line(error)}. Correct that and run the task again: "
                "FirstPromoter knows the refunds that it was sent, and does not record them twice"
            ) from None
        return claimed

    def mark(self, event_ids: Iterable[str], **values: Any) -> None:
        """
        Set columns of these refunds to the same values.

        :raises LedgerError: if the database refuses
        """
        for chunk in batches(event_ids):
            self.change(partial(set_columns, self), chunk, **values)

    def change(self, change: Callable[..., None], rows: Collection[Any], **options: Any) -> None:
        """
        Call ``change(connection, rows, **options)`` in a transaction, again if another writer was faster.

        :raises LedgerError: if the database refuses
        """

        def in_transaction() -> None:
            with self.engine.begin() as connection:
                change(connection, rows, **options)

        try:
            self.retry(in_transaction)
        except SQLAlchemyError as error:
            raise LedgerError(f"{self} refused {len(rows)} changes: {first_line(error)}") from None


def now() -> datetime:
    """Return the time, to the second: databases keep fractions differently."""
    return datetime.now(UTC).replace(microsecond=0)
