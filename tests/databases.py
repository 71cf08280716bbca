"""Databases of each kind on which the provider is tested, empty at the start of a test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dev.databases import MariaDB, PostgreSQL

#: The refund call's own field names, and what a warehouse usually holds in them.
COLUMNS = {
    "event_id": "VARCHAR(400)",
    "amount": "BIGINT",
    "currency": "VARCHAR(10)",
    "uid": "VARCHAR(400)",
    "email": "VARCHAR(400)",
    "quantity": "INTEGER",
    "sale_event_id": "VARCHAR(400)",
    "skip_email_notification": "BOOLEAN",
}


class Database:
    """
    A real database, empty at the start of a test.

    :param kind: ``sqlite``, ``postgresql``, ``mariadb``, ``duckdb`` or ``snowflake``
    :param url: SQLAlchemy's, for engines of the test's own
    :param connection: the fields of an Airflow connection to it; None where no provider of it is installed
    """

    def __init__(
        self,
        kind: str,
        url: str,
        connection: dict[str, Any] | None = None,
        give_back: Callable[[], None] | None = None,
    ) -> None:
        self.kind = kind
        self.url = url
        self.connection = connection
        self.give_back = give_back or (lambda: None)
        #: The Airflow connection's id, once it is set.
        self.conn_id = ""
        self._engines: list[Any] = []

    def engine(self) -> Any:
        """An engine of its own, as Airflow's hooks make them; closed after the test."""
        from sqlalchemy import create_engine

        engine = create_engine(self.url, future=True, hide_parameters=True)
        self._engines.append(engine)
        return engine

    def run(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Execute in the driver's own style, commit, and return the rows if there are any."""
        if not self._engines:
            self.engine()
        with self._engines[0].begin() as connection:
            result = connection.exec_driver_sql(sql, parameters)
            return [tuple(row) for row in result] if result.returns_rows else []

    def fill(self, rows: Sequence[Mapping[str, Any]], table: str = "refunds", **types: str) -> None:
        """
        Make the table if it is not there, and insert the rows.

        :param types: SQL types of columns, where they should not be as in COLUMNS; further columns too
        """
        columns = {**COLUMNS, **types}
        self.run(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(f'{c} {t}' for c, t in columns.items())})")
        place = "?" if self.kind in ("sqlite", "duckdb") else "%s"
        for names, alike in itertools.groupby(rows, key=tuple):
            insert, values = f"INSERT INTO {table} ({', '.join(names)}) VALUES", f"({', '.join([place] * len(names))})"
            batch = [tuple(row.values()) for row in alike]
            if self.kind != "duckdb":
                self.run(f"{insert} {values}", batch)
                continue
            # Its driver inserts one row after the other, each in milliseconds.
            for start in range(0, len(batch), 500):
                part = batch[start : start + 500]
                self.run(f"{insert} {', '.join([values] * len(part))}", tuple(itertools.chain.from_iterable(part)))

    def dispose(self) -> None:
        for engine in self._engines:
            engine.dispose()


_numbers = itertools.count(1)


class PostgreSQLDatabases:
    """Databases of one PostgreSQL server, which are emptied and used again, because it takes long to create one."""

    def __init__(self, server: PostgreSQL) -> None:
        self.server = server
        self._free: list[str] = []

    def take(self) -> str:
        """Return the name of an empty database."""
        if not self._free:
            self._free.append(f"test_{next(_numbers)}")
            self.server.create(self._free[-1])
        return self._free.pop()

    def give_back(self, name: str) -> None:
        self.server.empty(name)
        self._free.append(name)


def make_database(kind: str, request: pytest.FixtureRequest, folder: Path) -> Database:
    """Return a new, empty database; what it leaves behind goes away with its server or folder."""
    name = f"test_{next(_numbers)}"
    if kind == "sqlite":
        path = folder / f"{name}.sqlite"
        return Database(kind, f"sqlite:///{path}", {"conn_type": "sqlite", "host": str(path)})
    if kind == "duckdb":
        path = folder / f"{name}.duckdb"
        return Database(kind, f"duckdb:///{path}", {"conn_type": "duckdb", "host": str(path)})
    if kind == "mariadb":
        server: MariaDB = request.getfixturevalue("mariadb_server")
        server.create(name)
        return Database(kind, server.url(name))
    if kind == "snowflake":
        snowflake = request.getfixturevalue("snowflake_server")
        return Database(kind, snowflake.url(name), snowflake.connection(name), give_back=snowflake.reset)
    databases: PostgreSQLDatabases = request.getfixturevalue("postgresql_databases")
    name = databases.take()
    return Database(
        kind,
        databases.server.url(name),
        databases.server.connection(name),
        give_back=lambda: databases.give_back(name),
    )
