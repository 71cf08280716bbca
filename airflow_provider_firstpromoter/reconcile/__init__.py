"""
A reconciliation: the comparison of the ledger with FirstPromoter's commissions, refund by refund.

A revert, on the same reading: the denial of the commissions that refunds made by mistake.

Mismatches are written to a table beside the ledger, and the ledger is corrected where FirstPromoter has better data.
"""

from airflow_provider_firstpromoter.reconcile.compare import compare_amounts, created_at
from airflow_provider_firstpromoter.reconcile.mismatch_table import MismatchTable, mismatch_table
from airflow_provider_firstpromoter.reconcile.mismatches import (
    Mismatch,
    MismatchKind,
    ReconcileReport,
    describe_mismatch,
)
from airflow_provider_firstpromoter.reconcile.reading import Period
from airflow_provider_firstpromoter.reconcile.revert import Revert, RevertSelection
from airflow_provider_firstpromoter.reconcile.revert_report import MOST_TO_REVERT, RevertReport
from airflow_provider_firstpromoter.reconcile.run import Reconciliation

__all__ = [
    "MOST_TO_REVERT",
    "Mismatch",
    "MismatchKind",
    "MismatchTable",
    "Period",
    "ReconcileReport",
    "Reconciliation",
    "Revert",
    "RevertReport",
    "RevertSelection",
    "compare_amounts",
    "created_at",
    "describe_mismatch",
    "mismatch_table",
]
