"""
The ledger: the SQL table with one row per account and event_id, which records what became of each refund.

This package uses SQL and no HTTP.
"""

from airflow_provider_firstpromoter.ledger.corrections import (
    SentRefund,
    recorded_between,
    recover,
    sent_to_leads,
    sent_without_lead,
    update_rewards,
)
from airflow_provider_firstpromoter.ledger.records import LedgerBatch, LedgerRecord, LedgerWrite, RunKey
from airflow_provider_firstpromoter.ledger.reverts import first_sent_between, mark_reverted, sent_by_run
from airflow_provider_firstpromoter.ledger.rows import reward_columns
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
    "SentRefund",
    "first_sent_between",
    "ledger_table",
    "mark_reverted",
    "now",
    "recorded_between",
    "recover",
    "reward_columns",
    "sent_by_run",
    "sent_to_leads",
    "sent_without_lead",
    "update_rewards",
]
