"""The ledger of one account and call: reads its records, and writes what became of its events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from sqlalchemy import String, Table, and_, or_, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.calls import Call, Commission, Outcome, Result, batches, shortened
from airflow_provider_firstpromoter.database import engine_for, first_line, may_refuse_a_value
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, LedgerError
from airflow_provider_firstpromoter.ledger.reading import COLUMN_OF, LedgerReader
from airflow_provider_firstpromoter.ledger.records import LedgerRecord, RunKey
from airflow_provider_firstpromoter.ledger.table import ON_RECORD
from airflow_provider_firstpromoter.ledger.writes import LedgerWrite, Rule

#: What stands where the database cannot hold a text.
NOTE = "(this database cannot hold the text)"


class Written(NamedTuple):
    """
    What became of a batch.

    :param claimed: the events that another task run has on record as its own
    :param noted: rows with a text that the database cannot hold, by event_id, with its reason
    :param refused: rows that it cannot hold without that text either, likewise
    """

    claimed: dict[str, LedgerRecord]
    noted: dict[str, str]
    refused: dict[str, str]


class Ledger(LedgerReader):
    """The ledger of one account and call; the parameters are those of :class:`LedgerReader`."""

    @classmethod
    def from_connection(
        cls,
        conn_id: str,
        account: str,
        table: str | None = None,
        *,
        call: Call,
        cancelled: threading.Event | None = None,
    ) -> Self:
        """Return the ledger in the database of an Airflow SQL connection."""
        return cls(engine_for(conn_id), account, table, conn_id, call=call, cancelled=cancelled)

    def beside(self, table: str, call: Call) -> Self:
        """Return another call's ledger of the same account, in the same database."""
        return type(self)(self.engine, self.account, table, self.name, call=call, cancelled=self.cancelled)

    @classmethod
    def of(
        cls,
        account: Account,
        conn_id: str | None = None,
        table: str | None = None,
        *,
        call: Call,
        cancelled: threading.Event | None = None,
    ) -> Self | None:
        """
        Return the account's ledger.

        :param conn_id: its SQL connection; by default the one in the FirstPromoter connection's extra
        :param table: its table; by default likewise
        :param cancelled: set when the task was killed
        :returns: None if neither names a connection
        """
        conn_id = conn_id or account.extra.ledger_conn_id
        if conn_id is None:
            return None
        return cls.from_connection(
            conn_id, account.key, table or account.ledger_table(call), call=call, cancelled=cancelled
        )

    @classmethod
    def required(
        cls,
        account: Account,
        conn_id: str | None = None,
        table: str | None = None,
        *,
        call: Call,
        cancelled: threading.Event | None = None,
    ) -> Self:
        """Return the account's ledger, for tasks that need one."""
        ledger = cls.of(account, conn_id, table, call=call, cancelled=cancelled)
        if ledger is None:
            raise ConnectionSettingsError(
                f"No ledger is named, so it cannot be known which {call.plural} are pending. Set 'ledger_conn_id' in "
                f"the extra of connection {account.conn_id!r} (for all tasks of the account), or on this task"
            )
        return ledger

    # --- writing ---

    def write(
        self,
        writes: Sequence[LedgerWrite],
        run: RunKey,
        also: Callable[[Connection, dict[str, LedgerRecord]], None] | None = None,
    ) -> Written:
        """
        Write a batch in one transaction; a weaker outcome never overwrites a stronger one.

        A text that the database cannot hold is replaced by a note, so that the others, and the outcome, are stored.

        :param run: the task run whose batch it is
        :param also: further statements of the same transaction; called with the events that another task run has
        """
        claimed: dict[str, LedgerRecord] = {}

        def change(writes: Sequence[LedgerWrite]) -> None:
            with self.engine.begin() as connection:
                self._write(connection, writes)
                claimed.clear()
                claimed.update(self._recorded_by_others(connection, _on_record(writes), run))
                if also is not None:
                    also(connection, claimed)

        fitting = [self._cut(write) for write in writes]
        noted: dict[str, str] = {}
        refused: dict[str, str] = {}
        try:
            try:
                # Two writers can meet on a key, or one can lose a lock: the second try sees the winner's row.
                self.retry(change, fitting)
            except Exception as error:
                if not self._may_be_a_text(error):
                    raise
                noted = self._unstorable(fitting)
                if not noted:
                    raise
                fitting = [self._without_text(one) if one.event_id in noted else one for one in fitting]
                refused = self._unstorable([one for one in fitting if one.event_id in noted])
                if refused.keys() >= {one.event_id for one in fitting}:
                    raise
                self.retry(change, [one for one in fitting if one.event_id not in refused])
        except (SQLAlchemyError, ValueError) as error:
            raise LedgerError(
                f"{self} refused {len(writes)} results: {first_line(error)}. Correct that and run the task again: "
                f"FirstPromoter knows the {self.call.plural} that it was sent, and does not record them twice"
            ) from None
        return Written(claimed, noted, refused)

    def recover(self, events: Iterable[tuple[LedgerRecord, Result]], at: datetime) -> None:
        """
        Record that events which were sent turned out to be recorded.

        What was sent, when and by which task run stays. A row that has become recorded meanwhile is left alone.

        :param events: each with its result, which is ``already_recorded`` and has commissions
        :param at: when that was decided
        """
        if writes := [LedgerWrite.of_recovered(record, result, at) for record, result in events]:
            self.write(writes, RunKey())

    def update_commissions(self, events: Iterable[tuple[LedgerRecord, Result]]) -> None:
        """
        Write the commissions of these events as FirstPromoter lists them now; one that it does not list stays.

        A row whose outcome has changed since it was read, because it was reverted, is left alone.
        """
        if writes := [LedgerWrite.of_commissions(record, result) for record, result in events]:
            self.write(writes, RunKey())

    def mark_reverted(self, event_ids: Collection[str], run: RunKey, at: datetime) -> None:
        """
        Record that the commissions of events were denied: outcome ``reverted``, and each commission ``denied``.

        An event that another task run reverted meanwhile keeps that run. ``changed_amount`` is cleared, because a
        reverted event is settled whatever amount its row has.

        :param at: when FirstPromoter's commissions showed it
        """
        values = {"changed_amount": None, "reverted_at": at, "reverted_run_id": run.run_id}

        def change(connection: Connection, event_ids: Collection[str]) -> None:
            c, parts = self.table.c, self.commissions.table
            for chunk in batches(event_ids):
                of_event = and_(c.account == self.account, c.event_id.in_(chunk), c.outcome.in_(ON_RECORD))
                connection.execute(
                    update(parts)
                    .where(parts.c.account == self.account, parts.c.event_id.in_(chunk))
                    .values(status="denied")
                )
                connection.execute(update(self.table).where(of_event).values(outcome=Outcome.REVERTED, **values))

        if event_ids:
            self._change(change, event_ids)

    def mark(self, event_ids: Iterable[str], **values: Any) -> None:
        """Set columns of these events to the same values."""

        def change(connection: Connection, chunk: Collection[str]) -> None:
            c = self.table.c
            where = and_(c.account == self.account, c.event_id.in_(chunk))
            connection.execute(update(self.table).where(where).values(**values))

        for chunk in batches(event_ids):
            self._change(change, chunk)

    def _change(self, change: Callable[[Connection, Collection[str]], None], event_ids: Collection[str]) -> None:
        def in_transaction() -> None:
            with self.engine.begin() as connection:
                change(connection, event_ids)

        try:
            self.retry(in_transaction)
        except SQLAlchemyError as error:
            raise LedgerError(f"{self} refused {len(event_ids)} changes: {first_line(error)}") from None

    def _write(self, connection: Connection, writes: Sequence[LedgerWrite]) -> None:
        by_rule: dict[Rule, dict[str, LedgerWrite]] = {rule: {} for rule in Rule}
        for write in writes:
            if not write.outcome.stored:
                continue
            # One statement may not change a row twice: the strongest counts, and of equal ones the last.
            earlier = by_rule[write.rule].get(write.event_id)
            if earlier is None or write.outcome.strength >= earlier.outcome.strength:
                by_rule[write.rule][write.event_id] = write
        for rule, chosen in by_rule.items():
            absent: dict[str, Any] = dict.fromkeys(name for one in chosen.values() for name in one.values)
            rows = [{"account": self.account, "event_id": key, **absent, **one.values} for key, one in chosen.items()]
            names = [name for name in absent if rule.decides or name != "outcome"]
            keep = ("first_sent_at", self.call.moment, *rule.keeps)
            self.upsert(
                connection,
                rows,
                update=names,
                when=rule.when,
                keep=tuple(name for name in keep if name in names),
            )
        reverted = self._reverted(connection, [one.event_id for one in writes if one.is_listed])
        for is_listed in (False, True):
            found = {
                (one.event_id, commission.id): _commission_row(self.account, one.event_id, commission)
                for one in writes
                if one.is_listed is is_listed and not (is_listed and one.event_id in reverted)
                for commission in one.commissions
            }
            names = [name for name in COLUMN_OF.values() if name != "commission_id"]
            self.commissions.upsert(
                connection,
                list(found.values()),
                update=names,
                # What a response said when the commission was made must not replace what was listed since.
                keep=[name for name in names if not is_listed or name not in LISTED_COLUMNS],
            )

    def _reverted(self, connection: Connection, event_ids: Collection[str]) -> set[str]:
        """Return those of these events that were reverted meanwhile: what was listed before is out of date."""
        c = self.table.c
        found: set[str] = set()
        for chunk in batches(event_ids):
            where = and_(c.account == self.account, c.event_id.in_(chunk), c.outcome == Outcome.REVERTED.value)
            found.update(connection.execute(select(c.event_id).where(where)).scalars())
        return found

    def _recorded_by_others(
        self, connection: Connection, event_ids: Collection[str], run: RunKey
    ) -> dict[str, LedgerRecord]:
        """Return those of these events that another task run has on record as its own."""
        if not event_ids or run == RunKey():
            return {}
        c = self.table.c
        of_another = or_(*(c[name].is_distinct_from(value) for name, value in run._asdict().items()))
        # Nearly always there are none, and the database knows that without returning the rows.
        of_others: set[str] = set()
        for chunk in batches(sorted(event_ids)):
            where = and_(c.account == self.account, c.event_id.in_(chunk), c.outcome.in_(ON_RECORD), of_another)
            of_others.update(connection.execute(select(c.event_id).where(where)).scalars())
        return self._find(connection, of_others, commissions=True) if of_others else {}

    # --- texts that the database cannot hold ---

    def _unstorable(self, writes: Sequence[LedgerWrite]) -> dict[str, str]:
        """Return the event_ids of the rows that the database refuses, with its reason: by trying, and halving."""
        try:
            with self.engine.connect() as connection, connection.begin() as transaction:
                self._write(connection, writes)
                transaction.rollback()
        except Exception as error:
            if not self._may_be_a_text(error):
                raise
            if len(writes) == 1:
                return {writes[0].event_id: first_line(error)}
            half = len(writes) // 2
            return {**self._unstorable(writes[:half]), **self._unstorable(writes[half:])}
        return {}

    def _may_be_a_text(self, error: BaseException) -> bool:
        return may_refuse_a_value(error, self.sql_of_database().failed_checks)

    def _cut(self, write: LedgerWrite) -> LedgerWrite:
        """Cut each text to what its column holds."""
        values = {name: _shortened(value, self.table, name) for name, value in write.values.items()}
        return replace(write, values=values)

    def _without_text(self, write: LedgerWrite) -> LedgerWrite:
        """Leave out the texts of a row that are not made by the provider itself."""
        values = dict(write.values)
        if "message" in values:
            values |= {"message": NOTE, "sale_event_id": None}
        texts = ("promoter_ref", "unit", "status", "original_sale_currency", "commission_type", "created_at")
        commissions = tuple(one.model_copy(update=dict.fromkeys(texts)) for one in write.commissions)
        return replace(write, values=values, commissions=commissions)


#: The columns in which FirstPromoter's listing is newer than what the ledger has.
LISTED_COLUMNS = ("amount", "unit", "status", "is_paid")


def _on_record(writes: Iterable[LedgerWrite]) -> set[str]:
    results = (Rule.RESULT, Rule.NEXT_RESULT, Rule.RECORDED)
    return {one.event_id for one in writes if one.rule in results and one.outcome.on_record}


def _commission_row(account: str, event_id: str, commission: Commission) -> dict[str, Any]:
    values = {column: getattr(commission, name) for name, column in COLUMN_OF.items()}
    return {"account": account, "event_id": event_id, **values}


def _shortened(value: Any, table: Table, name: str) -> Any:
    kind = table.c[name].type
    length = kind.length if isinstance(kind, String) else None
    return shortened(value, length) if isinstance(value, str) and length else value


def now() -> datetime:
    """Return the time, to the second: databases keep fractions differently."""
    return datetime.now(UTC).replace(microsecond=0)
