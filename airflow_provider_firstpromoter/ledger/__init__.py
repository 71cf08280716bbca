"""
The ledger of one account and call: SQL tables with one row per event_id and one per commission, and the run history.

This package uses SQL and no HTTP.
"""

from airflow_provider_firstpromoter.ledger.records import LedgerRecord, RunKey, key_of
from airflow_provider_firstpromoter.ledger.runs import COMMANDS, READ_ALL, RunHistory, counts_of
from airflow_provider_firstpromoter.ledger.store import Ledger, Written, now
from airflow_provider_firstpromoter.ledger.table import commissions_table, ledger_table, salt_table
from airflow_provider_firstpromoter.ledger.writes import LedgerWrite

__all__ = [
    "COMMANDS",
    "READ_ALL",
    "Ledger",
    "LedgerRecord",
    "LedgerWrite",
    "RunHistory",
    "RunKey",
    "Written",
    "commissions_table",
    "counts_of",
    "key_of",
    "ledger_table",
    "now",
    "salt_table",
]
