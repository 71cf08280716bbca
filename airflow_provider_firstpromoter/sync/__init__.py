"""
A run that sends refunds or sales: reads rows, sends what is pending through the hook, and records the results.
"""

from airflow_provider_firstpromoter.sync.log_text import report_mismatches
from airflow_provider_firstpromoter.sync.run import Sync
from airflow_provider_firstpromoter.sync.selection import FailOn, SyncOptions

__all__ = ["FailOn", "Sync", "SyncOptions", "report_mismatches"]
