"""
A run that sends refunds: it reads rows, sends what is pending through the hook, and records results in the ledger.
"""

from airflow_provider_firstpromoter.sync.job import FailOn, SyncOptions
from airflow_provider_firstpromoter.sync.recorder import report_mismatches
from airflow_provider_firstpromoter.sync.run import Sync, rewards_of_run, run_query

__all__ = ["FailOn", "Sync", "SyncOptions", "report_mismatches", "rewards_of_run", "run_query"]
