"""
Random histories of a warehouse that is read incrementally: nothing is lost, and what is on time is not late.

Rows come late, without a time, in the time of another zone, by a clock that differs, or as a backfill of old dates;
runs are limited, killed, preceded by another in the middle, or meet a broken API. Set SEED for another start.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_firstpromoter.database import CallQuery, Source
from airflow_provider_firstpromoter.ledger import store
from airflow_provider_firstpromoter.parameters import Incremental
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sync import Sync
from tests.support import refund
from tests.sync.histories import killed_at_flush
from tests.sync.runs import Refunds

SEED = int(os.environ.get("SEED", "1"))
COUNT = int(os.environ.get("HISTORIES", "12"))
PLACES = ("sqlite", "postgresql", "elsewhere")
HISTORIES = [(SEED + number, PLACES[number % 3]) for number in range(COUNT)]

LOOKBACK = timedelta(days=2)
FULL_SCAN_EVERY = timedelta(days=1)
#: By so much the warehouse's clock may differ from the worker's.
SKEW = timedelta(hours=3)
#: How a database writes the time of a row: the type of the column, and a zone's distance from UTC where it has none.
COLUMNS: dict[str, list[tuple[str, int | None]]] = {
    "sqlite": [("VARCHAR(40)", 0), ("VARCHAR(40)", -11), ("VARCHAR(40)", 13)],
    "postgresql": [("TIMESTAMPTZ", None), ("TIMESTAMP", 0), ("TIMESTAMP", -11), ("TIMESTAMP", 13), ("DATE", 0)],
}


class History:
    """The life of one warehouse, drawn from a seed."""

    def __init__(
        self, seed: int, place: str, track: Refunds, warehouse: Any, move_clock: Callable[[float], None], patch: Any
    ) -> None:
        self.random = random.Random(seed)
        self.track, self.warehouse, self.move_clock, self.patch = track, warehouse, move_clock, patch
        self.is_beside = place != "elsewhere"
        self.type, self.zone = self.random.choice(COLUMNS[warehouse.kind])
        self.skew = timedelta(seconds=self.random.uniform(-1, 1) * SKEW.total_seconds())
        self.log: list[str] = []
        #: When each row became visible, and whether its column says so; by event_id.
        self.rows: dict[str, tuple[datetime, bool]] = {}
        self.reads: Counter[str] = Counter()
        self.load(None, is_on_time=False)

    @property
    def time(self) -> datetime:
        return store.now()

    # --- the warehouse ---

    def load(self, loaded_at: datetime | None, *, is_on_time: bool, **values: Any) -> None:
        event_id = f"re_{len(self.rows)}"
        cell: Any = None
        if loaded_at is not None:
            moment = loaded_at + self.skew
            if self.zone is not None:
                moment = moment.astimezone(timezone(timedelta(hours=self.zone))).replace(tzinfo=None)
            cell = moment.date() if self.type == "DATE" else moment
            cell = str(cell) if self.warehouse.kind == "sqlite" else cell
        row = refund(len(self.rows), event_id=event_id, uid=f"cus_{self.random.randrange(10)}", **values)
        self.warehouse.fill([{**row, "loaded_at": cell}], loaded_at=self.type)
        self.rows[event_id] = (self.time, is_on_time)

    def new_rows(self) -> None:
        for _ in range(self.random.randrange(1, 4)):
            self.load(self.time, is_on_time=True)

    def slow_row(self) -> None:
        """Later than others, and within the lookback."""
        self.load(self.time - self.random.random() * (LOOKBACK - SKEW), is_on_time=True)

    def late_row(self) -> None:
        self.load(self.time - LOOKBACK - timedelta(days=self.random.randrange(2, 9)), is_on_time=False)

    def backfill(self) -> None:
        for _ in range(3):
            self.load(datetime(2019, 1, 1, tzinfo=UTC) + timedelta(days=self.random.randrange(900)), is_on_time=False)

    def row_without_a_time(self) -> None:
        self.load(None, is_on_time=True)

    def bad_row(self) -> None:
        self.load(self.time, is_on_time=True, amount=0)

    # --- the world ---

    def let_time_pass(self) -> None:
        self.move_clock(self.random.choice([600, 3600, 4 * 3600, 11 * 3600, 30 * 3600]))

    def break_something(self) -> None:
        event_ids = self.random.sample(sorted(self.rows), min(4, len(self.rows)))
        kind: Any = self.random.choice(
            [{"kind": "status", "status": 500}, {"kind": "reset_after"}, {"kind": "html", "status": 403}]
        )
        self.track.sandbox.fault(**kind, event_id=event_ids, times=self.random.randrange(1, 4), path="/track/refund")

    def mend(self) -> None:
        self.track.sandbox.clear_faults()

    # --- runs ---

    def make(self, **options: Any) -> tuple[Sync, CallQuery]:
        ledger = self.track.ledger
        how = Incremental("loaded_at", LOOKBACK, FULL_SCAN_EVERY)
        sync = self.track.make(incremental=how, max_rejected=None, **options)
        name = ledger.name if self.is_beside else "warehouse"
        return sync, CallQuery(Source.from_engine(self.warehouse.engine(), name), "SELECT * FROM refunds")

    def run(self, **options: Any) -> Sync:
        sync, query = self.make(max_in_flight=self.random.choice([1, 4]), **options)
        started, is_calm = self.time, not self.track.sandbox.faults.active()
        sync.run_query(query)
        self.reads[str(sync.summary.read).partition(" ")[0]] += 1
        self._check(sync, started, is_calm)
        return sync

    def run_with_a_limit(self) -> None:
        self.run(limit=self.random.randrange(1, 4))

    def preview(self) -> None:
        before = self.track.history() if self.track.ledger.exists() else []
        self.run(preview=True)
        assert (self.track.history() if self.track.ledger.exists() else []) == before

    def run_and_kill(self) -> None:
        """SIGKILL at a random flush."""
        with killed_at_flush(self.patch, self.random.randrange(1, 3), results=2):
            sync, query = self.make()
            sync.run_query(query)

    def two_runs_at_once(self) -> None:
        """Rows come, and another run begins and ends, when the first has read and not yet sent."""
        sync, query = self.make()
        real = Sync._announce

        def announce(one: Sync, *args: Any) -> None:
            if one is sync:
                self.move_clock(1800)
                self.new_rows()
                self.late_row()
                self.run()
            real(one, *args)

        with self.patch.context() as patch:
            patch.setattr(Sync, "_announce", announce)
            sync.run_query(query)

    def _check(self, sync: Sync, started: datetime, is_calm: bool) -> None:
        """After a complete run, what it could see is handled: all of it, or what its column says in time."""
        summary = sync.summary
        if summary.preview or summary.left_pending or summary.stopped_because:
            return
        stored = self.track.stored()
        due = {
            event_id
            for event_id, (visible, is_on_time) in self.rows.items()
            if visible <= started and (is_on_time or summary.read == "all")
        }
        assert due <= stored.keys(), f"{due - stored.keys()} left by a run that read {summary.read}; {self.log}"
        if is_calm:
            assert "failed" not in stored.values(), f"a failed one is left; {self.log}"

    def live(self) -> None:
        steps: list[tuple[Callable[[], Any], int]] = [
            (self.run, 9),
            (self.run_with_a_limit, 2),
            (self.run_and_kill, 3),
            (self.two_runs_at_once, 2),
            (self.preview, 1),
            (self.new_rows, 6),
            (self.slow_row, 4),
            (self.late_row, 3),
            (self.backfill, 1),
            (self.row_without_a_time, 2),
            (self.bad_row, 1),
            (self.let_time_pass, 7),
            (self.break_something, 3),
            (self.mend, 2),
        ]
        for _ in range(25):
            (step,) = self.random.choices([step for step, _ in steps], [weight for _, weight in steps])
            self.log.append(step.__name__)
            step()


@pytest.mark.parametrize(("seed", "place"), HISTORIES)
def test_no_history_loses_a_refund_and_each_late_one_is_sent_by_the_next_full_scan(
    seed: int,
    place: str,
    sandbox: Sandbox,
    connect: Callable[..., str],
    new_database: Callable[..., Any],
    move_clock: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect(max_attempts=1)
    kind = "sqlite" if place == "sqlite" else "postgresql"
    ledger = new_database(kind, "ledger")
    warehouse = ledger if place != "elsewhere" else new_database(random.Random(seed).choice(PLACES[:2]), "warehouse")
    track = Refunds(sandbox, connect, ledger.conn_id)
    track.refer(10)
    history = History(seed, place, track, warehouse, move_clock, monkeypatch)
    history.live()

    history.mend()
    # No full scan is due later than this, whatever happened.
    move_clock(FULL_SCAN_EVERY.total_seconds())
    last = history.run()
    assert last.summary.read == "all"

    story = f"seed {seed}, {place}, {history.type}, {history.zone}: {history.log}"
    recorded = [one.event_id for one in sandbox.recorded()]
    assert len(recorded) == len(set(recorded)), story
    stored = track.stored()
    usable = {event_id for event_id in history.rows if stored.get(event_id) != "rejected"}
    assert set(recorded) == usable, f"lost: {usable - set(recorded)}; {story}"
    assert stored.keys() == history.rows.keys(), story
    # And nothing is sent twice: what follows is read in part, and sends nothing.
    track.sent()
    again = history.run()
    assert (str(again.summary.read).partition(" ")[0], track.sent()) == ("since", []), story
