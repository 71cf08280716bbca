"""The columns of the ledger, and the groups of outcomes that its queries name."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text, TypeDecorator

from airflow_provider_firstpromoter.account import DEFAULT_LEDGER_TABLE
from airflow_provider_firstpromoter.calls import MAX_AMOUNT_LENGTH, MAX_ID_LENGTH, MAX_MESSAGE_LENGTH, Outcome
from airflow_provider_firstpromoter.database import Utc, covering_index, key_text, sparse_text

ON_RECORD = tuple(outcome.value for outcome in Outcome if outcome.on_record)
#: The outcomes that a later result of a run overwrites only if it is stronger: recorded, and reverted since.
KEPT_OUTCOMES = (*ON_RECORD, Outcome.REVERTED.value)


class OutcomeText(TypeDecorator):  # type: ignore[type-arg]
    """Stores an outcome as its text; drivers get a plain ``str``, because some refuse subclasses of it."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: Outcome | str | None, dialect: Any) -> str | None:
        return str.__str__(value) if value is not None else None

    def process_result_value(self, value: str | None, dialect: Any) -> Outcome | None:
        return Outcome(value) if value else None


def ledger_table(name: str = DEFAULT_LEDGER_TABLE) -> Table:
    """
    Return the ledger's table. Columns may only be added, and new ones must be nullable.

    A new column needs a value in :func:`~airflow_provider_firstpromoter.ledger.rows.ledger_row`, and a field of
    :class:`~airflow_provider_firstpromoter.ledger.records.LedgerRecord` if it is read.

    :param name: ``table`` or ``schema.table``; quoted where the database needs it
    """
    schema, _, table = name.rpartition(".")
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
        Column("recorded_amount", BigInteger, comment="negative, minor units of the account's currency"),
        Column("firstpromoter_id", BigInteger, comment="FirstPromoter's id of the refund"),
        Column("reward_id", BigInteger),
        Column("reward_status", String(64), comment="pending, approved, denied, paid; as of the last reconciliation"),
        Column("reward_amount", BigInteger, comment="negative, in reward_unit; minor units when cash"),
        Column("reward_unit", String(64)),
        Column("promoter_id", BigInteger),
        Column("promoter_ref", String(64), comment="the promoter's default ref id"),
        Column("lead_id", BigInteger),
        Column("details", Text, comment="the result as JSON"),
        Column("fingerprint", String(255), comment="keyed hash of the row, used to detect changes"),
        Column("row_digest", sparse_text(255), comment="the same, computed by the database"),
        Column("dag_id", String(250), comment="the task run that decided the outcome"),
        Column("run_id", String(250)),
        Column("task_id", String(250)),
        Column("map_index", Integer),
        Column("first_sent_at", Utc, comment="UTC"),
        Column("last_sent_at", Utc, comment="UTC"),
        Column("refunded_at", Utc, comment="the refund's own time, where the query has it; UTC"),
        Column("judged_at", Utc, comment="when this outcome was decided; UTC"),
        Column("last_seen_at", Utc, comment="rejected, changed, failed: when the query last had the row; UTC"),
        Column("changed_amount", sparse_text(MAX_AMOUNT_LENGTH), comment="the row's new amount, where it changed"),
        Column("reported_at", Utc, comment="rejected, changed: when a run reported it; UTC"),
        Column("reported_run_id", String(250), comment="the run that reported it"),
        Column("accepted_at", Utc, comment="when changed_amount was accepted as it is; UTC"),
        Column("reverted_at", Utc, comment="when its commission was denied by a revert; UTC"),
        Column("reverted_run_id", String(250), comment="the run that reverted it"),
        Index(f"ix_{table}_run", "run_id", "task_id"),
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
