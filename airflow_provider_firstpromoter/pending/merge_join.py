"""
Leaves out the settled rows of a query on the worker, where the ledger is in another database.

Both sides are streamed once, and neither is kept in memory. Where the query's database can sort as the ledger's does,
the two streams are merged. Elsewhere the ledger's side is first put on the worker's disk.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any, TypeAlias

from airflow_provider_firstpromoter.calls import DIGEST_COLUMN, Identity
from airflow_provider_firstpromoter.database import (
    Batch,
    RefundQuery,
    disk_errors,
    read_ahead,
    scratch_database,
    without_semicolon,
)
from airflow_provider_firstpromoter.exceptions import SourceError
from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.pending.settled_facts import RowReader, facts_of

log = logging.getLogger(__name__)

#: A query with fewer rows is passed on as it is: to look them up in the ledger is cheaper than to read all of it.
FEW_ROWS = 5000

#: Facts that a merge keeps at most, besides those that it has just read.
MOST_KNOWN = 10_000
_EVENT_ID = itemgetter(0)

#: Finds the facts of several event_ids at once.
Lookup: TypeAlias = Callable[[Sequence[str]], Mapping[str, Sequence[Any]]]


def join_locally(
    query: RefundQuery,
    ledger: RefundLedger,
    names: Sequence[str] | None,
    recheck_unreferred: timedelta | None = None,
    identify_by: Sequence[Identity] = ("uid", "email"),
) -> Generator[Mapping[str, Any], None, None]:
    """
    Return the query's rows without those that the ledger knows as settled; close the iterator to end early.

    :param names: the query's columns, if its database takes it as a subquery and can sort it; else None
    :raises InputError: if a column is missing or occurs twice, before the first row
    :raises SourceError: if the query's database refuses
    :raises LedgerError: if the ledger's database refuses
    :raises SpoolError: if the worker's disk is full
    """
    with ExitStack() as stack:
        batches, is_sorted = _open(query, names, identify_by, stack)
        beginning, is_all = _beginning(batches)
        reader = RowReader(beginning[0].names, ledger.digest_key)
        lookup: Lookup = lambda event_ids: {}  # noqa: ARG005, E731
        if not is_all:
            facts = facts_of(ledger, datetime.now(UTC), recheck_unreferred)
            if ledger.sql_of_database().is_threadsafe:
                facts = read_ahead(facts)
            stack.enter_context(closing(facts))
            lookup = _Merge(facts).lookup if is_sorted else stack.enter_context(_OnDisk(facts)).lookup
        for names_of_batch, rows in chain(beginning, batches):
            event_ids = reader.event_ids(rows)
            for row, digest in reader.unsettled(rows, event_ids, lookup(event_ids)):
                yield {**dict(zip(names_of_batch, row, strict=True)), DIGEST_COLUMN: digest}


def _open(
    query: RefundQuery, names: Sequence[str] | None, identify_by: Sequence[Identity], stack: ExitStack
) -> tuple[Iterator[Batch], bool]:
    """Start reading the query, sorted if its database can sort it, and return the batches and whether they are."""
    if names is not None and query.source.kind.ledger is not None:
        batches = _sorted(query, names).batches(identify_by)
        if query.source.kind.ledger.is_threadsafe:
            batches = read_ahead(batches)
        stack.enter_context(closing(batches))
        try:
            return chain([next(batches)], batches), True
        except SourceError as error:
            log.warning(
                "The database cannot sort the rows of the query, so the ledger is first read to this worker's disk, "
                "which takes longer. %s",
                error,
            )
    return stack.enter_context(closing(query.batches(identify_by))), False


def _sorted(query: RefundQuery, names: Sequence[str]) -> RefundQuery:
    """Return the query in the order of the event_ids' bytes."""
    sql = query.source.kind.ledger
    assert sql is not None
    event_id = next(name for name in names if name.lower() == "event_id")
    key = sql.byte_order.format(sql.text.format(f"q.{sql.quote(event_id)}"))
    return replace(query, sql=f"SELECT q.* FROM (\n{without_semicolon(query.sql)}\n) q ORDER BY {key}")


def _beginning(batches: Iterator[Batch]) -> tuple[list[Batch], bool]:
    """Return the first rows, at least one batch, and whether they are all."""
    beginning = [next(batches)]
    count = len(beginning[0].rows)
    while count <= FEW_ROWS:
        batch = next(batches, None)
        if batch is None:
            return beginning, True
        beginning.append(batch)
        count += len(batch.rows)
    return beginning, False


class _Merge:
    """
    Finds facts by going through the ledger's side once, because rows are looked up in the same order.

    Text in Python compares by code points, which is the order of UTF-8 bytes.

    :param facts: in the order of the event_ids' bytes
    """

    def __init__(self, facts: Iterable[Sequence[Sequence[Any]]]) -> None:
        self._batches = iter(facts)
        #: Those read last, in their order: the next rows may have their event_ids too.
        self._known: dict[str, Sequence[Any]] = {}
        self._read_up_to = ""
        self._last = ""
        self._in_order = True

    def lookup(self, event_ids: Sequence[str]) -> Mapping[str, Sequence[Any]]:
        """Return at least the facts of these event_ids, which come in order with those of earlier calls."""
        if not event_ids:
            return {}
        last = max(event_ids)
        self._note_order(event_ids[0] or last, last)
        while self._read_up_to < last:
            batch = next(self._batches, None)
            if not batch:
                break
            if len(self._known) > MOST_KNOWN:
                self._forget(event_ids)
            self._known.update(zip(map(_EVENT_ID, batch), batch, strict=True))
            self._read_up_to = batch[-1][0]
        return self._known

    def _forget(self, event_ids: Sequence[str]) -> None:
        """A ledger with many refunds that are not in the query must not fill the memory."""
        wanted = set(event_ids)
        self._known = {event_id: fact for event_id, fact in self._known.items() if event_id in wanted}

    def _note_order(self, first: str, last: str) -> None:
        if first < self._last and self._in_order:
            # Harmless, because a row whose facts were passed is compared one by one, as every row that comes through.
            self._in_order = False
            log.warning("The database sorts event_ids in an order of its own, so more rows than needed are compared")
        self._last = max(self._last, last)


class _OnDisk:
    """Finds facts in a private database on the worker's disk, in any order."""

    def __init__(self, facts: Iterable[Sequence[Sequence[Any]]]) -> None:
        with disk_errors():
            self._database = scratch_database()
            self._database.execute(
                "CREATE TABLE fact (event_id TEXT PRIMARY KEY, amount TEXT, accepted TEXT, digests TEXT) WITHOUT ROWID"
            )
            self._database.execute("BEGIN")
            for batch in facts:
                self._database.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?, ?, ?)", batch)
            self._database.execute("COMMIT")

    def lookup(self, event_ids: Sequence[str]) -> Mapping[str, Sequence[Any]]:
        """Return the facts of these event_ids."""
        sql = "SELECT fact.* FROM json_each(?) AS wanted CROSS JOIN fact ON fact.event_id = wanted.value"
        with disk_errors():
            found = self._database.execute(sql, (json.dumps(event_ids),))
            return {fact[0]: fact for fact in found}

    def __enter__(self) -> _OnDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
