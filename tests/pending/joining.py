"""A ledger and a query, joined in each way that the provider knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import insert

from airflow_provider_firstpromoter.calls import DIGEST_COLUMN, REFUND, Outcome
from airflow_provider_firstpromoter.database import CallQuery, Source
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.pending.antijoin import without_settled
from airflow_provider_firstpromoter.pending.merge_join import join_locally
from tests.support import ALL_REFUNDS

#: In the database of both; on the worker, merged in byte order; on the worker, by way of its disk.
WAYS = ("database", "merge", "disk")


class Row(dict[str, Any]):
    """A row whose columns are found in any case: Snowflake gives names in upper case."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        super().__init__({name.lower(): value for name, value in row.items()})

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name.lower())


class Side:
    """One database with a table of refunds, the ledger of account ``acc``, or both."""

    def __init__(self, database: Any, name: str = "warehouse") -> None:
        self.database = database
        self.kind: str = database.kind
        #: A type of columns that takes all of Unicode, which the default of MariaDB's server does not.
        self.any_text = "VARCHAR(400) CHARACTER SET utf8mb4" if database.kind == "mariadb" else "VARCHAR(400)"
        self.name = name
        self.engine = database.engine()
        self.ledger = Ledger(self.engine, "acc", name=name, call=REFUND)

    def fill(self, *rows: dict[str, Any], **types: str) -> None:
        self.database.fill(rows, **types)

    def fill_table(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        self.database.fill(rows, table)

    def settle(self, event_id: str, amount: Any = 1000, outcome: Outcome = Outcome.RECORDED, **columns: Any) -> None:
        """Write a row of the ledger, whatever the rules for that are."""
        row_amount = None if amount is None else str(amount)
        self.settle_all([{"event_id": event_id, "row_amount": row_amount, "outcome": outcome, **columns}])

    def settle_all(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.ledger.ensure()
        with self.engine.begin() as connection:
            for _, alike in groupby(rows, key=tuple):
                connection.execute(insert(self.ledger.table), [{"account": "acc", **row} for row in alike])

    def query(self, sql: str = ALL_REFUNDS, parameters: Any = None, name: str | None = None) -> CallQuery:
        return CallQuery(Source.from_engine(self.engine, name or self.name), sql, parameters)


def unsettled(way: str, query: CallQuery, ledger: Ledger, recheck: timedelta | None = None) -> list[Mapping[str, Any]]:
    """Return the rows that come through the join of this way, and of no other."""
    names = query.column_names()
    if way == "database":
        assert names is not None
        joined: Any = without_settled(query, ledger, names, recheck).rows()
    else:
        joined = join_locally(query, ledger, names if way == "merge" else None, recheck)
    with closing(joined) as rows:
        return [Row(row) for row in rows]


def digests(way: str, query: CallQuery, ledger: Ledger) -> list[str]:
    """Return the digests of the rows, whose event_ids the ledger must not know."""
    return [row[DIGEST_COLUMN] for row in unsettled(way, query, ledger)]


def ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)
