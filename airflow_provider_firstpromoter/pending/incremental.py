"""
Reads of a query only what is new, where the run history shows that everything before it was read.

A part of a query could show a part of an event: one of two rows that contradict each other, say. So the rows that are
new only tell which events need handling, and all rows of these events are then read, as those of failed events are.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain, islice
from typing import Any, NamedTuple

from sqlalchemy import and_, case, func, select

from airflow_provider_firstpromoter.calls import Identity, Outcome, Row, batches, event_id_of, numbered
from airflow_provider_firstpromoter.database import INCREMENTAL_DATABASES, Binds, CallQuery
from airflow_provider_firstpromoter.exceptions import InputError, SourceError
from airflow_provider_firstpromoter.ledger import READ_ALL, Ledger, RunHistory, RunKey, now
from airflow_provider_firstpromoter.parameters import Incremental
from airflow_provider_firstpromoter.pending.antijoin import FEW_UNSETTLED, few_rows, unsettled_rows, without_settled
from airflow_provider_firstpromoter.pending.rules import Action, PendingRules, classify_rows

log = logging.getLogger(__name__)

#: What a run that read only what is new writes into the run history, before the time.
READ_SINCE = "since "
#: By so much is the time of a zone behind UTC at most: a column without a zone may be of any.
BEHIND_UTC = timedelta(hours=12)


@dataclass(frozen=True)
class QueryReading:
    """
    One reading of a query: all of it, or what is new since the last complete run.

    :param run: the task run; None if it is none
    :param content: what else decides what is done with its rows; None finds the runs of all tasks with this query
    :param incremental: None reads everything
    """

    query: CallQuery
    ledger: Ledger
    run: RunKey | None = None
    recheck_unreferred: timedelta | None = None
    retry_rejected: bool = False
    identify_by: Sequence[Identity] = ("uid", "email")
    content: tuple[Any, ...] | None = None
    incremental: Incremental | None = None

    def key(self) -> str:
        """
        Return the keyed hashes by which a run of the same query is found: of the query, and of ``content``.

        Parameters can be private, so that they go into the ledger in no other form.
        """
        query, column = self.query, self.incremental and self.incremental.column
        parameters = query.parameters
        given = sorted(parameters.items()) if isinstance(parameters, Mapping) else list(parameters or ())
        of_query = self._hash(query.name, query.sql, given, query.call.name, column)
        return f"{of_query}:{self._hash(*self.content) if self.content is not None else ''}"

    def _hash(self, *parts: Any) -> str:
        text = repr(parts).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self.ledger.salt.encode()[:64], digest_size=8).hexdigest()

    def rows(self, say: Callable[[str], None]) -> Generator[Mapping[str, Any], None, None]:
        """
        Return the rows that may need handling, as :func:`.antijoin.unsettled_rows` does; close the iterator to end.

        :param say: called with what is read, ``all`` or ``since`` when, before the first row
        :raises InputError: if a column is missing or of no use, before the first row
        :raises SourceError: if the query's database refuses
        :raises LedgerError: if the ledger cannot be read
        """
        rows, since = None, None
        if self.incremental is not None:
            column = self._column(self.incremental.column)
            since = self._since(self.incremental)
            try:
                rows = _Part(self, column, column.bound_of(since)).rows() if since is not None else None
            except SourceError as error:
                # Some types of an event_id cannot be compared with one another. If the database is gone, that shows.
                log.warning("The query cannot be read in part, so all of it is read, which takes longer. %s", error)
        if rows is not None and since is not None:
            say(f"{READ_SINCE}{since.isoformat(timespec='seconds')}")
            yield from rows
            return
        say(READ_ALL)
        with closing(unsettled_rows(self.query, self.ledger, self.recheck_unreferred, self.identify_by)) as all_rows:
            yield from all_rows

    def rules(self) -> PendingRules:
        """Return the rules by which rows are settled; the ledger has its salt only once something was written."""
        return PendingRules(self.ledger.salt.encode(), self.recheck_unreferred, self.retry_rejected)

    def _since(self, incremental: Incremental) -> datetime | None:
        """
        Return since when to read what is new: shortly before the newest complete run started; None reads everything.

        A try of a task run that ended in an error reads no less than its earlier ones, whose problems it reports again.
        """
        history = RunHistory(self.ledger, self.run or RunKey())
        if incremental.full_scan or not self.ledger.exists() or not self.ledger.salt or not history.exists():
            return None
        c, latest = history.table.c, now()
        # A start that is still to come is of a clock that was wrong.
        same = and_(c.account == history.account, c.completed.startswith(self.key()), c.started_at <= latest)
        starts = select(func.max(c.started_at), func.max(case((c.read == READ_ALL, c.started_at)))).where(same)
        of_run = and_(history.of_this_run(), c.kind == "query", c.error.is_not(None), c.read.is_not(None))
        with history.reading() as connection:
            newest, newest_full = connection.execute(starts).one()
            tries = connection.execute(select(c.read).where(of_run)).scalars().all()
        before = tries if history.run.run_id is not None else []
        # A daily run that starts a little earlier than yesterday's must not leave it for another day.
        longest = incremental.full_scan_every - incremental.full_scan_every / 48
        if newest_full is None or latest - newest_full >= longest or READ_ALL in before:
            return None
        bounds: list[datetime] = [newest - incremental.lookback]
        return min(bounds + [datetime.fromisoformat(one.removeprefix(READ_SINCE)) for one in before])

    def _column(self, column: str) -> _Column:
        """
        Return the column; a run that reads everything checks it too.

        :raises InputError: if the column is missing, or holds no times
        """
        query = self.query
        if query.sql_around is None:
            raise InputError(
                f"Connection {query.name!r} leads to a database of whose queries no part can be read: leave out "
                f"incremental_column, which works with {INCREMENTAL_DATABASES}"
            )
        try:
            names = query.column_names()
            sql = column_of(query, column, names)
            values = query.sample(sql)
        except SourceError as error:
            raise SourceError(
                f"incremental_column={column!r} cannot be read. It has to be a column of a query that may stand in a "
                f"subquery. {error}"
            ) from None
        usable = [make for value in values if (make := _bound_like(value))]
        if values and not usable:
            raise InputError(
                f"incremental_column={column!r} of the query on connection {query.name!r} holds values of type "
                f"{type(values[0]).__name__} that are no times: it takes a timestamp, a date, or ISO 8601 text. Cast "
                "it in the query, under another name"
            )
        return _Column(sql, names, usable[0] if usable else lambda since: None)  # noqa: ARG005


def column_of(query: CallQuery, column: str, names: Sequence[str] | None) -> str:
    """
    Return a column of the subquery ``q`` as SQL.

    :raises InputError: if the query does not have it once
    """
    sql = query.sql_around
    assert sql is not None
    found = [name for name in names or (column,) if name.lower() == column.lower()]
    if len(found) != 1:
        how = "more than once" if found else f"not at all; it has {', '.join(names or ())}"
        raise InputError(f"The query on connection {query.name!r} has the column {column!r} {how}")
    return f"q.{sql.quote(found[0])}"


def _bound_like(value: object) -> Callable[[datetime], Any] | None:
    """
    Return what makes a bound of a column's own type; None if it holds no times.

    A date, and a text, stands for the beginning of its day, and so for all of its times.
    """
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            return lambda since: since
        return lambda since: (since - BEHIND_UTC).replace(tzinfo=None)
    if isinstance(value, date):
        return lambda since: (since - BEHIND_UTC).date()
    if isinstance(value, str):
        with suppress(ValueError):
            datetime.fromisoformat(value.strip())
            return lambda since: (since - BEHIND_UTC).date().isoformat()
    return None


class _Column(NamedTuple):
    """
    The column that says what is new.

    :param sql: its name in the subquery ``q``
    :param names: of all columns; None if the database cannot name them
    :param bound_of: makes a bound of its own type; None where no row has a value in it
    """

    sql: str
    names: Sequence[str] | None
    bound_of: Callable[[datetime], Any]


class _Part:
    """
    The rows of a query that are new, with all others of their events, and those of failed events.

    :param bound: of the column's own type; None where no row has a value in it
    """

    def __init__(self, reading: QueryReading, column: _Column, bound: Any) -> None:
        self._query, self._ledger, self._rules = reading.query, reading.ledger, reading.rules()
        self._identify_by = reading.identify_by
        self._bound = bound
        sql = self._query.sql_around
        assert sql is not None
        self._sql = sql
        self._names = column.names
        if self._names is not None:
            self._query.check_columns(self._names, self._identify_by)
        self._column = column.sql
        self._event_id = column_of(self._query, "event_id", self._names)
        self._is_beside = self._names is not None and self._query.name == self._ledger.name

    def rows(self) -> list[Mapping[str, Any]] | None:
        """Return the rows; None if they are so many that the query had better be read as a whole."""
        failed = self._ledger.failed(FEW_UNSETTLED + 1)
        if failed is None or (len(failed) > FEW_UNSETTLED and not self._is_beside):
            return None
        without_id: list[Mapping[str, Any]] = []
        events: dict[Any, str] = {}
        with closing(self._open(self._new())) as found:
            for row, mapping in found:
                if row.event_id is None:
                    without_id.append(mapping)  # it is no part of an event
                else:
                    events[row.values["event_id"]] = row.event_id
                if len(without_id) + len(events) > FEW_UNSETTLED:
                    return None
        of_events = self._take(self._of_events(list(events)))
        known = {event_id_of(row) for row in of_events}
        if not known.issuperset(events.values()):
            return None  # the database does not find an id that it has given, or the row has just gone
        of_failed = self._take(self._of_failed([one for one in failed if one not in known]))
        rows = [*without_id, *of_events, *(row for row in of_failed if event_id_of(row) not in known)]
        return rows if len(rows) <= FEW_UNSETTLED else None

    def _new(self) -> CallQuery:
        bind = self._binds()
        is_new = f"{self._column} >= {bind(self._bound)} OR " if self._bound is not None else ""
        return self._query.within(f"WHERE {is_new}{self._column} IS NULL", bind, self._names)

    def _of_events(self, event_ids: list[Any]) -> Iterator[CallQuery]:
        """The values are those that the query gave, so that an index of its table serves."""
        for chunk in batches(event_ids):
            bind = self._binds()
            yield self._query.within(f"WHERE {self._event_id} IN ({', '.join(map(bind, chunk))})", bind, self._names)

    def _of_failed(self, event_ids: list[str]) -> Iterator[CallQuery]:
        if event_ids and self._is_beside:
            sql, bind = self._ledger.sql_of_database(), self._binds()
            same = sql.same_key.format(column="l.event_id", value=sql.exact_text.format(self._event_id))
            yield self._query.within(
                f"JOIN {self._ledger.quoted_name} l ON l.account = {bind(self._ledger.account)} AND {same} "
                f"WHERE l.outcome = '{Outcome.FAILED.value}'",
                bind,
                self._names,
            )
            return
        for chunk in batches(event_ids):
            bind, text = self._binds(), self._sql.text.format(self._event_id)
            yield self._query.within(f"WHERE {text} IN ({', '.join(map(bind, chunk))})", bind, self._names)

    def _binds(self) -> Binds:
        return Binds(self._query.parameters, self._sql.placeholders)

    def _take(self, parts: Iterable[CallQuery]) -> list[Mapping[str, Any]]:
        """Return the rows of some parts, one more than are kept at most."""
        return list(islice(chain.from_iterable(map(self._read, parts)), FEW_UNSETTLED + 1))

    def _read(self, part: CallQuery) -> Generator[Mapping[str, Any], None, None]:
        """Return the rows of a part; in the ledger's own database without the settled ones."""
        if self._is_beside:
            assert self._names is not None
            names = [self._names[place] for place in self._query.places(self._names)]
            joined = without_settled(part, self._ledger, names, self._rules.recheck_unreferred)
            yield from few_rows(joined, self._identify_by)
        else:
            yield from part.rows(self._identify_by)

    def _open(self, part: CallQuery) -> Generator[tuple[Row, Mapping[str, Any]], None, None]:
        """Return the rows of a part that need handling."""
        with closing(self._read(part)) as mappings:
            for batch in batches(mappings):
                rows = numbered(batch, self._query.call)
                classified = classify_rows(rows, self._ledger, self._rules, commissions=False)
                for mapping, (row, action, record) in zip(batch, chain.from_iterable(classified), strict=True):
                    if action is not Action.SETTLED or self._rules.needs_renewal(row, record):
                        yield row, mapping
