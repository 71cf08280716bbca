"""The rows of a query without those that the ledger knows as settled: left out in the database, or on the worker."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_firstpromoter.calls import DIGEST_COLUMN, Identity
from airflow_provider_firstpromoter.database import Binds, CallQuery, without_semicolon
from airflow_provider_firstpromoter.exceptions import SourceError
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.pending.merge_join import join_locally
from airflow_provider_firstpromoter.pending.rules import settled_condition

#: So many unsettled rows are kept in memory at once.
FEW_UNSETTLED = 10_000


def unsettled_rows(
    query: CallQuery,
    ledger: Ledger,
    recheck_unreferred: timedelta | None = None,
    identify_by: Sequence[Identity] = ("uid", "email"),
) -> Generator[Mapping[str, Any], None, None]:
    """
    Return the query's rows without those that the ledger knows as settled; close the iterator to end early.

    What comes through may still be settled (``10.50`` in one table, ``10.5`` in the other): it is compared again by
    :func:`~airflow_provider_firstpromoter.pending.rules.classify_rows`.

    Where the ledger is on the connection of the query, its database leaves the settled rows out. Where it is on another
    one, or the database refuses (some take no ``WITH`` in a subquery), both sides are streamed once and joined here.

    :param recheck_unreferred: lets ``not_referred`` rows through that are due to be sent again
    :returns: mappings of column names to values, with the column :data:`DIGEST_COLUMN`
    :raises InputError: if a column is missing or occurs twice, before the first row
    :raises SourceError: if the database refuses the author's own query
    :raises LedgerError: if the ledger cannot be read
    :raises SpoolError: if the worker's disk is full
    """
    is_empty = not ledger.exists()
    names: Sequence[str] | None
    refused: SourceError | None = None
    try:
        # Some databases rename columns of a subquery that have the same name, so the author's own query is read first.
        names = query.column_names()
    except SourceError as error:
        # If the author's own query is wrong, reading it raises the error.
        names, refused = None, error
    if names is not None:
        query.check_columns(names, identify_by)
        if is_empty or query.name == ledger.name:
            joined = query.narrowed(names) if is_empty else without_settled(query, ledger, names, recheck_unreferred)
            with closing(joined.rows(identify_by) if is_empty else few_rows(joined, identify_by)) as rows:
                try:
                    first = next(rows, None)
                except SourceError as error:
                    refused = error
                else:
                    if first is not None:
                        yield first
                        yield from rows
                    return
    if is_empty:
        yield from query.rows(identify_by)
    else:
        yield from join_locally(query, ledger, names, recheck_unreferred, identify_by, refused)


def few_rows(joined: CallQuery, identify_by: Sequence[Identity]) -> Generator[Mapping[str, Any], None, None]:
    """Return the rows of a query that usually has few of them."""
    few = None
    with contextlib.suppress(SourceError):  # a stream may be possible, and otherwise says what is wrong
        few = joined.rows_if_few(FEW_UNSETTLED)
    yield from joined.rows(identify_by) if few is None else few


def without_settled(
    query: CallQuery, ledger: Ledger, names: Sequence[str], recheck_unreferred: timedelta | None = None
) -> CallQuery:
    """
    Return the same query without the rows that the ledger in its database knows as settled.

    :param query: on the database in which the ledger lives
    :param names: the query's columns
    :param recheck_unreferred: lets rows through that are due to be sent again
    """
    sql = ledger.sql_of_database()
    binds = Binds(query.parameters, sql.placeholders)
    given = {name.lower(): f"q.{sql.quote(name)}" for name in names}
    columns = {name: given[name] for name in query.call.columns if name in given}
    content = {name: sql.text.format(column) for name, column in columns.items() if name != "event_id"}
    digest = sql.digest(sql.text.format("k.digest_key"), content.values())

    def bind(value: Any) -> str:
        return binds(ledger.driver_value(value))

    # The key of the hashes: the account's salt, and the names of the columns that are hashed.
    key = sql.text.format(bind(f"{ledger.salt} {','.join(content)} "))
    event_id = sql.exact_text.format(columns["event_id"])
    left_out = sql.left_out.format(
        ledger=ledger.quoted_name,
        key=f"l.account = {bind(ledger.account)} AND {sql.same_key.format(column='l.event_id', value=event_id)}",
        settled=settled_condition(
            amount=sql.exact_text.format(columns["amount"]),
            knows_content=sql.contains.format(column="l.row_digest", value=digest),
            bind=bind,
            moment=ledger.call.moment,
            now=datetime.now(UTC),
            recheck_unreferred=recheck_unreferred,
        ),
    )
    text, parameters = binds.complete(
        # The author's SQL comes before all our placeholders, and may end in a comment: hence the line break.
        f"SELECT {query.selected(names)}, {digest} AS {DIGEST_COLUMN} FROM (\n",
        without_semicolon(query.sql),
        f"\n) q CROSS JOIN (SELECT {key} AS digest_key) k {left_out}",
    )
    return replace(query, sql=text, parameters=parameters)
