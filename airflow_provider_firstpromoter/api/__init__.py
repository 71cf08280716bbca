"""
Access to FirstPromoter's API: HTTP, retries, the rate limit, and what responses mean.

This package uses HTTP and no SQL.
"""

from airflow_provider_firstpromoter.api.batches import (
    BATCH_TIMEOUT,
    MOST_IDS,
    Batch,
    deny_commissions,
    follow_batch,
    read_batch,
)
from airflow_provider_firstpromoter.api.commissions import (
    CommissionPage,
    commission_filters,
    describe_unreadable,
    find_commissions,
    read_commissions,
    reversal_from,
)
from airflow_provider_firstpromoter.api.responses import ApiResponse, describe_failure, result_from
from airflow_provider_firstpromoter.api.transport import Exchange, Transport

__all__ = [
    "BATCH_TIMEOUT",
    "MOST_IDS",
    "ApiResponse",
    "Batch",
    "CommissionPage",
    "Exchange",
    "Transport",
    "commission_filters",
    "deny_commissions",
    "describe_failure",
    "describe_unreadable",
    "find_commissions",
    "follow_batch",
    "read_batch",
    "read_commissions",
    "result_from",
    "reversal_from",
]
