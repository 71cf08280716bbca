"""
How FirstPromoter is spoken to: the account behind a connection, HTTP, retries, the rate limit, and what responses mean.

It knows HTTP and no SQL.
"""

from airflow_provider_firstpromoter.api.account import DEFAULT_LEDGER_TABLE, DEFAULT_PATH, PUBLIC_HOST, Account
from airflow_provider_firstpromoter.api.commissions import Commission, commission_filters, reversal_from
from airflow_provider_firstpromoter.api.responses import ApiResponse, describe_failure, result_from
from airflow_provider_firstpromoter.api.transport import Transport

__all__ = [
    "DEFAULT_LEDGER_TABLE",
    "DEFAULT_PATH",
    "PUBLIC_HOST",
    "Account",
    "Answer",
    "Commission",
    "Transport",
    "commission_filters",
    "failure_of",
    "result_of",
    "taken_back",
]
