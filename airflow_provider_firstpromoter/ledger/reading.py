"""Reads the ledger of one account and call."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import and_, case, exists, false, func, literal_column, or_, select, true
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.elements import ColumnElement

from airflow_provider_firstpromoter.calls import Call, Commission, Outcome, Totals, batches
from airflow_provider_firstpromoter.database import ManagedTable, errors_as, first_line
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger.records import LedgerRecord, RunKey
from airflow_provider_firstpromoter.ledger.table import (
    KEPT_OUTCOMES,
    ON_RECORD,
    commissions_table,
    ledger_table,
    salt_table,
)

RECORD_COLUMNS = tuple(name for name in LedgerRecord.__dataclass_fields__ if name != "commissions")
COMMISSION_FIELDS = tuple(
    name for name in Commission.model_fields if name not in ("event_id", "lead_uid", "lead_email")
)
COLUMN_OF = {name: "commission_id" if name == "id" else name for name in COMMISSION_FIELDS}


class LedgerReader(ManagedTable):
    """
    Reads the tables of one account and call.

    :param engine: for the database in which the tables live
    :param account: :attr:`Account.key`
    :param table: ``table`` or ``schema.table``; by default the call's
    :param name: the connection's id, for error messages
    :param cancelled: set when the task was killed: nothing is tried again then, in none of its tables
    """

    WHAT = "ledger"
    LONGER_BESIDE = 24

    def __init__(
        self,
        engine: Engine,
        account: str,
        table: str | None = None,
        name: str = "ledger",
        *,
        call: Call,
        cancelled: threading.Event | None = None,
    ) -> None:
        super().__init__(engine, ledger_table(call, table), name, cancelled)
        self.call = call
        self.account = account
        self.commissions = ManagedTable(engine, commissions_table(self.table), name, self.cancelled)
        self.salts = ManagedTable(engine, salt_table(self.table), name, self.cancelled)
        self._salt = ""

    def ensure(self) -> None:
        """Create the tables and the account's salt if they do not exist; two processes may do so at once."""
        self._check_names()  # its own name first: it is the one that the user can shorten
        self.commissions.ensure()
        super().ensure()  # the ledger's own comes after the commissions', so that it never stands without them
        if not self.salt:
            self.salts.ensure()
            with errors_as(LedgerError, f"{self.salts} cannot be written"):
                self.retry(self._make_salt)

    @property
    def salt(self) -> str:
        """
        The key of the hashes by which rows' contents are recognised; empty before anything was written.

        It is random, one for each account, and never changes: neither a new API key nor a second connection of the
        account makes a known content look new.
        """
        if not self._salt and self.salts.exists():
            with errors_as(LedgerError, f"{self.salts} cannot be read"):
                self._salt = self.retry(self._find_salt)
        return self._salt

    def _make_salt(self) -> None:
        with self.engine.begin() as connection:
            row = {"account": self.account, "salt": secrets.token_hex(16)}
            self.salts.upsert(connection, [row], update=())  # unless another process was faster

    def _find_salt(self) -> str:
        c = self.salts.table.c
        with self.engine.connect() as connection:
            # Databases that do not enforce keys can hold a row of each of two first runs.
            return connection.execute(select(func.min(c.salt)).where(c.account == self.account)).scalar() or ""

    def find(self, event_ids: Collection[str], commissions: bool = True) -> dict[str, LedgerRecord]:
        """
        Return the records of these events; an unknown one has none, and a missing table counts as an empty ledger.

        :param commissions: whether the commissions are read as well
        """
        if not event_ids or not self.exists():
            return {}
        found: dict[str, LedgerRecord] = {}

        def read() -> None:
            with self.engine.connect() as connection:
                found.update(self._find(connection, event_ids, commissions))

        try:
            self.retry(read)  # a connection that was dropped since the last batch is opened again
        except SQLAlchemyError as error:
            raise LedgerError(f"{self} cannot be read: {first_line(error)}") from None
        return found

    def stream(self, where: ColumnElement[bool], *, commissions: bool = True) -> Iterator[LedgerRecord]:
        """Read the events of the account that fulfil a condition, in the order of their event_ids."""
        if not self.exists():
            return
        with self.reading(stream_results=True) as connection:
            yield from self._select(connection, where, commissions)

    def failed(self, most: int) -> list[str] | None:
        """
        Return the event_ids of failed events, at most so many.

        :returns: None if the ledger has no event of the account at all
        :raises LedgerError: if the database refuses
        """
        c = self.table.c
        of_account = c.account == self.account
        # A constant in the SQL, so that the database sees that its index has them.
        failed = select(c.event_id).where(of_account, literal_column(f"outcome = '{Outcome.FAILED.value}'"))
        with self.reading() as connection:
            found = list(connection.execute(failed.limit(most)).scalars())
            is_any = found or connection.execute(select(c.event_id).where(of_account).limit(1)).first()
        return found if is_any else None

    def _find(self, connection: Connection, event_ids: Collection[str], commissions: bool) -> dict[str, LedgerRecord]:
        c = self.table.c
        chunks = batches(sorted(event_ids))
        records = (one for chunk in chunks for one in self._select(connection, c.event_id.in_(chunk), commissions))
        return {record.event_id: record for record in records}

    def _select(self, connection: Connection, where: ColumnElement[bool], commissions: bool) -> Iterator[LedgerRecord]:
        named = {"happened_at": self.call.moment}
        columns = [self.table.c[named.get(name, name)].label(name) for name in RECORD_COLUMNS]
        where = and_(self.table.c.account == self.account, where)
        if not commissions:
            for row in connection.execute(select(*columns).where(where)):
                yield LedgerRecord(**row._mapping)
            return
        other, c = self.commissions.table.c, self.table.c
        parts = [other[COLUMN_OF[name]].label(f"commission_{name}") for name in COMMISSION_FIELDS]
        joined = self.table.outerjoin(self.commissions.table, self._same_event())
        query = select(*columns, *parts).select_from(joined).where(where).order_by(c.event_id, other.commission_id)
        for _, rows in groupby(connection.execute(query), key=lambda row: row.event_id):
            yield _record(list(rows))

    def count_unreferred(self, since: datetime) -> int:
        """
        Return how many events without a referral happened and were first sent since then.

        :raises LedgerError: if the database cannot be read
        """
        if not self.exists():
            return 0
        c = self.table.c
        recent = and_(c.first_sent_at > since, or_(c[self.call.moment].is_(None), c[self.call.moment] > since))
        where = and_(c.account == self.account, c.outcome == Outcome.NOT_REFERRED, recent)
        with self.reading() as connection:
            return connection.execute(select(func.count()).select_from(self.table).where(where)).scalar_one()

    def records_of_run(self, run: RunKey) -> Iterator[LedgerRecord]:
        """Return every event whose outcome this task run decided, in the order of the event_ids."""
        yield from self.stream(self._decided_by(run))

    def totals_of_run(self, run: RunKey) -> Totals:
        """Return the settled outcomes that a task run decided, with their sums: what it stands for now."""
        totals = Totals()
        c, other = self.table.c, self.commissions.table.c
        of_run = and_(c.account == self.account, self._decided_by(run))
        names_no_sale = c.sale_event_id.is_(None) if "sale_event_id" in self.call.columns else false()
        counts = (
            select(
                c.outcome,
                c.sent_currency,
                func.count().label("events"),
                func.sum(c.sent_amount).label("amount"),
                func.sum(case((c.commissions_known == true(), 0), else_=1)).label("unknown"),
                func.sum(case((and_(c.sent_amount.is_not(None), names_no_sale), 1), else_=0)).label("without_sale"),
            )
            .where(of_run)
            .group_by(c.outcome, c.sent_currency)
        )
        rewards = (
            select(*_amounts(other))
            .select_from(self.table.join(self.commissions.table, self._same_event()))
            .where(of_run, _in_effect(other))
            .group_by(other.unit, other.amount)
        )
        with self.reading() as connection:
            for row in connection.execute(counts):
                if row.outcome.settled:
                    totals.outcomes[row.outcome] += row.events
                if row.outcome.on_record:
                    totals.rewards_unknown += int(row.unknown)
                    totals.without_sale_event_id += int(row.without_sale)
                    if row.amount is not None:
                        totals.amounts[row.sent_currency or "account"] += int(row.amount)
            totals.rewards.update(_sums(connection.execute(rewards)))
        return totals

    def rewards_in_effect(self) -> dict[str, int]:
        """
        Return the sum of all commissions in effect, by unit.

        :raises LedgerError: if the database cannot be read
        """
        c = self.commissions.table.c
        amounts = select(*_amounts(c)).where(c.account == self.account, _in_effect(c)).group_by(c.unit, c.amount)
        with self.reading() as connection:
            return _sums(connection.execute(amounts))

    def recorded_between(self, start: datetime | None, end: datetime | None) -> Iterator[LedgerRecord]:
        """
        Return every event that FirstPromoter has, as far as the ledger knows, and that was last sent in this time.

        Events that were reverted since are among them.

        :param start: None is no limit; without both limits, adopted events, which were never sent, are among them
        :param end: exclusive
        """
        c = self.table.c
        where: list[ColumnElement[bool]] = [c.outcome.in_(KEPT_OUTCOMES)]
        if start is not None:
            where.append(c.last_sent_at >= start)
        if end is not None:
            where.append(c.last_sent_at < end)
        yield from self.stream(and_(*where))

    def sent_to_leads(self, lead_ids: Collection[int]) -> Iterator[LedgerRecord]:
        """Read the recorded events of these leads that were sent, unless all of their commissions are denied."""
        c = self.table.c
        not_denied = or_(c.commissions_known.is_(None), c.commissions_known != true(), self._has_commission(_in_effect))
        for batch in batches(lead_ids):
            of_leads = and_(self._sent_and_recorded(), c.lead_id.in_(batch), not_denied)
            yield from self.stream(of_leads, commissions=False)

    def sent_without_lead(self) -> Iterator[LedgerRecord]:
        """Read the recorded events that were sent and whose lead is not known, because their commissions are not."""
        yield from self.stream(and_(self._sent_and_recorded(), self.table.c.lead_id.is_(None)))

    def with_pending_commission(self, before: datetime) -> Iterator[LedgerRecord]:
        """Read the recorded events that name a sale, were first sent by then, and have a commission that is pending."""
        c = self.table.c
        is_pending = self._has_commission(lambda part: part.status == "pending")
        of_sale = and_(c.outcome.in_(ON_RECORD), c.sale_event_id.is_not(None))
        yield from self.stream(and_(of_sale, c.first_sent_at <= before, is_pending))

    def sent_by_run(self, dag_id: str, run_id: str) -> Iterator[LedgerRecord]:
        """
        Read the events that a DAG run sent, in all its tasks, and that FirstPromoter has or may have.

        Those that were reverted since are included, and so are those whose response is not known.
        """
        c = self.table.c
        yield from self._recorded_or_unresolved(and_(c.sent_dag_id == dag_id, c.sent_run_id == run_id))

    def sent_by_unknown(self, since: datetime) -> Iterator[LedgerRecord]:
        """Read the recorded events that were sent, and by whom is not known, of which that was found out since."""
        c = self.table.c
        yield from self.stream(and_(self._sent_and_recorded(), c.sent_run_id.is_(None), c.judged_at >= since))

    def first_sent_between(self, start: datetime, end: datetime | None) -> Iterator[LedgerRecord]:
        """
        Read the events that were first sent in this time and that FirstPromoter has or may have.

        :param end: exclusive; None is no limit
        """
        c = self.table.c
        where = c.first_sent_at >= start
        yield from self._recorded_or_unresolved(where if end is None else and_(where, c.first_sent_at < end))

    def _recorded_or_unresolved(self, where: ColumnElement[bool]) -> Iterator[LedgerRecord]:
        for record in self.stream(where):
            if record.recorded or record.outcome is Outcome.REVERTED or record.unresolved:
                yield record

    def _has_commission(self, condition: Callable[[Any], ColumnElement[bool]]) -> ColumnElement[bool]:
        c, part = self.table.c, self.commissions.table.alias("part")
        of_event = and_(part.c.account == c.account, part.c.event_id == c.event_id, condition(part.c))
        return exists(select(part.c.event_id).where(of_event).correlate(self.table))

    def _same_event(self) -> ColumnElement[bool]:
        c, other = self.table.c, self.commissions.table.c
        return and_(other.account == c.account, other.event_id == c.event_id)

    def _sent_and_recorded(self) -> ColumnElement[bool]:
        c = self.table.c
        return and_(c.outcome.in_(ON_RECORD), c.last_sent_at.is_not(None))

    def _decided_by(self, run: RunKey) -> ColumnElement[bool]:
        return and_(*(self.table.c[name] == value for name, value in run._asdict().items()))


def _in_effect(commission: Any) -> ColumnElement[bool]:
    return or_(commission.status.is_(None), commission.status != "denied")


def _amounts(commission: Any) -> tuple[ColumnElement[Any], ...]:
    return commission.unit, commission.amount, func.count().label("times")


def _sums(amounts: Iterable[Any]) -> Counter[str]:
    """Add up amounts by unit; SQLite's own sum fails where nonsense is beyond 64 bits."""
    sums: Counter[str] = Counter()
    for unit, amount, times in amounts:
        if amount is not None:
            sums[unit or "unknown"] += int(amount) * times
    return sums


def _record(rows: Sequence[Any]) -> LedgerRecord:
    """
    Return the record of the joined rows of one event_id.

    Databases that do not enforce keys can hold a row of each of two writers: the stronger one counts.
    """
    row = max(rows, key=lambda row: row.outcome.strength)._mapping
    parts = {
        one["commission_id"]: Commission(
            event_id=one["event_id"], **{name: one[f"commission_{name}"] for name in COMMISSION_FIELDS}
        )
        for one in (row._mapping for row in rows)
        if one["commission_id"] is not None
    }
    return LedgerRecord(**{name: row[name] for name in RECORD_COLUMNS}, commissions=tuple(parts.values()))
