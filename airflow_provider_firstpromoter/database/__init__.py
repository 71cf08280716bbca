"""
Any SQL connection of Airflow: its engine, a query on it, a table of the provider's own in it, and how databases differ.

It knows SQL and no HTTP.
"""

from airflow_provider_firstpromoter.database.engine import engine_for, first_line
from airflow_provider_firstpromoter.database.managed_table import (
    CHUNK,
    ManagedTable,
    Utc,
    as_bind_params,
    chunks,
    key_text,
    retry_on_conflict,
)
from airflow_provider_firstpromoter.database.query import DIGEST_COLUMN, Parameters, RefundQuery

__all__ = [
    "CHUNK",
    "DIGEST_COLUMN",
    "ManagedTable",
    "Parameters",
    "RefundQuery",
    "Utc",
    "as_bind_params",
    "chunks",
    "engine_for",
    "first_line",
    "key_text",
    "retry_on_conflict",
]
