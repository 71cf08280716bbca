"""Four processes send at one account's rate limit, and none knows of the others: no 429 costs a refund or a run."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import customers
from tests.end_to_end.processes import TaskServer
from tests.end_to_end.scenario import Scenario

#: ``make soak`` sets others. The seed decides where the kill falls; how far the threads are by then, it does not.
SEED = int(os.environ.get("SEED", "20240"))
PROCESSES = 4
COUNT = 140
QUERY = "SELECT * FROM refunds WHERE event_id >= 're_{:05}' AND event_id < 're_{:05}'"


def test_four_processes_at_one_rate_limit_all_succeed_and_record_each_refund_once(
    warehouse: Any,
    new_sandbox: Callable[..., Any],
    connect: Callable[..., str],
    tmp_path: Path,
    tasks: TaskServer,
) -> None:
    """
    One of the four is killed by a SIGKILL, which gives it no chance to write its results, and started again.

    With two attempts a refund, every process would fail if a 429 were an attempt.
    """
    chance = random.Random(f"{SEED} {warehouse.kind}")
    retry_after = chance.choice(["none", "seconds", "date"])
    sandbox = new_sandbox(requests_per_minute=30, window_seconds=1.0, retry_after=retry_after)
    sandbox.add_leads(customers.leads(COUNT))
    customers.arrive_late(sandbox, COUNT)
    connect(sandbox, ledger_conn_id="warehouse", max_attempts=2)
    warehouse.fill(customers.refunds(COUNT))
    scenario = Scenario(sandbox, warehouse, tmp_path, tasks)
    scenario.short_waits = True
    size = COUNT // PROCESSES
    queries = [QUERY.format(first, first + size) for first in range(0, COUNT, size)]

    processes = [scenario.start(query) for query in queries]
    scenario.wait_for_requests(chance.randint(1, COUNT), processes[0])
    processes[0].kill(signal.SIGKILL)
    processes[0].wait()
    processes[0] = scenario.start(queries[0])
    codes = [process.wait(120) for process in processes]

    assert codes == [0] * PROCESSES, f"Retry-After: {retry_after}\n{scenario.log()}"
    assert sandbox.request_counts()["POST /api/v2/track/refund"].get("429"), "the processes stayed below the limit"
    assert scenario.start().wait() == 0, scenario.log()
    assert scenario.start(operator="reconcile").wait() == 0, scenario.log()
    customers.check_audit(sandbox, warehouse, customers.truth(COUNT))
