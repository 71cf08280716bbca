"""The author's query on a database, as a stream of rows, and as a part of the provider's own statements."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from airflow.providers.common.compat.sdk import AirflowException
from sqlparse import lexer, tokens

from airflow_provider_firstpromoter.calls import DIGEST_COLUMN, REFUND, Call, Identity
from airflow_provider_firstpromoter.database.dialects import QuerySql
from airflow_provider_firstpromoter.database.drivers import RESERVED, Parameters
from airflow_provider_firstpromoter.database.engine import errors_as, first_line
from airflow_provider_firstpromoter.database.source import RowBatch, Source
from airflow_provider_firstpromoter.exceptions import InputError, SourceError

#: Values by which the type of a column is known.
SAMPLE = 10
_MARK = re.compile("\x00(\\d+)\x00")


@dataclass(frozen=True)
class CallQuery:
    """
    A query whose columns carry the field names of a tracking call; its other columns are not read.

    It is read through the DB-API connection of the Airflow hook, without SQLAlchemy.

    :param source: the database
    :param sql: passed to the driver as it is: ``%`` and ``:`` mean what they mean to the driver
    :param parameters: in the driver's own style: a mapping or a sequence
    :param statement_timeout: seconds that it may take, in databases that know such a limit
    :param call: the call that is made with its rows
    """

    source: Source
    sql: str
    parameters: Parameters = None
    statement_timeout: float | None = None
    call: Call = REFUND

    @classmethod
    def from_connection(cls, conn_id: str, sql: str, parameters: Parameters = None, **fields: Any) -> Self:
        """
        Return the query on an Airflow connection.

        :raises ConnectionSettingsError: if no hook for SQL is installed for the connection's type
        """
        return cls(Source.from_connection(conn_id), sql, parameters, **fields)

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

    def batches(self, identify_by: Sequence[Identity] = ("uid", "email")) -> Generator[RowBatch, None, None]:
        """
        The query's rows in batches, through a server-side cursor where there is one; the first batch may be empty.

        :raises InputError: if a column is missing or occurs twice, before the first batch
        :raises SourceError: if the database refuses
        """
        count = 0

        def keep(names: Sequence[str]) -> list[int]:
            self.check_columns(names, identify_by)
            return self.places(names)

        try:
            with closing(self.source.fetch(self.sql, self.parameters, self.statement_timeout, keep=keep)) as batches:
                for batch in batches:
                    count += len(batch.rows)
                    yield batch
        except AirflowException:
            raise
        except Exception as error:
            where = f" after {count} rows" if count else ""
            advice = "; if the driver cannot read a value, cast its column to text in the query" if count else ""
            raise SourceError(f"{self._failed}{where}: {first_line(error)}{advice}") from None

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
        with errors_as(SourceError, self._failed):
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
        ledger = self.source.kind.ledger
        if ledger is None:
            return None
        sql = without_semicolon(self.sql)
        with errors_as(SourceError, self._failed):
            (names,) = self.source.read(
                lambda connection: iter([ledger.columns(connection.cursor(), sql, self.parameters)]),
                self.statement_timeout,
                keeps=True,
            )
        return names

    def check_columns(self, names: Sequence[str], identify_by: Sequence[Identity] = ("uid", "email")) -> None:
        """
        Check that the query has the columns that the call needs, each of them once.

        :raises InputError: if a column is missing, or occurs twice
        """
        if not names:
            raise InputError(f"The query on connection {self.name!r} returns no rows at all")
        if missing := self.call.missing_columns(names, identify_by):
            raise InputError(
                f"The query on connection {self.name!r} lacks the column {', '.join(missing)}; "
                f"it has {', '.join(names)}"
            )
        if twice := self.call.repeated_columns(names):
            raise InputError(
                f"The query on connection {self.name!r} has the column {', '.join(twice)} more than once (names are "
                "compared without regard to case), so it is unclear which one is meant. Name the columns one by one, "
                "and give the others another name"
            )

    def places(self, names: Sequence[str]) -> list[int]:
        """Return the places of the columns that are read: the call's, and that for reports."""
        read = {*self.call.columns, self.call.moment, DIGEST_COLUMN}
        return [place for place, name in enumerate(names) if name.lower() in read]

    def selected(self, names: Sequence[str]) -> str:
        """Return what a statement selects from the query ``q``: the columns that are read."""
        ledger = self.source.kind.ledger
        assert ledger is not None
        return ", ".join(f"q.{ledger.quote(names[place])}" for place in self.places(names))

    def narrowed(self, names: Sequence[str], order_by: str = "") -> Self:
        """
        Return the query as a subquery, of which only the columns that are read are selected.

        :param names: the query's columns
        """
        # The author's SQL may end in a comment: hence the line break.
        sql = f"SELECT {self.selected(names)} FROM (\n{without_semicolon(self.sql)}\n) q{order_by}"
        return replace(self, sql=sql)

    def within(self, rest: str, binds: Binds, names: Sequence[str] | None) -> Self:
        """
        Return the query as a subquery ``q``, followed by SQL of the provider's own.

        :param rest: with the marks of ``binds``
        :param names: the query's columns; None if the database cannot name them
        """
        columns = self.selected(names) if names else "q.*"
        sql, parameters = binds.complete(f"SELECT {columns} FROM (\n", without_semicolon(self.sql), f"\n) q {rest}")
        return replace(self, sql=sql, parameters=parameters)

    def sample(self, column: str) -> list[Any]:
        """
        Return a few values of a column that are not NULL.

        :param column: of the subquery ``q``, as SQL
        :raises SourceError: if the database refuses
        """
        sql = f"SELECT {column} FROM (\n{without_semicolon(self.sql)}\n) q WHERE {column} IS NOT NULL LIMIT {SAMPLE}"
        with errors_as(SourceError, self._failed):
            batches = self.source.fetch(sql, self.parameters, self.statement_timeout, is_streaming=False)
            return [value for batch in batches for (value,) in batch.rows]

    @property
    def sql_around(self) -> QuerySql | None:
        """How the provider's own SQL around the query is written; None if it is only read as it is."""
        return self.source.kind.ledger or self.source.kind.query

    @property
    def _failed(self) -> str:
        return f"The query on connection {self.name!r} failed"

    def close(self) -> None:
        """Close the connection that is kept between two readings."""
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def without_semicolon(sql: str) -> str:
    """Return the query without the semicolon at its end, which comments may follow."""
    if ";" not in sql:
        return sql
    # The lexer alone: the parser refuses texts of more than 10,000 tokens, such as a long IN-list.
    parts = list(lexer.tokenize(sql))  # type: ignore[no-untyped-call]
    for position in range(len(parts) - 1, -1, -1):
        kind, value = parts[position]
        if kind in tokens.Whitespace or kind in tokens.Comment:
            continue
        if kind is tokens.Punctuation and value == ";":
            del parts[position]
            continue
        break
    return "".join(value for _, value in parts)


class Binds:
    """
    Binds the provider's own values in a statement that holds the author's SQL.

    Each value is bound once and its mark may be used several times, in any order, but only after the author's SQL:
    drivers count placeholders from the start.

    :param given: the author's parameters, whose style the provider's have to have
    :param placeholders: how the driver writes them
    """

    def __init__(self, given: Parameters, placeholders: Literal["percent", "question", "dollar"]) -> None:
        self._given = given
        self._placeholders = placeholders
        self._values: list[Any] = []
        # The author's SQL may be a statement of ours already, with parameters of ours.
        self._first = sum(str(name).startswith(RESERVED) for name in given) if isinstance(given, Mapping) else 0

    def __call__(self, value: Any) -> str:
        """Add a value, and return the mark that stands for it."""
        self._values.append(value)
        return f"\x00{len(self._values) - 1}\x00"

    def complete(self, before: str, sql: str, after: str) -> tuple[str, Any]:
        """
        Put the statement together.

        :param before: the provider's own text, without marks
        :param sql: the author's
        :param after: the provider's own text, with marks
        :returns: the statement and its parameters
        """
        if not self._given and self._placeholders == "percent":
            # Now that there are parameters, the driver would read the author's % as a placeholder.
            sql = sql.replace("%", "%%")
        if isinstance(self._given, Mapping):
            return before + sql + _MARK.sub(self._named, after), {
                **self._given,
                **{f"{RESERVED}{number}": value for number, value in enumerate(self._values, self._first)},
            }
        values = list(self._given or ())

        def position(mark: re.Match[str]) -> str:
            values.append(self._values[int(mark[1])])
            return {"percent": "%s", "question": "?"}.get(self._placeholders, f"${len(values)}")

        return before + sql + _MARK.sub(position, after), values

    def _named(self, mark: re.Match[str]) -> str:
        name = f"{RESERVED}{self._first + int(mark[1])}"
        return f"%({name})s" if self._placeholders == "percent" else f"${name}"  # SQLite takes the dollar too
