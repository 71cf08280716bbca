"""
Databases: reading the author's query from any Airflow SQL connection, and tables of the provider's own.

Rows are read through the DB-API connection of the Airflow hook; tables are written through SQLAlchemy. Every
difference between databases is in :mod:`~airflow_provider_firstpromoter.database.dialects`. This package uses SQL and
no HTTP.
"""

from airflow_provider_firstpromoter.database.background import in_background, stop_if_cancelled
from airflow_provider_firstpromoter.database.dialects import INCREMENTAL_DATABASES, LedgerSql, kind_of_dialect
from airflow_provider_firstpromoter.database.drivers import Parameters
from airflow_provider_firstpromoter.database.engine import engine_for, errors_as, first_line, may_refuse_a_value
from airflow_provider_firstpromoter.database.query import Binds, CallQuery, without_semicolon
from airflow_provider_firstpromoter.database.scratch import ScratchDatabase
from airflow_provider_firstpromoter.database.source import RowBatch, Source
from airflow_provider_firstpromoter.database.table import (
    ManagedTable,
    Utc,
    covering_index,
    ddl_text,
    key_text,
    sparse_text,
)
from airflow_provider_firstpromoter.database.upsert import When

__all__ = [
    "INCREMENTAL_DATABASES",
    "Binds",
    "CallQuery",
    "LedgerSql",
    "ManagedTable",
    "Parameters",
    "RowBatch",
    "ScratchDatabase",
    "Source",
    "Utc",
    "When",
    "covering_index",
    "ddl_text",
    "engine_for",
    "errors_as",
    "first_line",
    "in_background",
    "key_text",
    "kind_of_dialect",
    "may_refuse_a_value",
    "sparse_text",
    "stop_if_cancelled",
    "without_semicolon",
]
