"""
The ledger: the SQL table with one row per account and event_id, which records what became of each refund.

It knows SQL and no HTTP.
"""

from airflow_provider_firstpromoter.ledger.records import LedgerWrite, LedgerRecord, RunKey
from airflow_provider_firstpromoter.ledger.store import RefundLedger
from airflow_provider_firstpromoter.ledger.table import ledger_table

__all__ = ["Entry", "Known", "RefundLedger", "RunKey", "ledger_table"]
