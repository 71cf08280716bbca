"""
A reconciliation: the ledger compared with FirstPromoter's commissions, refund by refund.

What differs is written to a table beside the ledger; rewards that FirstPromoter knows better are brought up to date.
"""

from airflow_provider_firstpromoter.reconcile.mismatches import MismatchKind, Mismatch, MismatchTable, mismatch_table
from airflow_provider_firstpromoter.reconcile.period import Period
from airflow_provider_firstpromoter.reconcile.report import Report
from airflow_provider_firstpromoter.reconcile.run import Reconciliation

__all__ = ["Kind", "Mismatch", "MismatchTable", "Period", "Reconciliation", "Report", "mismatch_table"]
