"""The ledger compared with FirstPromoter's commissions."""

from airflow_provider_firstpromoter.reconcile.run import (
    Period,
    Reconciliation,
    Report,
)

__all__ = [
    "Period",
    "Reconciliation",
    "Report",
]
