"""The author's query on a database, as a stream of rows."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Self

from airflow_provider_firstpromoter.calls import Identity, missing_columns, repeated_columns
from airflow_provider_firstpromoter.database.errors import errors_as
from airflow_provider_firstpromoter.database.kinds import Parameters
from airflow_provider_firstpromoter.database.source import Batch, Source
from airflow_provider_firstpromoter.database.sql_text import without_semicolon
from airflow_provider_firstpromoter.exceptions import InputError, SourceError


@dataclass(frozen=True)
class RefundQuery:
    """
    A query whose columns carry the refund call's field names.

    It is read through the DB-API connection of the Airflow hook, without SQLAlchemy.

    :param source: the database
    :param sql: passed to the driver as it is: ``%`` and ``:`` mean what they mean to the driver
    :param parameters: in the driver's own style: a mapping or a sequence
    :param statement_timeout: seconds that it may take, in databases that know such a limit
    """

    source: Source
    sql: str
    parameters: Parameters = None
    statement_timeout: float | None = None

    @classmethod
    def from_connection(
        cls, conn_id: str, sql: str, parameters: Parameters = None, statement_timeout: float | None = None
    ) -> Self:
        """
        Return the query on an Airflow connection.

        :raises ConnectionSettingsError: if no hook for SQL is installed for the connection's type
        """
        return cls(Source.from_connection(conn_id), sql, parameters, statement_timeout)

    @property
    def name(self) -> str:
        """The connection's id."""
        return self.source.name

    def rows(self, identify_by: Sequence[Identity] = ("uid", "email")) -> Generator[Mapping[str, Any], None, None]:
        """
        The query's rows as mappings; close the iterator to end early.

        :raises InputError: if a column is missing or occurs twice, before the first row
        :raises SourceError: if the database refuses
        """
        with closing(self.batches(identify_by)) as batches:
            for names, rows in batches:
                for row in rows:
                    yield dict(zip(names, row, strict=True))

    def batches(self, identify_by: Sequence[Identity] = ("uid", "email")) -> Generator[Batch, None, None]:
        """
        The query's rows in batches, through a server-side cursor where there is one; the first batch may be empty.

        :raises InputError: if a column is missing or occurs twice, before the first batch
        :raises SourceError: if the database refuses
        """
        with self._errors(), closing(self.source.fetch(self.sql, self.parameters, self.statement_timeout)) as batches:
            names: Sequence[str] | None = None
            for batch in batches:
                if names is None:
                    names = batch.names
                    self.check_columns(names, identify_by)
                yield batch

    def rows_if_few(self, most: int) -> list[Mapping[str, Any]] | None:
        """
        Return the query's rows at once, where that is faster than to stream them and they are not too many.

        :returns: None if they are more than ``most``, or streams are no slower in this database
        :raises SourceError: if the database refuses
        """
        template = self.source.kind.ledger and self.source.kind.ledger.if_few
        if not template:
            return None
        sql = template.format(sql=self.sql, limit=most + 1)
        rows: list[Mapping[str, Any]] = []
        with self._errors():
            for names, batch in self.source.fetch(sql, self.parameters, self.statement_timeout, is_streaming=False):
                rows += [dict(zip(names, row, strict=True)) for row in batch]
        return rows if len(rows) <= most else None

    def column_names(self) -> list[str] | None:
        """
        The names of the columns as the author wrote them, without running the query.

        Some databases rename columns of a subquery that have the same name: only these names show repeated ones.

        :returns: None if the database cannot name them
        :raises SourceError: if the database refuses the query, or refuses it as a subquery
        """
        kind = self.source.kind
        if kind.ledger is None:
            return None
        with self._errors(), self.source.connection(self.statement_timeout) as connection:
            cursor = connection.cursor()
            return kind.ledger.columns(cursor, without_semicolon(self.sql), self.parameters)

    def check_columns(self, names: Sequence[str], identify_by: Sequence[Identity] = ("uid", "email")) -> None:
        """
        Check that the query has the columns that a refund needs, each of them once.

        :raises InputError: if a column is missing, or occurs twice
        """
        if not names:
            raise InputError(f"The query on connection {self.name!r} returns no rows at all")
        if missing := missing_columns(names, identify_by):
            raise InputError(
                f"The query on connection {self.name!r} lacks the column {', '.join(missing)}; "
                f"it has {', '.join(names)}"
            )
        if twice := repeated_columns(names):
            raise InputError(
                f"The query on connection {self.name!r} has the column {', '.join(twice)} more than once (names are "
                "compared without regard to case), so it is unclear which one is meant. Name the columns one by one, "
                "and give the others another name"
            )

    def _errors(self) -> Any:
        return errors_as(SourceError, f"The query on connection {self.name!r} failed")

    def close(self) -> None:
        """Do nothing, because no connection stays open; it lets a query be used in a ``with`` as the ledger is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
