"""What each database does differently: everything of that kind is said here, one entry for each database."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Dialect

from airflow_provider_firstpromoter.database import upsert


@dataclass(frozen=True)
class DatabaseKind:
    """
    What one kind of database does differently.

    :param name: SQLAlchemy's name of the dialect
    :param upsert: how it writes an insert that updates; None where no ledger may live
    :param secondary_indexes: whether tables may have indexes beside the key
    """

    name: str
    upsert: upsert.Form | None = None
    secondary_indexes: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        DatabaseKind("postgresql", upsert.on_conflict, secondary_indexes=True),
        DatabaseKind("sqlite", upsert.on_conflict, secondary_indexes=True),
        DatabaseKind("mysql", upsert.on_duplicate_key, secondary_indexes=True),
        DatabaseKind("mariadb", upsert.on_duplicate_key, secondary_indexes=True),
        # DuckDB cannot update columns that an index has, and Snowflake has no indexes.
        DatabaseKind("duckdb", upsert.on_conflict),
        DatabaseKind("snowflake", upsert.merge),
    )
}


def kind_of(dialect: Dialect) -> DatabaseKind:
    """The kind of database that an engine speaks to."""
    return KINDS.get(dialect.name) or DatabaseKind(dialect.name)
