"""The ledger: the SQL table with one row per account and event_id."""

from airflow_provider_firstpromoter.ledger.store import (
    STRENGTH,
    Entry,
    Known,
    RefundLedger,
    RunKey,
    ledger_table,
)

__all__ = [
    "STRENGTH",
    "Entry",
    "Known",
    "RefundLedger",
    "RunKey",
    "ledger_table",
]
