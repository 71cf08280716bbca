"""
Tasks that are killed while they send refunds for the first time and again, against a server that makes the truth hard
to see: its listing lags and fails, responses are lost, and it may look for the lead before the event_id.

When the faults are over, one clean run and one reconciliation must leave no refund lost, recorded twice or with a wrong
outcome.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests import customers
from tests.end_to_end.processes import FAILED, STOPPED, TaskServer
from tests.end_to_end.scenario import Scenario

#: ``make soak`` sets others. The seed decides where the kills fall; how far the threads are by then, it does not.
SEED = int(os.environ.get("SEED", "20240"))
COUNT = 280
KILLS = 3
RECHECK_DAYS = 30
LISTING = "/company/commissions"
REFUND = "/track/refund"


class RecheckScenario(Scenario):
    """A warehouse with the refunds of every kind of customer; see :mod:`tests.customers`."""

    short_waits = True

    def fill(self) -> None:
        self.warehouse.fill(customers.refunds(COUNT))
        self.sandbox.add_leads(customers.leads(COUNT))

    def make_trouble(self, chance: random.Random) -> None:
        """Let the listing lag and fail, and lose some responses."""
        self.sandbox.change_settings(
            listing_lag_requests=chance.randrange(5, 60),
            listing_lag_seconds=chance.uniform(0, 2),
            shape=chance.choice(["older", "newer"]),
        )
        faults: tuple[dict[str, Any], ...] = (
            {"kind": "status", "status": 503, "path": LISTING, "probability": 0.05},
            {"kind": "status", "status": 403, "message": "Forbidden", "code": "forbidden", "path": LISTING},
            {"kind": "html", "status": 403, "path": LISTING},
            {"kind": "changed_item", "item": {"id": None}, "path": LISTING},
            {"kind": "stray_item", "item": chance.choice([None, 7, "text", ["list"]])},
            {"kind": "reset_after", "path": REFUND, "probability": 0.02},
            {"kind": "status", "status": 503, "recorded": True, "path": REFUND, "probability": 0.02},
            {"kind": "latency", "seconds": 0.001, "max_seconds": 0.01, "probability": 0.5},
        )
        for fault in faults:
            self.sandbox.fault(**{"times": None, "probability": 0.03, **fault})

    def end_trouble(self) -> None:
        self.sandbox.change_settings(listing_lag_requests=0, listing_lag_seconds=0)
        self.sandbox.clear_faults()

    def run_with_kills(self, chance: random.Random, run_id: str) -> None:
        """Kill a run at random points, and let its last try run to its end, red or green."""
        for _ in range(KILLS):
            process = self.start(run_id=run_id, recheck_unreferred=RECHECK_DAYS)
            self.wait_for_requests(self.request_count() + chance.randint(1, COUNT), process)
            time.sleep(chance.uniform(0, 0.02))
            process.kill(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            assert process.wait() in (-signal.SIGKILL, -signal.SIGTERM, STOPPED, FAILED, 0), self.log()
        assert self.start(run_id=run_id, recheck_unreferred=RECHECK_DAYS).wait() in (0, FAILED), self.log()


@pytest.fixture
def scenario(
    sandbox: Sandbox, warehouse: Any, connect: Callable[..., str], tmp_path: Path, tasks: TaskServer
) -> RecheckScenario:
    connect(ledger_conn_id="warehouse", max_attempts=2)
    return RecheckScenario(sandbox, warehouse, tmp_path, tasks)


@pytest.mark.parametrize("lead_first", [False, True], ids=["event_first", "lead_first"])
def test_task_killed_during_rechecks_ends_with_true_outcomes_after_one_run_and_one_reconcile(
    scenario: RecheckScenario, lead_first: bool
) -> None:
    chance = random.Random(f"{SEED} {lead_first}")
    scenario.sandbox.change_settings(lead_first=lead_first)
    scenario.fill()
    scenario.make_trouble(chance)
    scenario.run_with_kills(chance, "first")
    customers.arrive_late(scenario.sandbox, COUNT)
    customers.age_ledger(scenario.warehouse, days=2)
    scenario.run_with_kills(chance, "recheck")
    scenario.end_trouble()

    assert scenario.start(run_id="clean", recheck_unreferred=RECHECK_DAYS).wait() == 0, scenario.log()
    assert scenario.start(operator="reconcile", run_id="clean").wait() == 0, scenario.log()

    customers.check_audit(scenario.sandbox, scenario.warehouse, customers.truth(COUNT))
    recorded = scenario.sandbox.recorded()
    assert scenario.start(run_id="last", recheck_unreferred=RECHECK_DAYS).wait() == 0, scenario.log()
    assert scenario.sandbox.recorded() == recorded
    assert scenario.temporary_files() == []
