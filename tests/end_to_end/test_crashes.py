"""Tasks that are killed at random points, again and again: no refund is lost, recorded twice, or left behind."""

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
from airflow_provider_firstpromoter.sync.recorder import FLUSH_EVERY_RESULTS
from tests.end_to_end.processes import STOPPED, TaskServer
from tests.end_to_end.scenario import Scenario
from tests.support import REFUNDS_WITH_REWARDS, ledger_outcomes, refunds

#: ``make soak`` sets others. The seed decides where the kills fall; how far the threads are by then, it does not.
SEED = int(os.environ.get("SEED", "20240"))
IN_FLIGHT = 8
#: Rows that are rejected, and so large that the spool needs its file on disk.
LARGE = 12
#: Seconds after its SIGTERM in which Airflow sends SIGKILL.
UNTIL_SIGKILL = 5


class CrashScenario(Scenario):
    """A warehouse whose refunds belong to referred customers in two of three cases."""

    count = 0

    def fill(self, count: int) -> None:
        self.count = count
        self.warehouse.fill(refunds(count, digits=5), email="TEXT")
        # They have no event_id and are rejected, but have to go into the spool, to be counted.
        self.warehouse.fill([{"amount": 1, "email": "x" * 400_000} for _ in range(LARGE)])
        self.sandbox.add_leads({"uid": f"cus_{n}"} for n in range(count) if n % 3)
        self.sandbox.fault("latency", times=None, seconds=0.001, max_seconds=0.01, probability=0.5)

    def ledger(self) -> dict[str, str]:
        return ledger_outcomes(self.warehouse)

    def written(self) -> int:
        """Return how many refunds that can be sent the ledger has."""
        return sum(event_id.startswith("re_") for event_id in self.ledger())

    def check(self, *, killed: bool = True) -> None:
        """Check that the audit and the ledger agree: each refund recorded once, and none missing."""
        recorded = [refund.event_id for refund in self.sandbox.recorded()]
        assert len(recorded) == len(set(recorded)), "a refund was recorded twice"
        assert set(recorded) == {f"re_{n:05}" for n in range(self.count) if n % 3}, "refunds were lost"
        ledger = self.ledger()
        # The rows without an event_id are all the same: the ledger remembers their content, once.
        nameless = [event_id for event_id in ledger if event_id.startswith("(no event_id) ")]
        assert [ledger.pop(event_id) for event_id in nameless] == ["rejected"]
        assert set(ledger) == {f"re_{n:05}" for n in range(self.count)}
        by_outcome: dict[str, set[str]] = {}
        for event_id, outcome in ledger.items():
            by_outcome.setdefault(outcome, set()).add(event_id)
        assert by_outcome.pop("not_referred") == {f"re_{n:05}" for n in range(0, self.count, 3)}
        assert by_outcome.keys() <= {"recorded", "already_recorded"}
        # On a slow machine a response can be lost without a kill: its commission is then found, with the reward.
        known = "outcome = 'recorded'" if killed else "outcome IN ('recorded', 'already_recorded')"
        stored = self.warehouse.run(f"SELECT event_id, reward_id FROM {REFUNDS_WITH_REWARDS} WHERE {known}")
        rewards = {refund.event_id: refund.reward_id for refund in self.sandbox.recorded()}
        assert all(rewards[event_id] == reward_id for event_id, reward_id in stored)
        assert self.temporary_files() == []


@pytest.fixture
def scenario(
    sandbox: Sandbox, warehouse: Any, connect: Callable[..., str], tmp_path: Path, tasks: TaskServer
) -> CrashScenario:
    connect(ledger_conn_id="warehouse")
    return CrashScenario(sandbox, warehouse, tmp_path, tasks)


def test_task_killed_repeatedly_sends_the_rest_and_records_each_refund_once(scenario: CrashScenario) -> None:
    """SIGKILL at random points, before and after results are written; at most one flush's worth is lost each time."""
    scenario.fill(1200)
    chance = random.Random(SEED)
    unwritten = FLUSH_EVERY_RESULTS + IN_FLIGHT
    spooled = False
    for first, last in [(1, unwritten), (unwritten + 1, 900), (1, unwritten), (1, unwritten)]:
        requested, known = scenario.request_count(), scenario.written() if scenario.request_count() else 0
        process = scenario.start()
        scenario.wait_for_requests(requested + chance.randint(first, last), process)
        spooled = spooled or process.has_open_file_in(scenario.tasks.temporary)
        time.sleep(chance.uniform(0, 0.02))
        process.kill(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, scenario.log()
        assert scenario.request_count() - requested - (scenario.written() - known) <= unwritten
        assert scenario.temporary_files() == [], "left behind"

    assert scenario.start().wait() == 0, scenario.log()

    scenario.check()
    if Path("/proc/self/fd").exists():
        assert spooled, "the spool was too small to be on disk"


def test_task_stopped_by_airflow_writes_its_results_and_resends_few_refunds(
    scenario: CrashScenario, airflow_db: None
) -> None:
    """
    The task runner of this Airflow stops the task: on SIGTERM Airflow 3 calls on_kill, and Airflow 2 also raises in the
    main thread; when the execution_timeout is over, which SIGALRM signals, both raise there.
    """
    scenario.fill(450)
    chance = random.Random(SEED)
    process = scenario.start(in_airflow=True)
    causes = [signal.SIGTERM, signal.SIGALRM, signal.SIGTERM, signal.SIGALRM]

    for stops, cause in enumerate(causes, 1):
        scenario.wait_for_requests(scenario.request_count() + chance.randrange(1, 100), process)
        process.kill(cause)
        scenario.wait_until(lambda: len(scenario.states()) == stops, UNTIL_SIGKILL)  # noqa: B023
        # A result that was being collected when the exception came is sent again.
        assert scenario.request_count() - scenario.written() <= stops, scenario.log()

    assert process.wait() == 0, scenario.log()
    assert "success" not in scenario.states()[: len(causes)]
    scenario.check()
    assert scenario.request_count() <= scenario.count + len(causes)


def test_task_cleared_while_running_pushes_the_results_of_the_whole_task_run(scenario: CrashScenario) -> None:
    """Airflow stops the task and runs it again under the same run_id."""
    scenario.fill(300)
    process = scenario.start()
    scenario.wait_for_requests(120, process)
    process.kill(signal.SIGTERM)
    assert process.wait(UNTIL_SIGKILL) == STOPPED, scenario.log()
    before = scenario.written()

    assert scenario.start().wait() == 0, scenario.log()

    scenario.check(killed=False)
    recorded = {refund.event_id: refund for refund in scenario.sandbox.recorded()}
    summary = scenario.xcom("summary")
    assert 0 < before < scenario.count
    assert summary["sent"] == scenario.count - before
    counts = {outcome: count for outcome, count in summary["outcomes"].items() if count}
    assert counts == {"recorded": len(recorded), "not_referred": 100, "rejected": LARGE}
    assert summary["rewards"] == {"cash": sum(refund.reward_amount for refund in recorded.values())}
    rewards = {result["event_id"]: result["commissions"][0]["id"] for result in scenario.xcom("rewards")}
    assert rewards == {event_id: refund.reward_id for event_id, refund in recorded.items()}


def test_two_tasks_at_once_record_each_refund_once_and_both_succeed(scenario: CrashScenario) -> None:
    """Two processes with overlapping queries and one account: the ledger keeps the stronger outcome."""
    scenario.fill(400)
    # Neither process gets far before the other has started as well.
    scenario.sandbox.fault("latency", times=2, seconds=5)
    processes = [
        scenario.start("SELECT * FROM refunds WHERE event_id IS NULL OR event_id < 're_00300'"),
        scenario.start("SELECT * FROM refunds WHERE event_id > 're_00050' ORDER BY event_id"),
    ]

    codes = [process.wait() for process in processes]

    assert codes == [0, 0], scenario.log()
    assert scenario.request_count() > scenario.count, "they did not meet"
    scenario.check(killed=False)
