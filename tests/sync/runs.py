"""Runs of a RefundSync as the operators make them, for the tests in this folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger, RunKey
from airflow_provider_firstpromoter.refunds import Result, Summary, numbered
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sync import RefundSync, SyncOptions

#: Three letters, so it passes our validation; FirstPromoter does not know it and answers 400.
UNKNOWN_CURRENCY = "ZZZ"


#: What every request of a broken API meets.
EVERY_TIME: dict[str, Any] = {"times": None}


@dataclass
class Run:
    """A run that is over, and what it handed on."""

    sync: RefundSync
    summary: Summary
    #: By position in the input; a repeated row has none.
    results: dict[int, Result] = field(default_factory=dict)

    @property
    def outcomes(self) -> dict[str, int]:
        return {outcome.value: count for outcome, count in self.summary.outcomes.items() if count}


class Refunds:
    """An account, its ledger and its FirstPromoter: runs a sync as the operators do, with all objects fresh."""

    def __init__(self, sandbox: Sandbox, connect: Callable[..., str], ledger_conn_id: str) -> None:
        self.sandbox = sandbox
        self.connect = connect
        self.ledger_conn_id = ledger_conn_id
        self.seen = 0

    def refer(self, count: int) -> None:
        """Let FirstPromoter know ``cus_0``, ``cus_1`` and so on as referred customers who bought."""
        self.sandbox.add_leads({"uid": f"cus_{number}", "email": f"c{number}@example.com"} for number in range(count))

    @property
    def ledger(self) -> RefundLedger:
        hook = FirstPromoterHook()
        return RefundLedger.required(hook.account, self.ledger_conn_id)

    def make(self, **options: Any) -> RefundSync:
        hook = FirstPromoterHook()
        ledger = RefundLedger.required(hook.account, self.ledger_conn_id)
        return RefundSync(hook, ledger, SyncOptions(**options), RunKey("dag", "run", "task", -1))

    def __call__(self, *given: Mapping[str, Any], **options: Any) -> Run:
        sync = self.make(**options)
        run = Run(sync, sync.summary)
        results: dict[int, Result] = {}
        sync.run(
            numbered(given),
            on_result=lambda row, result: results.update({row.position: result}),
            report_settled=True,
        )
        run.results.update(sorted(results.items()))
        return run

    def sent(self) -> list[str]:
        """The event_ids of the requests since this was last asked, in the order in which they came."""
        requests = self.sandbox.refund_requests(after=self.seen)
        self.seen += len(requests)
        return [request.body["event_id"] for request in requests]

    def stored(self) -> dict[str, str]:
        """The ledger: each event_id's outcome."""
        ledger = self.ledger
        if not ledger.exists():
            return {}
        with ledger.engine.connect() as connection:
            rows = connection.execute(select(ledger.table.c.event_id, ledger.table.c.outcome)).all()
        assert len({event_id for event_id, _ in rows}) == len(rows)
        return {event_id: outcome.value for event_id, outcome in rows}

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


on_both = pytest.mark.parametrize("track", ["sqlite", "postgresql"], indirect=True)


A_MONTH = timedelta(days=30)
