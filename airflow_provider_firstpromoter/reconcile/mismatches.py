"""Where the ledger and FirstPromoter's books differ: the words for it, and the table beside the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, String, Table, and_, bindparam, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_firstpromoter.database import (
    CHUNK,
    ManagedTable,
    Utc,
    as_bind_params,
    first_line,
    key_text,
    retry_on_conflict,
)
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger import RefundLedger, RunKey
from airflow_provider_firstpromoter.refunds import MAX_ID_LENGTH

#: The table's name is the ledger's with this behind it.
SUFFIX = "_mismatches"


class MismatchKind(StrEnum):
    """How one refund differs."""

    #: The ledger says it is recorded, and no commission was taken back.
    MISSING_IN_FIRSTPROMOTER = "missing_in_firstpromoter"
    #: A commission was taken back, and the ledger does not know of it.
    MISSING_IN_LEDGER = "missing_in_ledger"
    #: The same referral and amount as a refund that was sent, under an event_id that was not.
    REVERSED_TWICE = "reversed_twice"
    #: The amount recorded there is not the one that was sent.
    AMOUNT_DIFFERS = "amount_differs"
    #: The reward was denied or paid, or is of another amount, since the ledger last heard of it. No fault in itself,
    #: and the ledger has it now.
    REWARD_CHANGED = "reward_changed"

    @property
    def needs_attention(self) -> bool:
        """Whether it counts against ``max_mismatches``."""
        return self is not MismatchKind.REWARD_CHANGED


@dataclass(frozen=True, slots=True)
class Mismatch:
    """
    One refund that differs.

    :param event_id: FirstPromoter's; empty for a commission without one
    :param commission_id: 0 where there is none
    :param other_event_id: of ``reversed_twice``: the refund that was sent
    :param ledger_amount: the refund, negative, minor units of ``currency``
    :param firstpromoter_amount: likewise
    :param currency: None is the account's
    :param ledger_reward: negative, in ``reward_unit``
    :param firstpromoter_reward: likewise
    :param happened_at: when the commission was made; else when the refund was last sent
    """

    kind: MismatchKind
    event_id: str
    commission_id: int
    happened_at: datetime
    other_event_id: str | None = None
    ledger_outcome: str | None = None
    ledger_amount: int | None = None
    firstpromoter_amount: int | None = None
    currency: str | None = None
    ledger_reward: int | None = None
    firstpromoter_reward: int | None = None
    reward_unit: str | None = None
    ledger_reward_status: str | None = None
    firstpromoter_reward_status: str | None = None
    promoter_id: int | None = None
    lead_id: int | None = None

    @property
    def key(self) -> Key:
        """What tells it from others of the account."""
        return self.kind, self.event_id, self.commission_id

    def to_json(self) -> dict[str, Any]:
        """What there is to say of it, as plain JSON."""
        told = {name: value for name, value in asdict(self).items() if value not in (None, "", 0)}
        return {**told, "kind": self.kind.value, "event_id": self.event_id, "happened_at": self.happened_at.isoformat()}


Key = tuple[str, str, int]


def mismatch_table(name: str) -> Table:
    """
    :param name: the table's, ``schema.table`` if need be
    """
    schema, _, table = name.rpartition(".")
    return Table(
        table,
        MetaData(),
        Column("account", key_text(), primary_key=True),
        Column("kind", key_text(32), primary_key=True, comment=", ".join(MismatchKind)),
        Column("event_id", key_text(), primary_key=True, comment="FirstPromoter's; empty if it has none"),
        Column("commission_id", BigInteger, primary_key=True, autoincrement=False, comment="0 where there is none"),
        Column("happened_at", Utc, comment="the commission's making, else the refund's sending; UTC"),
        Column("other_event_id", String(MAX_ID_LENGTH), comment="reversed_twice: the refund that was sent"),
        Column("ledger_outcome", String(32)),
        Column("ledger_amount", BigInteger, comment="negative, minor units of currency"),
        Column("firstpromoter_amount", BigInteger, comment="likewise"),
        Column("currency", String(3), comment="empty: the account's own"),
        Column("ledger_reward", BigInteger, comment="negative, in reward_unit"),
        Column("firstpromoter_reward", BigInteger, comment="likewise"),
        Column("reward_unit", String(64)),
        Column("ledger_reward_status", String(64)),
        Column("firstpromoter_reward_status", String(64)),
        Column("promoter_id", BigInteger),
        Column("lead_id", BigInteger),
        Column("dag_id", String(250), comment="the run that found it"),
        Column("run_id", String(250)),
        Column("found_at", Utc, comment="UTC"),
        Column("resolved_at", Utc, comment="when a later run found it gone; UTC"),
        Column("accepted_at", Utc, comment="when it was accepted as it is; UTC"),
        schema=schema or None,
        mysql_charset="utf8mb4",
    )


class MismatchTable(ManagedTable):
    """
    What the reconciliations of one account found, and when it was gone again.

    :param ledger: whose neighbour it is
    :param run: what the entries name as their finder
    """

    WHAT = "table of mismatches"

    def __init__(self, ledger: RefundLedger, run: RunKey) -> None:
        super().__init__(ledger.engine, mismatch_table(ledger.table.fullname + SUFFIX), ledger.name)
        self.account = ledger.account
        self.run = run

    def write(self, found: Collection[Mismatch]) -> None:
        """
        Remember these; one that is known, open and still the same is left as it is.

        :param found: a few hundred at most
        :raises LedgerError: if the database refuses; nothing of it is then written
        """
        assert len(found) <= CHUNK
        if found:
            self._change(self._write, found)

    def _write(self, found: Collection[Mismatch]) -> None:
        now = datetime.now(UTC)
        c = self.table.c
        with self.engine.begin() as connection:
            where = and_(c.account == self.account, c.event_id.in_({one.event_id for one in found}))
            record = {
                (row.kind, row.event_id, row.commission_id): row
                for row in connection.execute(select(self.table).where(where))
            }
            new, again = [], []
            for one in found:
                row = {
                    **asdict(one),
                    "kind": one.kind.value,
                    "account": self.account,
                    "dag_id": self.run.dag_id,
                    "run_id": self.run.run_id,
                    "found_at": now,
                    # There is nothing left to do about these: the ledger has it.
                    "resolved_at": None if one.kind.needs_attention else now,
                }
                old = record.get(one.key)
                if old is None:
                    new.append(row)
                elif one.kind.needs_attention and old.resolved_at is None and _same(old, one):
                    continue
                else:
                    again.append(row)
            if new:
                connection.execute(insert(self.table), new)
            if again:
                connection.execute(self._overwrite(again[0]), [as_bind_params(row) for row in again])

    def open_between(self, start: datetime | None, end: datetime | None) -> Iterator[Key]:
        """
        Those of this time that were still there when last looked for.

        :param end: not itself
        """
        c = self.table.c
        where = [c.account == self.account, c.resolved_at.is_(None)]
        if start is not None:
            where.append(c.happened_at >= start)
        if end is not None:
            where.append(c.happened_at < end)
        try:
            with self.engine.connect().execution_options(stream_results=True) as connection:
                for row in connection.execute(select(c.kind, c.event_id, c.commission_id).where(*where)):
                    yield tuple(row)
        except SQLAlchemyError as error:
            raise self._unreachable(error) from None

    def resolve(self, resolved_keys: Iterable[Key]) -> None:
        """
        Note that these are no more.

        :raises LedgerError: if the database refuses
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
            connection.execute(self._overwrite(rows[0]), [as_bind_params(row) for row in rows])

    def _overwrite(self, row: dict[str, Any]) -> Any:
        """An update of the columns that the row has, by its key."""
        c = self.table.c
        return (
            update(self.table)
            .where(*(c[key.name] == bindparam(f"new_{key.name}") for key in self.table.primary_key))
            .values({name: bindparam(f"new_{name}", type_=c[name].type) for name in row if not c[name].primary_key})
        )

    def _change(self, change: Any, what: Any) -> None:
        try:
            retry_on_conflict(change, what)
        except SQLAlchemyError as error:
            raise LedgerError(f"{self} refused {len(what)} entries: {first_line(error)}") from None


def _same(old: Any, one: Mismatch) -> bool:
    """Whether the table has it just so; not to the second, which some databases round."""
    told = {name: value for name, value in asdict(one).items() if name not in ("kind", "happened_at")}
    return all(getattr(old, name) == value for name, value in told.items())
