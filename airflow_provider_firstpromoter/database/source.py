"""Where rows are read from: DB-API connections as an Airflow hook opens them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_firstpromoter.database.dialects import DatabaseKind, kind_of_dialect
from airflow_provider_firstpromoter.database.engine import hook_for, make_engine

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


@dataclass(frozen=True)
class Source:
    """
    A database to read from.

    :param name: how errors call it: the connection's id
    :param open: opens a DB-API connection that nobody else uses
    """

    name: str
    kind: DatabaseKind
    open: Callable[[], Any]

    @classmethod
    def from_connection(cls, conn_id: str) -> Source:
        """
        The database behind an Airflow connection.

        :raises ConnectionSettingsError: if no hook for SQL is installed for the connection's type
        """
        hook, kind = hook_for(conn_id)
        if kind.reads_by_engine:
            return cls.from_engine(make_engine(conn_id, hook, kind), conn_id)
        return cls(conn_id, kind, lambda: kind.connect(hook))

    @classmethod
    def from_engine(cls, engine: Engine, name: str = "source") -> Source:
        """The database of an engine, with connections that do not go back to its pool."""

        def open_connection() -> Any:
            pooled = engine.raw_connection()
            pooled.detach()
            return pooled.dbapi_connection

        return cls(name, kind_of_dialect(engine.dialect), open_connection)

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A DB-API connection for the block."""
        connection = self.open()
        try:
            yield connection
        finally:
            # Closing what the server has given up is no error of its own.
            with contextlib.suppress(Exception):
                connection.close()
