"""The columns of the ledger."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text, TypeDecorator

from airflow_provider_firstpromoter.api import DEFAULT_LEDGER_TABLE
from airflow_provider_firstpromoter.database import Utc, key_text
from airflow_provider_firstpromoter.refunds import MAX_AMOUNT_LENGTH, MAX_ID_LENGTH, MAX_MESSAGE_LENGTH, Outcome


class OutcomeText(TypeDecorator):  # type: ignore[type-arg]
    """An outcome by its word."""

    impl = String(32)
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> Outcome | None:
        return Outcome(value) if value else None


def ledger_table(name: str = DEFAULT_LEDGER_TABLE) -> Table:
    """
    The ledger's columns. New ones may only be added, and only nullable.

    :param name: ``table`` or ``schema.table``; quoted where the database needs it
    """
    schema, _, table = name.rpartition(".")
    return Table(
        table,
        MetaData(),
        Column("account", key_text(), primary_key=True, comment="Account ID; with @host if not the public API"),
        Column("event_id", key_text(), primary_key=True),
        Column("outcome", OutcomeText, nullable=False, comment="recorded, already_recorded, not_referred, rejected"),
        Column("http_status", Integer),
        Column("message", String(MAX_MESSAGE_LENGTH)),
        Column("row_amount", String(MAX_AMOUNT_LENGTH), comment="the query's own text"),
        Column("sent_amount", BigInteger, comment="minor units of sent_currency"),
        Column("sent_currency", String(3), comment="empty: the account's own"),
        Column("sale_event_id", String(MAX_ID_LENGTH)),
        Column("recorded_amount", BigInteger, comment="negative, minor units of the account's currency"),
        Column("refund_id", BigInteger),
        Column("reward_id", BigInteger),
        Column("reward_status", String(64), comment="pending, approved, denied, paid; as of the last reconcile"),
        Column("reward_amount", BigInteger, comment="negative, in reward_unit; minor units when cash"),
        Column("reward_unit", String(64)),
        Column("promoter_id", BigInteger),
        Column("lead_id", BigInteger),
        Column("details", Text, comment="the result as JSON"),
        Column("fingerprint", String(32), comment="of the row; keyed, so that it tells nothing"),
        Column("dag_id", String(250)),
        Column("run_id", String(250)),
        Column("task_id", String(250)),
        Column("map_index", Integer),
        Column("first_sent_at", Utc, comment="UTC"),
        Column("last_sent_at", Utc, comment="UTC"),
        schema=schema or None,
        mysql_charset="utf8mb4",
    )
