"""The table of mismatches beside the ledger, and what one reconciliation finds against what is open in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, String, Table, and_, select, update
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_firstpromoter.calls import MAX_ID_LENGTH, batches
from airflow_provider_firstpromoter.database import (
    ManagedTable,
    ScratchDatabase,
    Utc,
    first_line,
    key_text,
    stop_if_cancelled,
)
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger import Ledger, RunKey
from airflow_provider_firstpromoter.reconcile.mismatches import (
    CHECKED_KINDS,
    Key,
    Mismatch,
    MismatchKind,
    ReconcileReport,
)

#: The name of the table of mismatches is the ledger's, followed by this.
SUFFIX = "_mismatches"


def mismatch_table(name: str) -> Table:
    """
    Return the columns of the table of mismatches. New ones may only be added, and only nullable.

    :param name: ``table`` or ``schema.table``
    """
    schema, _, table = name.rpartition(".")
    return Table(
        table,
        MetaData(),
        Column("account", key_text(), primary_key=True),
        Column("kind", key_text(32), primary_key=True, comment=", ".join(MismatchKind)),
        Column("event_id", key_text(), primary_key=True, comment="FirstPromoter's; empty if it has none"),
        Column("commission_id", BigInteger, primary_key=True, autoincrement=False, comment="0 without a commission"),
        Column("happened_at", Utc, comment="when the commission was made, else when the refund was sent; UTC"),
        Column("other_event_id", String(MAX_ID_LENGTH), comment="the refund that was sent, or the sale"),
        Column("ledger_outcome", String(32)),
        Column("ledger_amount", BigInteger, comment="negative, minor units of currency"),
        Column("firstpromoter_amount", BigInteger, comment="negative, minor units of currency"),
        Column("currency", String(3), comment="empty: the account's own"),
        Column("ledger_reward", BigInteger, comment="negative, in reward_unit"),
        Column("firstpromoter_reward", BigInteger, comment="negative, in reward_unit"),
        Column("reward_unit", String(64)),
        Column("ledger_reward_status", String(64)),
        Column("firstpromoter_reward_status", String(64)),
        Column("promoter_id", BigInteger),
        Column("lead_id", BigInteger),
        Column("dag_id", String(250), comment="the run that found it"),
        Column("run_id", String(250)),
        Column("found_at", Utc, comment="UTC"),
        Column("resolved_at", Utc, comment="when a later run no longer found it; UTC"),
        Column("accepted_at", Utc, comment="when an operator accepted it as it is; UTC"),
        schema=schema or None,
        mysql_charset="utf8mb4",
    )


#: An accepted mismatch whose values here change is no longer accepted. A reward's status and the ids that a
#: reconciliation fills in are not among them: they change in normal operation.
ACCEPTED_VALUES = ("ledger_amount", "firstpromoter_amount", "currency", "firstpromoter_reward", "reward_unit")
#: The number of event_ids that one statement names; the strictest database takes a thousand in a list.
MOST_PER_WRITE = 500


class MismatchTable(ManagedTable):
    """
    The mismatches of one account, with the times at which they were found, resolved and accepted.

    A mismatch is open until a reconciliation of the same days no longer finds it. An open mismatch can be accepted: it
    then counts against ``max_mismatches`` only once it changes.

    :param ledger: the ledger beside which the table lives
    :param run: the task run that the rows name as the one that found them
    """

    WHAT = "table of mismatches"

    def __init__(self, ledger: Ledger, run: RunKey | None = None) -> None:
        super().__init__(ledger.engine, mismatch_table(ledger.table.fullname + SUFFIX), ledger.name, ledger.cancelled)
        self.account = ledger.account
        self.run = run or RunKey()

    def write(self, found: Collection[Mismatch]) -> set[Key]:
        """
        Write mismatches; an open one that has not changed is left as it is.

        :param found: at most :data:`MOST_PER_WRITE`
        :returns: which of them an operator has accepted as they are
        :raises LedgerError: if the database refuses; then none is written
        """
        assert len(found) <= MOST_PER_WRITE
        accepted: set[Key] = set()
        if found:
            self._change(self._write, found, accepted)
        return accepted

    def _write(self, found: Collection[Mismatch], accepted: set[Key]) -> None:
        now = datetime.now(UTC)
        c = self.table.c
        accepted.clear()
        with self.engine.begin() as connection:
            where = and_(c.account == self.account, c.event_id.in_({one.event_id for one in found}))
            present = {
                (row.kind, row.event_id, row.commission_id): row
                for row in connection.execute(select(self.table).where(where))
            }
            rows: list[dict[str, Any]] = []
            for one in found:
                row = present.get(one.key)
                accepted_at = None
                if row is not None and row.resolved_at is None:
                    if row.accepted_at is not None and _same(row, one, ACCEPTED_VALUES):
                        accepted_at = row.accepted_at
                        accepted.add(one.key)
                    if _same(row, one, _VALUES):
                        continue
                rows.append(
                    {
                        **asdict(one),
                        "kind": one.kind.value,
                        "account": self.account,
                        "dag_id": self.run.dag_id,
                        "run_id": self.run.run_id,
                        "found_at": now,
                        # The ledger has the new reward already: nothing is left to do.
                        "resolved_at": None if one.kind.needs_attention else now,
                        "accepted_at": accepted_at,
                    }
                )
            self.upsert(connection, rows, update=[column.name for column in self.table.c if not column.primary_key])

    def open_mismatches(
        self, kinds: Collection[MismatchKind], start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[Key]:
        """
        Read the open mismatches of some kinds and of a time, accepted ones included.

        :param end: exclusive
        :raises LedgerError: if the database cannot be read
        """
        c = self.table.c
        where = [c.account == self.account, c.resolved_at.is_(None), c.kind.in_([kind.value for kind in kinds])]
        if start is not None:
            where.append(c.happened_at >= start)
        if end is not None:
            where.append(c.happened_at < end)
        with self.reading(stream_results=True) as connection:
            for row in connection.execute(select(c.kind, c.event_id, c.commission_id).where(*where)):
                yield tuple(row)

    def resolve(self, resolved_keys: Iterable[Key]) -> None:
        """
        Mark mismatches as resolved now.

        :raises LedgerError: if the database refuses; then none is marked
        """
        now = datetime.now(UTC)
        rows = [
            {"account": self.account, "kind": kind, "event_id": event_id, "commission_id": number, "resolved_at": now}
            for kind, event_id, number in resolved_keys
        ]
        if rows:
            self._change(self._resolve, rows)

    def _resolve(self, rows: list[dict[str, Any]]) -> None:
        with self.engine.begin() as connection:
            self.upsert(connection, rows, update=["resolved_at"])

    def accept(self, event_ids: Sequence[str], commission_ids: Sequence[int] = ()) -> list[Mismatch]:
        """
        Accept open mismatches as they are: they no longer count against ``max_mismatches``, until they change.

        :param event_ids: accepts every open mismatch of these refunds
        :param commission_ids: accepts the open mismatches of these commissions, which may have no event_id
        :returns: what was accepted now; a mismatch that is resolved or was accepted before is not among it
        :raises LedgerError: if the database refuses; then none is accepted
        """
        accepted: dict[Key, Mismatch] = {}
        if self.exists():
            self._change(self._accept, list(event_ids), list(commission_ids), accepted)
        return list(accepted.values())

    def _accept(self, event_ids: list[str], commission_ids: list[int], accepted: dict[Key, Mismatch]) -> None:
        c = self.table.c
        # Whole seconds, because some databases round to them, and the rows are found again by this time.
        now = datetime.now(UTC).replace(microsecond=0)
        chosen = [c.event_id.in_(batch) for batch in batches(one for one in event_ids if one)]
        chosen += [c.commission_id.in_(batch) for batch in batches(one for one in commission_ids if one)]
        accepted.clear()
        with self.engine.begin() as connection:
            for condition in chosen:
                still_open = and_(c.account == self.account, condition, c.resolved_at.is_(None))
                written = select(self.table).where(still_open, c.accepted_at == now).order_by(c.event_id, c.kind)
                before = {_mismatch(row).key for row in connection.execute(written)}
                # Written first and read afterwards: what is returned is what was accepted, whoever writes meanwhile.
                change: Any = update(self.table).where(still_open, c.accepted_at.is_(None)).values(accepted_at=now)
                connection.execute(change)
                for mismatch in map(_mismatch, connection.execute(written)):
                    if mismatch.key not in before:
                        accepted[mismatch.key] = mismatch

    def _change(self, change: Any, *arguments: Any) -> None:
        try:
            self.retry(change, *arguments)
        except SQLAlchemyError as error:
            raise LedgerError(f"{self} refused a change: {first_line(error)}") from None


#: What a mismatch must have in common with its row to be the same; not the time, which some databases round.
_VALUES = tuple(field.name for field in fields(Mismatch) if field.name not in ("kind", "happened_at"))


def _same(row: Any, mismatch: Mismatch, names: Iterable[str]) -> bool:
    return all(getattr(row, name) == getattr(mismatch, name) for name in names)


def _mismatch(row: Any) -> Mismatch:
    values = {field.name: getattr(row, field.name) for field in fields(Mismatch)}
    return Mismatch(**{**values, "kind": MismatchKind(row.kind)})


class Findings(ScratchDatabase):
    """
    The mismatches that a reconciliation finds, and those of before that it no longer finds: written and resolved.

    :param table: where they are written
    :param report: where they are counted
    """

    def __init__(self, table: MismatchTable, report: ReconcileReport) -> None:
        super().__init__(FINDINGS)
        self.table = table
        self.report = report

    def write(self, mismatches: Collection[Mismatch]) -> None:
        """Write and count mismatches, at most :data:`MOST_PER_WRITE`."""
        accepted = self.table.write(mismatches)
        self.insert("INSERT OR IGNORE INTO found VALUES (?, ?, ?)", (mismatch.key for mismatch in mismatches))
        self.report.add(mismatches, accepted)

    def compared(self, event_ids: Iterable[str | None]) -> None:
        """Note which events of the period were compared. None is for no event_id."""
        self.insert("INSERT OR IGNORE INTO looked_for VALUES ('', ?)", ((one or "",) for one in event_ids))

    def looked_for(self, kind: MismatchKind, event_ids: Iterable[str]) -> None:
        """Note of which events one of :data:`CHECKED_KINDS` was looked for."""
        self.insert("INSERT OR IGNORE INTO looked_for VALUES (?, ?)", ((kind, one) for one in event_ids))

    def keep_open(self, event_ids: Iterable[str | None]) -> None:
        """Keep the mismatches of commissions that cannot be read. None is for no event_id."""
        self.insert("INSERT OR IGNORE INTO unreadable VALUES (?)", ((one or "",) for one in event_ids))

    def resolve(
        self, kinds: Collection[MismatchKind], start: datetime | None = None, end: datetime | None = None
    ) -> None:
        """
        Resolve the open mismatches of these kinds, and of this time, that were looked for and are not there any more.

        All commissions of the period were read: one that is gone is resolved. A mismatch without a commission is only
        if its event was compared, because an event that was adopted is of no period.
        """
        # All open mismatches are read before the first is changed: in SQLite a reader and a writer lock each other.
        self.run("DELETE FROM open_before")
        self.insert("INSERT INTO open_before VALUES (?, ?, ?)", self.table.open_mismatches(kinds, start, end))
        checked = f"kind IN ({', '.join(repr(kind.value) for kind in CHECKED_KINDS)})"
        resolved = self.read(
            f"SELECT kind, event_id, commission_id FROM (SELECT *, {checked} AS is_checked FROM open_before) o "
            "WHERE event_id NOT IN (SELECT event_id FROM unreadable) "
            "AND ((commission_id <> 0 AND NOT is_checked) OR EXISTS (SELECT 1 FROM looked_for l "
            "WHERE l.kind = CASE WHEN is_checked THEN o.kind ELSE '' END AND l.event_id = o.event_id)) "
            "EXCEPT SELECT kind, event_id, commission_id FROM found"
        )
        for batch in batches(resolved):
            stop_if_cancelled(self.table.cancelled)
            self.table.resolve(batch)


FINDINGS = """
CREATE TABLE found (kind TEXT, event_id TEXT, commission_id INTEGER, PRIMARY KEY (kind, event_id, commission_id))
    WITHOUT ROWID;
CREATE TABLE open_before (kind TEXT, event_id TEXT, commission_id INTEGER);
CREATE TABLE looked_for (kind TEXT, event_id TEXT, PRIMARY KEY (kind, event_id)) WITHOUT ROWID;
CREATE TABLE unreadable (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
