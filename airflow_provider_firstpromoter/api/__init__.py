"""
Access to FirstPromoter's API: HTTP, retries, the rate limit, and how responses are read.

This package uses HTTP and no SQL.
"""

from airflow_provider_firstpromoter.api.batches import BATCH_TIMEOUT, MOST_IDS, Batch, deny_commissions
from airflow_provider_firstpromoter.api.client import Client, Exchange
from airflow_provider_firstpromoter.api.commissions import (
    CommissionPage,
    answered_commissions,
    as_object,
    commission_filters,
    describe_unreadable,
    find_commissions,
    read_commissions,
    recorded_facts,
    sign_filter,
)
from airflow_provider_firstpromoter.api.responses import ApiResponse, describe_failure

__all__ = [
    "BATCH_TIMEOUT",
    "MOST_IDS",
    "ApiResponse",
    "Batch",
    "Client",
    "CommissionPage",
    "Exchange",
    "answered_commissions",
    "as_object",
    "commission_filters",
    "deny_commissions",
    "describe_failure",
    "describe_unreadable",
    "find_commissions",
    "read_commissions",
    "recorded_facts",
    "sign_filter",
]
