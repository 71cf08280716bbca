"""
A private place on disk for the rows of a run.

A rate-limited run lasts hours, and the warehouse's transaction must not: so the rows are read at once, and sent from
here, event by event, in the order in which a run sends them: the rows of one event_id as a :class:`Group`, of which
:func:`~airflow_provider_firstpromoter.sync.plan.job_of` makes a :class:`Job`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from airflow_provider_firstpromoter.calls import (
    Call,
    Identity,
    Outcome,
    Row,
    TrackedEvent,
    batches,
    content_token,
)
from airflow_provider_firstpromoter.database import ScratchDatabase
from airflow_provider_firstpromoter.ledger import LedgerRecord
from airflow_provider_firstpromoter.pending import SENDING, Action, ClassifiedRow

#: A row that is settled comes after those of its event_id that are sent, and after its problems.
SETTLED = len(SENDING) + 1
#: Different rows of one event_id that can still be one event: as many addresses of a customer are tried.
MOST_ROWS = 5
SCHEMA = """
CREATE TABLE spool (
    position INTEGER PRIMARY KEY,
    event TEXT,  -- the event_id; unique for a row without one
    rank INTEGER,  -- of its action among those that send; then problems, then what is settled
    tried_at TEXT,  -- when it was last sent: the longest ago comes first
    uid TEXT,
    content TEXT,
    happened_at TEXT,
    row TEXT
);
CREATE TABLE reported (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
#: In the order of a run: what needs no request comes first. SQLite takes the columns without aggregate from the row
#: that has the minimum: the first of those of the least rank.
EVENTS = f"""
CREATE TABLE event AS
SELECT event, first, rows, uids, uid, refused, iif(refused OR least >= {len(SENDING)}, NULL, least) AS rank FROM (
    SELECT *, least < {len(SENDING)} AND (uids > 1 OR contents > {MOST_ROWS}) AS refused FROM (
        SELECT *,
            iif(rows = 1, 1, (SELECT count(DISTINCT uid) FROM spool {{open}})) AS uids,
            iif(rows = 1, 1, (SELECT count(DISTINCT content) FROM spool {{open}})) AS contents
        FROM (
            SELECT event, min(rank) AS least, first, sum(rows) AS rows, tried_at, uid FROM (
                SELECT event, rank, min(position) AS first, count(*) AS rows, tried_at, uid
                FROM spool GROUP BY event, rank)
            GROUP BY event) AS one))
ORDER BY iif(refused OR least >= {len(SENDING)}, NULL, least), tried_at, first
""".format(open=f"WHERE spool.event = one.event AND spool.rank < {SETTLED}")


class Group(NamedTuple):
    """
    The rows of one event_id; nearly always one.

    :param action: of the first of its rows, which is sent; None if nothing is sent
    :param rows: at most :data:`MOST_ROWS`, each of another content; those that are sent come first
    :param total: how many rows the input has
    :param refused: why none may be sent although one could; None if there is no such reason
    """

    action: Action | None
    rows: list[Row]
    total: int = 1
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """
    An event that is to be sent.

    :param record: what the ledger has of it; None if nothing
    :param action: what the run selected it for; None if it selected it for another reason than to send it
    :param alternatives: further rows of the event_id that differ in the e-mail alone
    :param others: further rows of the event_id that differ in anything else
    :param refused: those of its rows that cannot be sent: the ledger remembers their contents with the job's outcome
    """

    row: Row
    event: TrackedEvent
    record: LedgerRecord | None = None
    action: Action | None = Action.SEND
    alternatives: tuple[tuple[Row, TrackedEvent], ...] = ()
    others: tuple[Row, ...] = ()
    refused: tuple[Row, ...] = ()

    def rows(self) -> Iterator[Row]:
        """Return the rows that wait for this job."""
        yield self.row
        yield from (row for row, _ in self.alternatives)
        yield from self.others

    @property
    def is_recheck(self) -> bool:
        """Whether it was not referred before, and has not changed."""
        return self.action is Action.RECHECK

    @property
    def was_unmatched(self) -> bool:
        """Whether a request of an earlier run was answered with 204 or 404."""
        if self.record is None or self.record.first_sent_at is None:
            return False
        return bool(self.record.unmatched) or self.record.outcome is not Outcome.FAILED

    @property
    def was_lost(self) -> bool:
        """Whether the response to a request of an earlier run was lost."""
        return self.record is not None and self.record.first_sent_at is not None and bool(self.record.lost)

    def may_be_unmatched(self, identify_by: Sequence[Identity]) -> bool:
        """Return whether one of its requests may have been answered with 204 or 404, when the last response is lost."""
        return bool(self.alternatives) or len(self.event.identities(identify_by)) > 1 or self.was_unmatched


class Spool:
    """
    Rows on disk, in groups of one event_id.

    :param call: what the rows are
    :param raise_if_killed: called often enough that no statement outlasts a kill
    """

    def __init__(self, call: Call, raise_if_killed: Callable[[], None] = lambda: None) -> None:
        self._call = call
        self._database = ScratchDatabase(SCHEMA, raise_if_killed)

    def fill(self, rows: Iterable[ClassifiedRow]) -> None:
        """Store the rows; call this once."""
        for batch in batches(rows):
            self._database.insert("INSERT INTO spool VALUES (?, ?, ?, ?, ?, ?, ?, ?)", map(_values, batch))
        self._database.run("CREATE INDEX by_event ON spool (event, rank, position, tried_at, uid, content)")
        self._database.run(EVENTS)

    def __len__(self) -> int:
        return self._count("SELECT count(*) FROM spool")

    @property
    def pending(self) -> int:
        """How many events would be sent."""
        return self._count("SELECT count(*) FROM event WHERE rank IS NOT NULL")

    @property
    def most_of_one_uid(self) -> int:
        """How many of the events that would be sent name the same uid, at most."""
        return self._count(
            "SELECT coalesce(max(n), 0) FROM "
            "(SELECT count(*) AS n FROM event WHERE rank IS NOT NULL AND uid IS NOT NULL GROUP BY uid)"
        )

    def ages(self, before: datetime) -> tuple[datetime | None, int]:
        """Return when the oldest event happened that would be sent for the first time, and how many did before."""
        sql = "FROM event JOIN spool ON position = first WHERE event.rank = 0 AND happened_at IS NOT NULL"
        ((oldest, count),) = self._database.read(f"SELECT min(happened_at), sum(happened_at < ?) {sql}", _text(before))
        return oldest and datetime.fromisoformat(oldest), count or 0

    def count_recent(self, since: datetime) -> int:
        """Return how many events that would be sent, rechecks left out, happened since then or do not say when."""
        recent = "JOIN spool ON position = first WHERE event.rank IN (0, 1) AND coalesce(happened_at > ?, TRUE)"
        ((count,),) = self._database.read(f"SELECT count(*) FROM event {recent}", _text(since))
        return int(count)

    def groups(self) -> Iterator[Group]:
        """Return the events in the order of a run, each with its rows."""
        columns = "event.event, event.rank, first, rows, uids, refused, row"
        events = f"SELECT {columns} FROM event JOIN spool ON position = first ORDER BY event.rowid"
        several = "SELECT min(position), row FROM spool WHERE event = ? GROUP BY content ORDER BY rank, 1 LIMIT ?"
        for event, rank, first, count, uids, refused, text in self._database.read(events):
            rows = [(first, text)]
            if count > 1 and not refused:
                rows = list(self._database.read(several, event, MOST_ROWS))
            yield Group(
                None if rank is None else SENDING[rank],
                [self._row(*row) for row in rows],
                count,
                _refusal(count, uids) if refused else None,
            )

    def __iter__(self) -> Iterator[Row]:
        """Return all rows, in the order of the input."""
        for position, text in self._database.read("SELECT position, row FROM spool ORDER BY position"):
            yield self._row(position, text)

    def note_reported(self, event_ids: Iterable[str]) -> None:
        """Remember problems that this run is the first to report."""
        self._database.insert("INSERT OR IGNORE INTO reported VALUES (?)", [(event_id,) for event_id in event_ids])

    def reported(self) -> Iterator[str]:
        """Return the event_ids of the problems that this run is the first to report."""
        return (event_id for (event_id,) in self._database.read("SELECT event_id FROM reported"))

    def _row(self, position: int, text: str) -> Row:
        return Row.read(position, json.loads(text), self._call)

    def _count(self, sql: str) -> int:
        ((count,),) = self._database.read(sql)
        return int(count)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.__exit__()


def _values(one: ClassifiedRow) -> tuple[Any, ...]:
    row, action, record = one
    portable = row.portable()
    uid = portable.get("uid")
    return (
        row.position,
        row.event_id or f"\1{row.position}",  # no event_id has a control character
        _rank(action),
        _text(record.last_sent_at) if record else None,
        json.dumps(str(uid)) if uid not in (None, "") else None,  # it may hold half a surrogate pair
        content_token(row.values, b""),
        _text(row.happened_at),
        json.dumps(portable),
    )


def _rank(action: Action) -> int:
    if action in SENDING:
        return SENDING.index(action)
    return SETTLED if action is Action.SETTLED else len(SENDING)


def _refusal(count: int, uids: int) -> str:
    what = f"name {uids} different uids" if uids > 1 else f"differ in more than {MOST_ROWS} ways"
    return f"{count} rows have this event_id and {what}: does a join lack its condition? None of them was sent"


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
