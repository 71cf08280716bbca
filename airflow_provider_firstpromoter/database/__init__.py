"""
Databases: reading the author's query from any Airflow SQL connection, and tables of the provider's own.

Rows are read through the DB-API connection of the Airflow hook; tables are written through SQLAlchemy. Every
difference between databases is in :mod:`~airflow_provider_firstpromoter.database.dialects`. This package uses SQL and
no HTTP.
"""

from airflow_provider_firstpromoter.database.background import in_background, stop_if_cancelled
from airflow_provider_firstpromoter.database.dialects import kind_of_dialect
from airflow_provider_firstpromoter.database.engine import engine_for
from airflow_provider_firstpromoter.database.errors import errors_as, first_line
from airflow_provider_firstpromoter.database.kinds import LedgerSql, Parameters
from airflow_provider_firstpromoter.database.managed_table import (
    ManagedTable,
    Utc,
    covering_index,
    ddl_text,
    key_text,
    retry_on_conflict,
    sparse_text,
)
from airflow_provider_firstpromoter.database.query import RefundQuery
from airflow_provider_firstpromoter.database.read_ahead import read_ahead
from airflow_provider_firstpromoter.database.scratch import PrivateDatabase, disk_errors, scratch_database
from airflow_provider_firstpromoter.database.source import Batch, Source
from airflow_provider_firstpromoter.database.sql_text import Binds, without_semicolon

__all__ = [
    "Batch",
    "Binds",
    "LedgerSql",
    "ManagedTable",
    "Parameters",
    "PrivateDatabase",
    "RefundQuery",
    "Source",
    "Utc",
    "covering_index",
    "ddl_text",
    "disk_errors",
    "engine_for",
    "errors_as",
    "first_line",
    "in_background",
    "key_text",
    "kind_of_dialect",
    "read_ahead",
    "retry_on_conflict",
    "scratch_database",
    "sparse_text",
    "stop_if_cancelled",
    "without_semicolon",
]
