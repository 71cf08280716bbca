"""The columns of the ledger's tables, and the groups of outcomes that its queries name."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, TypeDecorator, text

from airflow_provider_firstpromoter.calls import (
    MAX_AMOUNT_LENGTH,
    MAX_ID_LENGTH,
    MAX_MESSAGE_LENGTH,
    Call,
    Outcome,
)
from airflow_provider_firstpromoter.database import Utc, covering_index, key_text, sparse_text

ON_RECORD = tuple(outcome.value for outcome in Outcome if outcome.on_record)
#: The outcomes that a later result of a run overwrites only if it is stronger: recorded, and reverted since.
KEPT_OUTCOMES = (*ON_RECORD, Outcome.REVERTED.value)
#: What follows the ledger's name in the names of the tables beside it.
COMMISSIONS, SALT = "_commissions", "_salt"
_FAILED = text(f"outcome = '{Outcome.FAILED.value}'")


class OutcomeText(TypeDecorator):  # type: ignore[type-arg]
    """Stores an outcome as its text; drivers get a plain ``str``, because some refuse subclasses of it."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: Outcome | str | None, dialect: Any) -> str | None:
        return str.__str__(value) if value is not None else None

    def process_result_value(self, value: str | None, dialect: Any) -> Outcome | None:
        return Outcome(value) if value else None


def ledger_table(call: Call, name: str | None = None) -> Table:
    """
    Return the ledger's table. Columns may only be added, and new ones must be nullable.

    A column that is read is a field of :class:`~airflow_provider_firstpromoter.ledger.records.LedgerRecord` of the
    same name; a column that a result sets stands in ``LedgerWrite.of_result``.

    :param name: ``table`` or ``schema.table``, quoted where the database needs it; by default the call's
    """
    schema, _, table = (name or call.ledger_table).rpartition(".")
    return Table(
        table,
        MetaData(),
        Column(
            "account",
            key_text(),
            primary_key=True,
            comment="Account ID; with @host:port/path where it is not the public API",
        ),
        Column("event_id", key_text(), primary_key=True),
        Column(
            "outcome",
            OutcomeText,
            nullable=False,
            comment=", ".join(outcome.value for outcome in Outcome if outcome.stored),
        ),
        Column("http_status", Integer),
        Column("message", String(MAX_MESSAGE_LENGTH)),
        Column("row_amount", String(MAX_AMOUNT_LENGTH), comment="the query's own text"),
        Column("sent_amount", BigInteger, comment="minor units of sent_currency"),
        Column("sent_currency", String(3), comment="empty: the account's own"),
        Column("sale_event_id", String(MAX_ID_LENGTH)),
        Column("recorded_amount", BigInteger, comment="in FirstPromoter: minor units of the account currency"),
        Column("firstpromoter_id", BigInteger, comment=f"FirstPromoter's id of the {call.name}"),
        Column("lead_id", BigInteger),
        Column("matched_by", String(5), comment="uid or email: by which id FirstPromoter found the lead"),
        Column("lead_differs", Boolean, comment="whether that lead has another uid than the row"),
        Column("commissions_known", Boolean, comment=f"whether {table}{COMMISSIONS} has its commissions"),
        Column("lost", Boolean, comment="whether the response to one of its requests was lost"),
        Column("unmatched", Boolean, comment="whether one of its requests was answered with 204 or 404"),
        Column("fingerprint", String(255), comment="keyed hash of the row, used to detect changes"),
        Column("row_digest", sparse_text(255), comment="the same, computed by the database"),
        Column("sent_dag_id", String(250), comment="the task run that sent it first; empty: not known"),
        Column("sent_run_id", String(250)),
        Column("sent_task_id", String(250)),
        Column("sent_map_index", Integer),
        Column("dag_id", String(250), comment="the task run that decided the outcome"),
        Column("run_id", String(250)),
        Column("task_id", String(250)),
        Column("map_index", Integer),
        Column("first_sent_at", Utc, comment="UTC"),
        Column("last_sent_at", Utc, comment="UTC"),
        Column(call.moment, Utc, comment=f"the {call.name}'s own time, where the query has it; UTC"),
        Column("judged_at", Utc, comment="when this outcome was decided; UTC"),
        Column("last_seen_at", Utc, comment="rejected, changed, failed: when the query last had the row; UTC"),
        Column("changed_amount", sparse_text(MAX_AMOUNT_LENGTH), comment="the row's new amount, where it changed"),
        Column("reported_at", Utc, comment="rejected, changed: when a run reported it; UTC"),
        Column("reported_run_id", String(250), comment="the run that reported it"),
        Column("accepted_at", Utc, comment="when changed_amount was accepted as it is; UTC"),
        Column("reverted_at", Utc, comment="when its commissions were denied by a revert; UTC"),
        Column("reverted_run_id", String(250), comment="the run that reverted it"),
        Index(f"ix_{table}_run", "run_id", "task_id"),
        Index(f"ix_{table}_sent", "sent_run_id"),
        # Failed events are few, and a run that reads only what is new finds them without the others.
        Index(f"ix_{table}_failed", "account", "outcome", postgresql_where=_FAILED),
        # All that decides whether a row is settled, so that a run does not read the whole table to find nothing new.
        covering_index(
            f"ix_{table}_settled",
            "account",
            "event_id",
            include=[
                "outcome",
                "row_amount",
                "changed_amount",
                "accepted_at",
                "row_digest",
                "first_sent_at",
                "last_sent_at",
            ],
        ),
        schema=schema or None,
        mysql_charset="utf8mb4",
    )


def salt_table(beside: Table) -> Table:
    """
    Return the table of salts beside a ledger, one row per account: the keys of the hashes of rows' contents.

    It is a table of its own so that analysts need no right to read it: without the salt, a hash cannot be guessed.
    """
    return Table(
        f"{beside.name}{SALT}",
        MetaData(),
        Column("account", key_text(), primary_key=True),
        Column("salt", String(32), nullable=False, comment="random; never change it; only the provider reads it"),
        schema=beside.schema,
        mysql_charset="utf8mb4",
    )


def commissions_table(beside: Table) -> Table:
    """Return the table of the commissions beside a ledger: one row for each tier or split of an event_id."""
    name = f"{beside.name}{COMMISSIONS}"
    return Table(
        name,
        MetaData(),
        Column("account", key_text(), primary_key=True),
        Column("event_id", key_text(), primary_key=True),
        Column("commission_id", BigInteger, primary_key=True, autoincrement=False),
        Column("promoter_id", BigInteger),
        Column("promoter_ref", String(64), comment="the promoter's default ref id"),
        Column("tier", BigInteger, comment="1: the lead's promoter, 2: the one who recruited that promoter"),
        Column("is_split", Boolean),
        Column("amount", BigInteger, comment="in unit; minor units when cash"),
        Column("unit", String(64)),
        Column("status", String(64), comment="pending, approved, denied; as of the last reconciliation"),
        Column("is_paid", Boolean, comment="empty: not known"),
        Column("lead_id", BigInteger),
        Column("sale_amount", BigInteger, comment="minor units of the account currency"),
        Column("original_sale_amount", BigInteger, comment="minor units of original_sale_currency"),
        Column("original_sale_currency", String(64)),
        Column("commission_type", String(64)),
        Column("created_at", String(64), comment="as FirstPromoter has it"),
        Index(f"ix_{name}_promoter", "promoter_id"),
        schema=beside.schema,
        mysql_charset="utf8mb4",
    )
