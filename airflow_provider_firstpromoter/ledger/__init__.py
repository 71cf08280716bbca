"""
The ledger: the SQL table with one row per account and event_id, and the run history beside it.

It knows SQL and no HTTP.
"""

from airflow_provider_firstpromoter.ledger.entries import LedgerBatch
from airflow_provider_firstpromoter.ledger.records import LedgerRecord, LedgerWrite, RunKey
from airflow_provider_firstpromoter.ledger.runs import EarlierTries, RunHistory
from airflow_provider_firstpromoter.ledger.store import RefundLedger, now
from airflow_provider_firstpromoter.ledger.table import ledger_table

__all__ = [
    "EarlierTries",
    "LedgerBatch",
    "LedgerRecord",
    "LedgerWrite",
    "RefundLedger",
    "RunHistory",
    "RunKey",
    "ledger_table",
    "now",
]
