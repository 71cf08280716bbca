"""
A revert: the denial of the negative commissions that refunds of this account made by mistake.

It selects refunds in the ledger, reads their commissions, and either reports what it would deny or denies it.
"""

from airflow_provider_firstpromoter.revert.report import MOST_TO_REVERT, RevertReport
from airflow_provider_firstpromoter.revert.run import Revert
from airflow_provider_firstpromoter.revert.selection import Selection

__all__ = ["MOST_TO_REVERT", "Revert", "RevertReport", "Selection"]
