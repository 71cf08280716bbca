"""The warehouse's query, as its author wrote it, as a stream of rows."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_firstpromoter.database.engine import engine_for, first_line
from airflow_provider_firstpromoter.exceptions import RefundInputError, SourceError
from airflow_provider_firstpromoter.refunds import Identity, missing_columns

Parameters = Mapping[str, Any] | Sequence[Any] | None

#: A column that the join adds to the rows: a keyed hash of the row's content, as the database computes it.
DIGEST_COLUMN = "firstpromoter_digest"

#: Rows that the driver holds at once.
FETCH = 1000

#: How a database is told what a statement may take.
STATEMENT_TIMEOUTS = {
    "postgresql": "SET LOCAL statement_timeout = {milliseconds}",
    "mysql": "SET SESSION max_execution_time = {milliseconds}",
    "mariadb": "SET SESSION max_statement_time = {seconds}",
}

#: PostgreSQL plans a cursor for its first rows, which makes a join of two large tables several times slower to the end.
#: As a query of the settings, because what only speaks PostgreSQL's language may not have this one.
PLAN_FOR_ALL_ROWS = (
    "SELECT set_config(name, '1', true) FROM pg_catalog.pg_settings WHERE name = 'cursor_tuple_fraction'"
)


@dataclass(frozen=True)
class RefundQuery:
    """
    A query whose columns carry the refund call's field names.

    :param engine: of the database to be asked
    :param sql: goes to the driver as it is: no bind syntax of ours, ``%`` and ``:`` mean what they mean there
    :param parameters: in the driver's own style: a mapping or a sequence
    :param name: how errors call the database: the connection's id
    :param statement_timeout: seconds that it may take, in databases that know such a limit
    """

    engine: Engine
    sql: str
    parameters: Parameters = None
    name: str = "source"
    statement_timeout: float | None = None

    @classmethod
    def from_connection(
        cls, conn_id: str, sql: str, parameters: Parameters = None, statement_timeout: float | None = None
    ) -> RefundQuery:
        """The query on an Airflow SQL connection."""
        return cls(engine_for(conn_id), sql, parameters, conn_id, statement_timeout)

    def rows(self, identify_by: Sequence[Identity] = ("uid", "email")) -> Generator[Mapping[str, Any], None, None]:
        """
        The query's rows, through a server-side cursor where there is one; close the iterator to end early.

        :raises RefundInputError: if a column is missing, before the first row
        :raises SourceError: if the database refuses
        """
        try:
            with self.engine.connect() as connection:
                self._limit_statements(connection)
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(PLAN_FOR_ALL_ROWS).close()
                # no_parameters: an empty parameter list would make some drivers read every % as a placeholder.
                options = {"stream_results": True, "max_row_buffer": FETCH, "no_parameters": True}
                result = connection.execution_options(**options).exec_driver_sql(
                    self.sql, _driver_style(self.parameters)
                )
                with closing(result):
                    if not result.returns_rows:
                        raise RefundInputError(f"The query on connection {self.name!r} returns no rows at all")
                    if missing := missing_columns(result.keys(), identify_by):
                        raise RefundInputError(
                            f"The query on connection {self.name!r} lacks the column {', '.join(missing)}; "
                            f"it has {', '.join(result.keys())}"
                        )
                    for row in result.yield_per(FETCH):
                        yield dict(row._mapping)
        except SQLAlchemyError as error:
            raise SourceError(f"The query on connection {self.name!r} failed: {first_line(error)}") from None

    def close(self) -> None:
        """Close the connections to the database; the query can be run again afterwards."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _limit_statements(self, connection: Connection) -> None:
        dialect = connection.dialect
        limit = STATEMENT_TIMEOUTS.get("mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name)
        if limit and self.statement_timeout:
            seconds = self.statement_timeout
            connection.exec_driver_sql(limit.format(seconds=seconds, milliseconds=int(seconds * 1000)))


def _driver_style(parameters: Parameters) -> Any:
    """As one set among many: else SQLAlchemy takes a list, or a tuple that begins with one, for many sets."""
    if not parameters:
        return None
    return dict(parameters) if isinstance(parameters, Mapping) else [tuple(parameters)]
