"""
Leaves out the settled rows of a query on the worker, where the ledger is in another database.

Both sides are streamed once, and neither is kept in memory. Where the query's database can sort as the ledger's does,
the two streams are merged. Elsewhere the ledger's side is first put on the worker's disk.

The ledger's side of the rule is SQL, so that only a few short texts of each row are transferred. The other side is a
comparison of texts, so that settled rows cost next to nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from airflow_provider_firstpromoter.calls import DIGEST_COLUMN, Identity, Outcome, amount_text, event_id_of
from airflow_provider_firstpromoter.database import (
    Binds,
    CallQuery,
    RowBatch,
    ScratchDatabase,
    Source,
    errors_as,
    stop_if_cancelled,
)
from airflow_provider_firstpromoter.exceptions import LedgerError, SourceError
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.pending.rules import outcome_list, recheck_condition

log = logging.getLogger(__name__)

#: A query with fewer rows is passed on as it is: to look them up in the ledger is cheaper than to read all of it.
FEW_ROWS = 5000

#: Facts that a merge keeps at most, besides those that it has just read.
MOST_KNOWN = 10_000
_EVENT_ID = itemgetter(0)

#: Finds the facts of several event_ids at once.
Lookup: TypeAlias = Callable[[Sequence[str]], Mapping[str, Sequence[Any]]]


def join_locally(
    query: CallQuery,
    ledger: Ledger,
    names: Sequence[str] | None,
    recheck_unreferred: timedelta | None = None,
    identify_by: Sequence[Identity] = ("uid", "email"),
    refused: SourceError | None = None,
) -> Generator[Mapping[str, Any], None, None]:
    """
    Return the query's rows without those that the ledger knows as settled; close the iterator to end early.

    :param names: the query's columns, if its database takes it as a subquery and can sort it; else None
    :param refused: why the database cannot leave them out itself; logged only if it can read the query at all
    :raises InputError: if a column is missing or occurs twice, before the first row
    :raises SourceError: if the query's database refuses
    :raises LedgerError: if the ledger's database refuses
    :raises SpoolError: if the worker's disk is full
    """
    with ExitStack() as stack:
        batches, is_sorted = _open(query, names, identify_by, stack)
        beginning, is_all = _beginning(batches)
        if refused is not None:
            log.warning(
                "The database cannot leave out settled rows itself, so all rows of the query are read and compared "
                "with the ledger on this worker, which takes longer. %s",
                refused,
            )
        reader = _RowReader(beginning[0].names, query.call.columns, ledger.salt)

        lookup: Lookup = lambda event_ids: {}  # noqa: ARG005, E731
        if not is_all:
            facts = _settled_facts(query, ledger, recheck_unreferred)
            stack.enter_context(closing(facts))
            cancelled = query.source.cancelled
            lookup = _Merge(facts).lookup if is_sorted else stack.enter_context(_OnDisk(facts, cancelled)).lookup
        for names_of_batch, rows in chain(beginning, batches):
            event_ids = reader.event_ids(rows)
            for row, digest in reader.unsettled(rows, event_ids, lookup(event_ids)):
                yield {**dict(zip(names_of_batch, row, strict=True)), DIGEST_COLUMN: digest}


def _open(
    query: CallQuery, names: Sequence[str] | None, identify_by: Sequence[Identity], stack: ExitStack
) -> tuple[Iterator[RowBatch], bool]:
    """Start reading the query, sorted if its database can sort it, and return the batches and whether they are."""
    if names is not None and query.source.kind.ledger is not None:
        batches = _sorted(query, names).batches(identify_by)
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


def _sorted(query: CallQuery, names: Sequence[str]) -> CallQuery:
    """Return the query in the order of the event_ids' bytes."""
    sql = query.source.kind.ledger
    assert sql is not None
    event_id = next(name for name in names if name.lower() == "event_id")
    key = sql.byte_order.format(sql.text.format(f"q.{sql.quote(event_id)}"))
    return query.narrowed(names, f" ORDER BY {key}")


def _beginning(batches: Iterator[RowBatch]) -> tuple[list[RowBatch], bool]:
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


class _OnDisk(ScratchDatabase):
    """Finds facts in a private database on the worker's disk, in any order."""

    def __init__(self, facts: Iterable[Sequence[Sequence[Any]]], cancelled: threading.Event | None) -> None:
        super().__init__(
            "CREATE TABLE fact (event_id TEXT PRIMARY KEY, amount TEXT, accepted TEXT, digests TEXT) WITHOUT ROWID",
            partial(stop_if_cancelled, cancelled or threading.Event()),
        )
        for batch in facts:
            self.insert("INSERT OR REPLACE INTO fact VALUES (?, ?, ?, ?)", batch)

    def lookup(self, event_ids: Sequence[str]) -> Mapping[str, Sequence[Any]]:
        """Return the facts of these event_ids."""
        sql = "SELECT fact.* FROM json_each(?) AS wanted CROSS JOIN fact ON fact.event_id = wanted.value"
        return {fact[0]: fact for fact in self.read(sql, json.dumps(event_ids))}


#: Hexadecimal digits of a digest.
DIGEST_LENGTH = 16


class Facts(NamedTuple):
    """
    What identifies a row with this event_id as settled.

    :param amount: the recorded amount; None unless the event is recorded
    :param accepted: another amount that was accepted for it
    :param digests: of contents without a referral, joined by spaces; None unless that is the outcome
    """

    event_id: str
    amount: str | None
    accepted: str | None
    digests: str | None


def _settled_facts(
    query: CallQuery, ledger: Ledger, recheck_unreferred: timedelta | None
) -> Generator[Sequence[Facts], None, None]:
    """
    Stream what settles rows of the query's call, in batches, in the order of the event_ids' bytes.

    :param recheck_unreferred: events that are due to be sent again are not settled
    :returns: tuples with the fields of :class:`Facts`
    :raises LedgerError: if the database refuses
    """
    sql = ledger.sql_of_database()
    source = Source.from_engine(ledger.engine, ledger.name, query.source.cancelled)
    bind = Binds(None, sql.placeholders)
    on_record = outcome_list(outcome for outcome in Outcome if outcome.on_record)
    by_content = outcome_list(outcome for outcome in Outcome if outcome.settled and outcome.remembers_content)
    always = outcome_list(
        outcome for outcome in Outcome if outcome.settled and not outcome.on_record and not outcome.remembers_content
    )
    due = recheck_condition(
        lambda value: bind(ledger.driver_value(value)), query.call.moment, datetime.now(UTC), recheck_unreferred
    )
    unless_due = f"WHEN {due} THEN NULL " if due else ""
    text, parameters = bind.complete(
        "",
        "",
        # What was changed and is as it was again has to come through once, so that the ledger notices.
        f"SELECT l.event_id, CASE WHEN l.outcome IN ({always}) OR (l.outcome IN ({on_record}) "
        "AND (l.changed_amount IS NULL OR l.accepted_at IS NOT NULL)) THEN l.row_amount END, "
        # Without a recorded amount, as after an adoption, the row's amount has yet to be compared.
        f"CASE WHEN l.outcome IN ({on_record}) AND l.row_amount IS NOT NULL AND l.accepted_at IS NOT NULL "
        "THEN l.changed_amount END, "
        f"CASE {unless_due}WHEN l.outcome IN ({by_content}) THEN l.row_digest END "
        f"FROM {ledger.quoted_name} l WHERE l.account = {bind(ledger.account)} "
        f"AND l.outcome IN ({on_record}, {by_content}, {always}) ORDER BY {sql.byte_order.format('l.event_id')}",
    )
    with (
        errors_as(LedgerError, f"{ledger} cannot be read"),
        closing(source.fetch(text, parameters)) as batches,
    ):
        for batch in batches:
            yield batch.rows  # type: ignore[misc]


class _RowReader:
    """
    Reads, of the rows of a query, what decides whether they are settled.

    :param names: the query's columns
    :param columns: the call's
    :param salt: the account's
    """

    def __init__(self, names: Sequence[str], columns: Sequence[str], salt: str) -> None:
        places = {name.lower(): place for place, name in enumerate(names)}
        self._event_id = itemgetter(places["event_id"])
        self._amount = itemgetter(places["amount"])
        content = [name for name in columns if name in places and name != "event_id"]
        self._content = itemgetter(*(places[name] for name in content))
        self._prefix = f"{salt} {','.join(content)} "

    def event_ids(self, rows: Sequence[Sequence[Any]]) -> list[str]:
        """Return the event_ids; an empty text, which no refund has, where a row has no usable one."""
        return _texts(list(map(self._event_id, rows)), lambda value: event_id_of({"event_id": value}) or "")

    def unsettled(
        self, rows: Sequence[Sequence[Any]], event_ids: Sequence[str], known: Mapping[str, Sequence[Any]]
    ) -> list[tuple[Sequence[Any], str]]:
        """
        Return the rows that are not known as settled, each with its digest.

        :param event_ids: of the rows
        :param known: tuples with the fields of :class:`Facts`, by event_id
        """
        amounts = _texts(list(map(self._amount, rows)), lambda value: amount_text(value) or "")
        facts = list(map(known.get, event_ids, repeat(_NONE)))
        if amounts == list(map(_RECORDED, facts)):
            return []  # nearly always
        found = []
        for row, amount, (_, recorded, accepted, digests) in zip(rows, amounts, facts, strict=True):
            if amount and amount in (recorded, accepted):
                continue
            digest = self._digest(row)
            if digests is None or digest not in digests:
                found.append((row, digest))
        return found

    def _digest(self, row: Sequence[Any]) -> str:
        """
        Return a keyed hash of the row's content.

        It is compared only with hashes from this method. A row that merely looks different comes through, and is
        compared exactly then.
        """
        content = f"{self._prefix}{self._content(row)!r}"
        return hashlib.md5(content.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:DIGEST_LENGTH]


_NONE = Facts("", None, None, None)
_RECORDED = itemgetter(1)


def _texts(values: list[Any], text_of: Callable[[Any], str]) -> list[str]:
    """Return the values as texts, without a look at each of them where they are all of one usual type."""
    types = set(map(type, values))
    if types == {str}:
        return values
    if types == {int}:
        return list(map(str, values))
    return [value if type(value) is str else text_of(value) for value in values]
