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
from airflow_provider_firstpromoter.database.query import Parameters, RefundQuery

__all__ = [
    "CHUNK",
    "OwnTable",
    "Parameters",
    "RefundQuery",
    "Utc",
    "bound",
    "chunks",
    "engine_for",
    "first_line",
    "key_text",
    "persistently",
]
