"""
The ledger: the SQL table with one row per account and event_id, which records what became of each refund.

It knows SQL and no HTTP.
"""

from airflow_provider_firstpromoter.ledger.corrections import SentRefund, recover, sent_to_leads, sent_without_lead
from airflow_provider_firstpromoter.ledger.records import LedgerRecord, LedgerWrite, RunKey
from airflow_provider_firstpromoter.ledger.store import RefundLedger
from airflow_provider_firstpromoter.ledger.table import ledger_table

__all__ = [
    "LedgerRecord",
    "LedgerWrite",
    "RefundLedger",
    "RunKey",
    "SentRefund",
    "ledger_table",
    "recover",
    "sent_to_leads",
    "sent_without_lead",
]
