"""Runs of a Sync as the operators make them, for the tests in this folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from airflow_provider_firstpromoter.calls import REFUND, SALE, Result, Row, Summary, numbered
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, LedgerRecord, RunHistory, RunKey
from airflow_provider_firstpromoter.sandbox import RecordedEvent, Sandbox
from airflow_provider_firstpromoter.sync import Sync, SyncOptions

#: Three letters, so it passes our validation; FirstPromoter does not know it and answers 400.
UNKNOWN_CURRENCY = "ZZZ"


#: What every request of a broken API meets.
EVERY_TIME: dict[str, Any] = {"times": None}

#: Where the commissions are read.
LISTING = "/company/commissions"
#: What a server answers that looks for the lead before the event_id and does not find it.
NOT_FOUND: dict[str, Any] = {
    "kind": "status",
    "status": 404,
    "message": "Referral not found",
    "code": "not_found",
    "path": "/track/refund",
}


@dataclass
class Run:
    """A run that is over, and what it handed on."""

    sync: Sync
    #: By position in the input; a repeated row has none.
    results: dict[int, Result] = field(default_factory=dict)

    def start(self, given: Iterable[Mapping[str, Any]], as_query: bool = False) -> None:
        try:
            self.sync.run(numbered(given, self.sync.options.call), on_result=self._take, report_settled=not as_query)
        finally:
            self.results = dict(sorted(self.results.items()))

    def _take(self, row: Row, result: Result) -> None:
        self.results[row.position] = result

    @property
    def summary(self) -> Summary:
        """The summary of this try."""
        return self.sync.summary

    @property
    def outcomes(self) -> dict[str, int]:
        return {outcome.value: count for outcome, count in self.summary.outcomes.items() if count}


class Refunds:
    """An account, its ledger and its FirstPromoter: runs a sync as the operators do, with all objects fresh."""

    call = REFUND

    def __init__(self, sandbox: Sandbox, connect: Callable[..., str], ledger_conn_id: str) -> None:
        self.sandbox = sandbox
        self.connect = connect
        self.ledger_conn_id = ledger_conn_id
        self.seen = 0
        self.number = 0

    def refer(self, count: int) -> None:
        """Let FirstPromoter know ``cus_0``, ``cus_1`` and so on as referred customers who bought."""
        self.sandbox.add_leads({"uid": f"cus_{number}", "email": f"c{number}@example.com"} for number in range(count))

    @property
    def ledger(self) -> Ledger:
        hook = FirstPromoterHook()
        return Ledger.required(hook.account, self.ledger_conn_id, call=self.call)

    def make(self, run_id: str | None = None, task_id: str = "task", try_number: int = 1, **options: Any) -> Sync:
        """
        Return a run that has not begun.

        :param run_id: of the DAG run; by default each run is of another one
        :param options: those of :class:`SyncOptions`
        """
        self.number += 1
        run = RunKey("dag", run_id or f"run_{self.number}", task_id, -1)
        return Sync(FirstPromoterHook(), self.ledger, SyncOptions(self.call, **options), run, try_number=try_number)

    def __call__(self, *given: Mapping[str, Any], as_query: bool = False, **options: Any) -> Run:
        """
        Run to the end.

        :param as_query: whether settled events are only counted as skipped, as those of a query are
        :param options: as :meth:`make` takes them
        """
        run = Run(self.make(**options))
        run.start(given, as_query)
        return run

    def sent(self) -> list[str]:
        """The event_ids of the requests since this was last asked, in the order in which they came."""
        requests = self.sandbox.tracking_requests(self.call.name, after=self.seen)
        self.seen += len(requests)
        return [request.body["event_id"] for request in requests]

    def recorded(self) -> list[RecordedEvent]:
        """What FirstPromoter has recorded of the call."""
        return self.sandbox.recorded(self.call.name)

    def stored(self) -> dict[str, str]:
        """The ledger: each event_id's outcome."""
        return {event_id: record.outcome.value for event_id, record in self.records().items()}

    def records(self) -> dict[str, LedgerRecord]:
        """All of the account's ledger, by event_id."""
        ledger = self.ledger
        if not ledger.exists():
            return {}
        with ledger.engine.connect() as connection:
            event_ids = connection.execute(select(ledger.table.c.event_id)).scalars().all()
        assert len(set(event_ids)) == len(event_ids)
        return ledger.find(event_ids)

    def history(self) -> list[dict[str, Any]]:
        """The run history, oldest first: each try's columns."""
        table = RunHistory(self.ledger, RunKey()).table
        with self.ledger.engine.connect() as connection:
            rows = connection.execute(select(table).order_by(table.c.started_at, table.c.run_id, table.c.try_number))
            return [dict(row._mapping) for row in rows]

    def let_days_pass(self, days: float) -> None:
        """Make everything in the ledger older."""
        ledger, c = self.ledger, self.ledger.table.c
        with ledger.engine.begin() as connection:
            for event_id, first, last in connection.execute(
                select(c.event_id, c.first_sent_at, c.last_sent_at).where(c.first_sent_at.is_not(None))
            ).all():
                connection.execute(
                    update(ledger.table)
                    .where(ledger.table.c.event_id == event_id)
                    .values(first_sent_at=first - timedelta(days=days), last_sent_at=last - timedelta(days=days))
                )


class Sales(Refunds):
    """The same for sales."""

    call = SALE


def cancelled_when(sync: Sync, ready: Callable[[], bool]) -> Callable[[], float]:
    """
    Cancel a run from another thread as soon as it is ready for it.

    :returns: asked when the run is over, how many seconds that took
    """
    at: list[float] = []

    def cancel() -> None:
        deadline = time.monotonic() + 20
        while not ready() and time.monotonic() < deadline:
            time.sleep(0.02)
        at.append(time.monotonic())
        sync.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()

    def since() -> float:
        over = time.monotonic()
        thread.join()
        return over - at[0]

    return since


on_both = pytest.mark.parametrize("track", ["sqlite", "postgresql"], indirect=True)


A_MONTH = timedelta(days=30)
