"""Leaving settled refunds in the database: the user's query, joined against the ledger beside it."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlparse
from sqlalchemy import String, cast, literal_column
from sqlalchemy.engine import Dialect
from sqlparse import tokens

from airflow_provider_firstpromoter.database import RefundQuery, Utc
from airflow_provider_firstpromoter.exceptions import SourceError
from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.pending.rules import unsettled_condition
from airflow_provider_firstpromoter.refunds import MAX_AMOUNT_LENGTH, MAX_ID_LENGTH, Identity

log = logging.getLogger(__name__)

#: In a mapping of parameters ours are called so; nobody else's are.
RESERVED = "firstpromoter_"


def without_settled(
    query: RefundQuery, ledger: RefundLedger, recheck_unreferred: timedelta | None = None
) -> RefundQuery:
    """
    The same query, less the refunds that its database's ledger knows as settled with the same amount.

    What comes through may still be settled (``10.50`` in one table, ``10.5`` in the other): it is checked again.

    :param query: on the database in which the ledger lives
    :param recheck_unreferred: lets the refunds through that are due to be asked again
    """
    dialect = query.engine.dialect
    bind = _Binds(query, dialect)
    account = bind(ledger.account)

    class Shim:
        amount = _as_text("q.amount", dialect, MAX_AMOUNT_LENGTH)
        digest = "''"

        def contains(self, column: str, value: str) -> str:
            return "1 = 1"

        def bind(self, value: Any) -> str:
            return bind(_time(value, dialect) if isinstance(value, datetime) else value)

    condition = unsettled_condition(Shim(), datetime.now(UTC), recheck_unreferred)
    table = dialect.identifier_preparer.format_table(ledger.table)
    sql = (
        # A line break before the parenthesis: the query may end in a comment.
        f"SELECT q.* FROM (\n{bind.escaped(_without_semicolon(query.sql))}\n) q "
        f"LEFT JOIN {table} l ON l.account = {account} "
        f"AND l.event_id = {_as_text('q.event_id', dialect, MAX_ID_LENGTH)} "
        f"WHERE {condition}"
    )
    return replace(query, sql=sql, parameters=bind.parameters)


def unsettled_rows(
    query: RefundQuery,
    ledger: RefundLedger,
    recheck_unreferred: timedelta | None = None,
    identify_by: Sequence[Identity] = ("uid", "email"),
) -> Generator[Mapping[str, Any], None, None]:
    """
    The query's rows; where the ledger lives in the same database, without those that it knows as settled.

    A database that cannot do that (some take no ``WITH`` in a subquery) is asked for all of them.

    :raises RefundInputError: if a column is missing, before the first row
    :raises SourceError: if the database refuses the user's own query
    """
    if query.name == ledger.name and ledger.exists():
        rows = without_settled(query, ledger, recheck_unreferred).rows(identify_by)
        try:
            first = next(rows, None)
        except SourceError as error:
            log.info("Settled refunds cannot be left out by the database, so they are left out here. %s", error)
        else:
            if first is not None:
                yield first
                yield from rows
            return
    yield from query.rows(identify_by)


class _Binds:
    """Adds our values to the user's parameters, in the style in which those are written."""

    def __init__(self, query: RefundQuery, dialect: Dialect) -> None:
        given = query.parameters
        self._named = isinstance(given, Mapping)
        self._style = dialect.paramstyle
        self._none_given = not given
        self.parameters: Any = dict(given) if isinstance(given, Mapping) else list(given or ())

    def __call__(self, value: Any) -> str:
        """Take a value; returns the placeholder that stands for it."""
        if self._named:
            name = f"{RESERVED}{len(self.parameters)}"
            self.parameters[name] = value
            if self._style in ("pyformat", "format"):
                return f"%({name})s"
            return f":{name}" if self._style == "named" else f"${name}"  # SQLite takes the dollar too, DuckDB only it
        self.parameters.append(value)
        match self._style:
            case "pyformat" | "format":
                return "%s"
            case "numeric" | "named":
                return f":{len(self.parameters)}"
            case "numeric_dollar":
                return f"${len(self.parameters)}"
        return "?"

    def escaped(self, sql: str) -> str:
        """Now that there are parameters, a driver of the percent kind would read the user's ``%`` as a placeholder."""
        if self._none_given and self._style in ("pyformat", "format"):
            return sql.replace("%", "%%")
        return sql


def _as_text(column: str, dialect: Dialect, length: int) -> str:
    return str(cast(literal_column(column), String(length)).compile(dialect=dialect))


def _time(value: datetime, dialect: Dialect) -> Any:
    """A time as the driver wants it: the user's SQL and its parameters go past SQLAlchemy."""
    processor = Utc().dialect_impl(dialect).bind_processor(dialect)
    return processor(value) if processor else value


def _without_semicolon(sql: str) -> str:
    """The query without the semicolon at its end, which may have comments behind it."""
    parts = [token for statement in sqlparse.parse(sql) for token in statement.flatten()]  # type: ignore[no-untyped-call]
    for position in range(len(parts) - 1, -1, -1):
        token = parts[position]
        if token.is_whitespace or token.ttype in tokens.Comment:
            continue
        if token.ttype is tokens.Punctuation and token.value == ";":
            del parts[position]
            continue
        break
    return "".join(token.value for token in parts)
