"""
A reconciliation: the comparison of the ledger with FirstPromoter's commissions, refund by refund.

Mismatches are written to a table beside the ledger, and the ledger is corrected where FirstPromoter has better data.
"""

from airflow_provider_firstpromoter.reconcile.background import in_background
from airflow_provider_firstpromoter.reconcile.compare import compare_amounts, created_at
from airflow_provider_firstpromoter.reconcile.mismatch_table import MismatchTable
from airflow_provider_firstpromoter.reconcile.mismatches import Mismatch, MismatchKind, mismatch_table
from airflow_provider_firstpromoter.reconcile.period import Period
from airflow_provider_firstpromoter.reconcile.report import Report, describe_mismatch
from airflow_provider_firstpromoter.reconcile.run import Reconciliation

__all__ = [
    "Mismatch",
    "MismatchKind",
    "MismatchTable",
    "Period",
    "Reconciliation",
    "Report",
    "compare_amounts",
    "created_at",
    "describe_mismatch",
    "in_background",
    "mismatch_table",
]
