"""The run history: a table beside the ledger with one row per task try."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.elements import ColumnElement

from airflow_provider_firstpromoter.calls import MAX_MESSAGE_LENGTH, Outcome, Summary, Totals
from airflow_provider_firstpromoter.database import ManagedTable, Utc, first_line, key_text
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger.records import RunKey
from airflow_provider_firstpromoter.ledger.store import Ledger, now

#: A try that has not ended so long after it started was killed.
ABANDONED_AFTER = timedelta(days=7)
#: What a run of a query has read, if nothing was left out.
READ_ALL = "all"
#: What the run history names as the DAG of the provider's own commands.
COMMANDS = "airflow firstpromoter"
#: For how long, and how many at most, runs that no XCom tells of are named by later ones.
REPORTED_FOR, MOST_REPORTED = timedelta(days=90), 20
T = TypeVar("T")


def runs_table(beside: Table) -> Table:
    """Return the table of the run history beside a ledger: one row for each try of a task."""
    table = f"{beside.name}_runs"
    return Table(
        table,
        MetaData(),
        Column("id", key_text(36), primary_key=True),
        Column("account", key_text(), nullable=False),
        Column("kind", String(16), comment="query, list (of rows in XCom), reconcile, or revert"),
        Column("dag_id", String(250)),
        Column("run_id", String(250)),
        Column("task_id", String(250)),
        Column("map_index", Integer),
        Column("try_number", Integer),
        Column("started_at", Utc, comment="UTC"),
        Column("ended_at", Utc, comment="empty: under way, or killed; UTC"),
        *(Column(outcome.value, BigInteger, comment="events with this outcome in this try") for outcome in Outcome),
        Column("still_open", BigInteger, comment="rejected and changed events that an earlier run reported"),
        Column("mismatches", BigInteger, comment="of a reconciliation"),
        Column("sent", BigInteger),
        Column("rechecked", BigInteger, comment="of those sent, the ones that were not_referred before"),
        Column("requests", BigInteger, comment="HTTP requests, retries included"),
        Column(
            "rewards",
            Text,
            comment="JSON: change of the commissions in effect by unit; minor units when cash",
        ),
        Column("amounts", Text, comment="JSON: what was recorded by currency, minor units"),
        Column("rewards_unknown", BigInteger),
        Column("without_sale_event_id", BigInteger),
        Column("stopped_because", String(MAX_MESSAGE_LENGTH), comment="why the run ended early"),
        Column("error", String(100), comment="class of the error that ended the try"),
        Column("read", String(40), comment="of a query: all, or since when"),
        Column("completed", String(64), comment="of a query that was handled to its end: a keyed hash of it"),
        Column("event_at", Utc, comment="when an asset event first reported what it recorded; UTC"),
        Column("event_run_id", String(250), comment="run_id of the task whose event reported it"),
        Index(f"ix_{table}_task", "account", "run_id", "task_id"),
        schema=beside.schema,
        mysql_charset="utf8mb4",
    )


class RunHistory(ManagedTable):
    """
    The run history of one account.

    :param ledger: the ledger beside which the table lives
    :param run: the task run
    :param try_number: Airflow's number of the try
    :param kind: where the rows come from, ``query`` or ``list``; or ``reconcile`` or ``revert``
    """

    WHAT = "run history"

    def __init__(self, ledger: Ledger, run: RunKey, try_number: int = 1, kind: str = "query") -> None:
        super().__init__(ledger.engine, runs_table(ledger.table), ledger.name, ledger.cancelled)
        self.ledger = ledger
        self.account = ledger.account
        self.run = run
        self.started_at = now()
        self._started = False
        self._id = str(uuid.uuid4())
        self._row = {
            "id": self._id,
            "account": self.account,
            "kind": kind,
            **run._asdict(),
            "try_number": try_number,
            "started_at": self.started_at,
        }

    def start(self) -> int:
        """
        Write the row of this try: so a ledger that cannot be written is noticed before the first request.

        :returns: how many earlier tries of the same task run there are
        """
        self.ledger.check_with(self.ledger.commissions, self.ledger.salts, self)
        self.ledger.ensure()
        self.ensure()

        def change(connection: Connection) -> int:
            tries = select(func.count()).select_from(self.table).where(self.of_this_run())
            earlier: int = connection.execute(tries).scalar_one()
            connection.execute(insert(self.table).values(self._row))
            return earlier

        earlier = self._change(change)
        self._started = True
        return earlier

    def first_start(self, dag_id: str, run_id: str) -> datetime | None:
        """Return when the first task of a DAG run started; None if the history does not have it."""
        c = self.table.c
        return min(self._starts(and_(c.dag_id == dag_id, c.run_id == run_id)), default=None)

    def unfinished(self) -> list[datetime]:
        """Return when the tries started that sent events and have not ended: they were killed, or are under way."""
        c = self.table.c
        return self._starts(and_(c.kind.in_(("query", "list")), c.ended_at.is_(None)))

    def report(self) -> list[dict[str, Any]]:
        """
        Return what the tries of this task run add up to and, for Airflow's page, the runs that no XCom tells of.

        Those are the newest runs of commands, and of this DAG that have not ended: a kill leaves no XCom behind.

        :returns: this run first; plain JSON
        """
        if not self.exists():
            return []
        c = self.table.c
        mine, commands = c.dag_id == self.run.dag_id, c.dag_id == COMMANDS
        untold = or_(commands, and_(mine, c.ended_at.is_(None)))
        recent = and_(c.account == self.account, untold, c.started_at >= now() - REPORTED_FOR)
        newest = select(c.run_id).where(recent).order_by(c.started_at.desc()).limit(MOST_REPORTED)
        with self.reading() as connection:
            run_ids = [self.run.run_id, *connection.execute(newest).scalars()]
            where = and_(c.account == self.account, or_(mine, commands), c.run_id.in_(run_ids))
            rows = connection.execute(select(self.table).where(where).order_by(c.started_at)).all()
        tries: dict[RunKey, list[Any]] = {self.run: []}
        for row in rows:
            tries.setdefault(RunKey(row.dag_id, row.run_id, row.task_id, row.map_index), []).append(row)
        return [_added_up(key, rows) for key, rows in tries.items() if rows]

    def unaccounted(self, rewards: Mapping[str, int]) -> dict[str, int]:
        """
        Return what of the ledger's commissions the other runs of the history do not account for, by unit.

        :param rewards: what the ledger has in effect
        """
        c = self.table.c
        rest = Counter(rewards)
        with self.reading() as connection:
            others = select(c.rewards).where(c.account == self.account, c.id != self._id, c.rewards.is_not(None))
            for booked in connection.execute(others).scalars():
                rest.subtract(json.loads(booked))
        return {unit: amount for unit, amount in rest.items() if amount}

    def _starts(self, where: ColumnElement[bool]) -> list[datetime]:
        if not self.exists():
            return []
        c = self.table.c
        with self.reading() as connection:
            rows = connection.execute(select(c.started_at).where(c.account == self.account, where))
            return [row.started_at for row in rows]

    def update(self, connection: Connection, columns: Mapping[str, Any]) -> None:
        """Set columns of this try, in the transaction of a connection: that of the results that they count."""
        connection.execute(update(self.table).where(self.table.c.id == self._id).values(columns))

    def settled(self) -> Totals:
        """Return what all tries of the task run settled, from the ledger."""
        return self.ledger.totals_of_run(self.run)

    def finish(self, columns: dict[str, Any], error: BaseException | None = None) -> None:
        """
        Write how the try ended, if its row was written.

        :param error: the error that ended it; None if there was none
        """
        if not self._started:
            return
        columns = {**columns, "ended_at": now(), "error": type(error).__name__ if error else None}
        self._change(lambda connection: self.update(connection, columns))

    def report_by_event(self, *, only_recorded: bool = False) -> Totals:
        """
        Return what the asset event of this task run has to report: every try of the task that no event reported yet.

        A run that recorded something and then failed has no event: the next successful run reports for it. The tries
        are marked with this task run, so that its own retry reports them again, and no other run does. A try of another
        run that is under way is left to that run. If it has not ended after :data:`ABANDONED_AFTER`, it was killed.

        :param only_recorded: whether there is no event, and so nothing to mark, unless something was recorded
        """
        c, task = self.table.c, self.run
        of_this_task = and_(
            c.account == self.account,
            c.dag_id == task.dag_id,
            c.task_id == task.task_id,
            c.map_index == task.map_index,
        )
        over = or_(c.ended_at.is_not(None), c.run_id == task.run_id, c.started_at < now() - ABANDONED_AFTER)
        unreported = and_(of_this_task, c.event_run_id.is_(None), over)
        by_this_run = and_(of_this_task, c.event_run_id == task.run_id)

        def change(connection: Connection) -> Totals:
            # Marked before they are read: of two runs that end at once, one reports each try.
            connection.execute(update(self.table).where(unreported).values(event_run_id=task.run_id))
            reported = _settled_by(connection.execute(select(self.table).where(by_this_run)))
            if only_recorded and not reported.outcomes[Outcome.RECORDED]:
                connection.rollback()
            else:
                connection.execute(update(self.table).where(by_this_run).values(event_at=now()))
            return reported

        return self._change(change)

    def of_this_run(self) -> ColumnElement[bool]:
        """Return the condition that selects the tries of this task run."""
        c = self.table.c
        return and_(c.account == self.account, *(c[name] == value for name, value in self.run._asdict().items()))

    def _change(self, change: Callable[[Connection], T]) -> T:
        def in_transaction() -> T:
            with self.engine.connect() as connection:
                result = change(connection)
                connection.commit()
                return result

        try:
            return self.retry(in_transaction)
        except SQLAlchemyError as error:
            raise LedgerError(
                f"{self} cannot be written: {first_line(error)}. "
                "The ledger's user needs the rights to read, insert and update rows"
            ) from None


def _settled_by(tries: Iterable[Any]) -> Totals:
    """Add up what several tries settled; what they did not settle was handled again by the next one."""
    totals = Totals()
    for row in tries:
        totals.outcomes.update({one: row._mapping[one.value] or 0 for one in Outcome if one.settled})
        totals.rewards.update(json.loads(row.rewards or "{}"))
        totals.amounts.update(json.loads(row.amounts or "{}"))
        totals.rewards_unknown += row.rewards_unknown or 0
        totals.without_sale_event_id += row.without_sale_event_id or 0
    return totals


def _added_up(run: RunKey, tries: Sequence[Any]) -> dict[str, Any]:
    """Return the tries of a task run as plain JSON: what they settled, and what the last one left."""
    last, totals = tries[-1], _settled_by(tries)
    outcomes = {one.value: totals.outcomes[one] if one.settled else last._mapping[one.value] for one in Outcome}
    return {
        **run._asdict(),
        "kind": last.kind,
        "tries": len(tries),
        "started_at": tries[0].started_at.isoformat(),
        "ended_at": last.ended_at and last.ended_at.isoformat(),
        "outcomes": {name: count for name, count in outcomes.items() if count},
        "rewards": {unit: amount for unit, amount in totals.rewards.items() if amount},
        **{name: sum(row._mapping[name] or 0 for row in tries) for name in ("sent", "rechecked", "requests")},
        "still_open": last.still_open or 0,
        "mismatches": last.mismatches or 0,
        "stopped_because": last.stopped_because,
        "error": last.error,
    }


def counts_of(totals: Totals, summary: Summary) -> dict[str, Any]:
    """
    Return the columns of a try.

    :param totals: what this try decided; the summary of a list also has what was settled before
    """
    return {
        **{outcome.value: totals.outcomes[outcome] for outcome in Outcome},
        "still_open": summary.still_open,
        "read": summary.read,
        "sent": summary.sent,
        "rechecked": summary.rechecked,
        "requests": summary.requests,
        "rewards": json.dumps(dict(totals.rewards)),
        "amounts": json.dumps(dict(totals.amounts)),
        "rewards_unknown": totals.rewards_unknown,
        "without_sale_event_id": totals.without_sale_event_id,
        "stopped_because": summary.stopped_because and summary.stopped_because[:MAX_MESSAGE_LENGTH],
    }
