"""The syncing process is killed, again and again: nothing is lost, recorded twice, or left behind."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sync.ledger_writer import FLUSH_EVERY_RESULTS
from tests.support import ledger_outcomes, refunds

#: `make soak` takes others. It says where the kills fall; how far the threads have got by then, no seed can say.
SEED = int(os.environ.get("SEED", "20240"))
IN_FLIGHT = 8
#: Rows that are refused, and so large that the spool needs its file on disk.
LARGE = 12
#: Exit code of a task that was told to stop, and did; see task_process.
STOPPED = 75
#: Seconds after its SIGTERM in which Airflow sends SIGKILL.
UNTIL_SIGKILL = 5


class Process:
    """A forked task."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.codes: queue.SimpleQueue[int] = queue.SimpleQueue()

    def kill(self, number: signal.Signals) -> None:
        if not self.over:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float = 60) -> int:
        """Its exit code, negative for a signal; raises queue.Empty if it takes longer."""
        code = self.codes.get(timeout=seconds)
        self.codes.put(code)
        return code

    @property
    def over(self) -> bool:
        return not self.codes.empty()

    def holds_open(self, folder: Path) -> bool:
        """Whether it has a file in that folder open, though its name may be gone."""
        found = []
        for link in Path(f"/proc/{self.pid}/fd").glob("*"):
            with suppress(OSError):
                found.append(link.readlink())
        return any(target.is_relative_to(folder) for target in found)


class Tasks:
    """Starts tasks in processes of their own; see task_process."""

    def __init__(self, spool: Path) -> None:
        #: The temporary folder of all of them; SQLite reads the variable only once in a process.
        self.spool = spool
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("task_process.py"))],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "SQLITE_TMPDIR": str(spool),
                "TMPDIR": str(spool),
                "AIRFLOW__CORE__DAGS_FOLDER": os.devnull,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._processes: dict[str, Process] = {}
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._answers.get(timeout=120) == "ready"

    def start(self, **told: Any) -> Process:
        name = f"task{len(self._processes)}"
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"name": name, **told}) + "\n")
        self._server.stdin.flush()
        assert self._answers.get(timeout=60) == name
        return self._processes[name]

    def _listen(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            match line.split():
                case [name, "ended", code]:
                    self._processes[name].codes.put(int(code))
                case [name, pid]:
                    self._processes[name] = Process(int(pid))
                    self._answers.put(name)
                case [word]:
                    self._answers.put(word)

    def kill_all(self) -> None:
        for process in self._processes.values():
            process.kill(signal.SIGKILL)

    def close(self) -> None:
        self._server.kill()
        self._server.wait()


class World:
    """A warehouse full of refunds of which FirstPromoter knows two in three, and the tasks that send them."""

    def __init__(self, sandbox: Sandbox, warehouse: Any, folder: Path, tasks: Tasks) -> None:
        self.sandbox = sandbox
        self.warehouse = warehouse
        self.log = folder / "tasks.log"
        self._told = folder / "told"
        self.tasks = tasks
        self.count = 0

    def fill(self, count: int) -> None:
        self.count = count
        self.warehouse.fill(refunds(count, digits=5), email="TEXT")
        # Refused for want of an event_id, but they have to go into the spool, to be counted.
        self.warehouse.fill([{"amount": 1, "email": "x" * 400_000} for _ in range(LARGE)])
        self.sandbox.add_leads({"uid": f"cus_{n}"} for n in range(count) if n % 3)
        self.sandbox.fault("latency", times=None, seconds=0.001, max_seconds=0.01, probability=0.5)

    def start(self, sql: str = "SELECT * FROM refunds", *, in_airflow: bool = False) -> Process:
        connections = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_")}
        return self.tasks.start(
            sql=sql, in_airflow=in_airflow, environment=connections, log=str(self.log), told=str(self._told)
        )

    def xcom(self, key: str) -> Any:
        """What the last task has handed on, if it was merely executed."""
        return json.loads(self._told.read_text())[key]

    def states(self) -> list[str]:
        """How the runs in Airflow ended, so far."""
        return self._told.read_text().split() if self._told.exists() else []

    def spool_files(self) -> list[str]:
        """What the tasks have left in their temporary folder."""
        return [path.name for path in self.tasks.spool.iterdir()]

    def asked(self) -> int:
        """How many requests there were so far."""
        return len(self.sandbox.refund_requests())

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, self.told()
            time.sleep(0.01)

    def wait_until_asked(self, count: int, process: Process) -> None:
        """Until there were so many, or the process has ended."""
        self.wait_until(lambda: bool(self.sandbox.refund_requests(after=count - 1, limit=1)) or process.over)

    def told(self) -> str:
        """The end of what the tasks logged, for whoever has to find out why they failed."""
        return self.log.read_text()[-3000:]

    def ledger(self) -> dict[str, str]:
        return ledger_outcomes(self.warehouse)

    def check(self, *, nobody_died: bool = False) -> None:
        """Audit and ledger agree: each refund once, none missing."""
        recorded = [refund.event_id for refund in self.sandbox.recorded()]
        assert len(recorded) == len(set(recorded)), "recorded twice"
        assert set(recorded) == {f"re_{n:05}" for n in range(self.count) if n % 3}, "lost"
        ledger = self.ledger()
        assert set(ledger) == {f"re_{n:05}" for n in range(self.count)}
        by_outcome: dict[str, set[str]] = {}
        for event_id, outcome in ledger.items():
            by_outcome.setdefault(outcome, set()).add(event_id)
        assert by_outcome.pop("not_referred") == {f"re_{n:05}" for n in range(0, self.count, 3)}
        allowed = {"recorded"} if nobody_died else {"recorded", "already_recorded"}
        assert by_outcome.keys() <= allowed
        told = self.warehouse.run("SELECT event_id, reward_id FROM firstpromoter_refunds WHERE outcome = 'recorded'")
        rewards = {refund.event_id: refund.reward_id for refund in self.sandbox.recorded()}
        assert all(rewards[event_id] == reward_id for event_id, reward_id in told)
        assert self.spool_files() == []


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tasks]:
    tasks = Tasks(tmp_path_factory.mktemp("spool"))
    yield tasks
    tasks.close()


@pytest.fixture
def world(
    sandbox: Sandbox, warehouse: Any, connect: Callable[..., str], tmp_path: Path, tasks: Tasks
) -> Iterator[World]:
    connect(ledger_conn_id="warehouse")
    yield World(sandbox, warehouse, tmp_path, tasks)
    tasks.kill_all()


def test_task_killed_repeatedly_sends_the_rest_and_records_each_refund_once(world: World) -> None:
    """SIGKILL at random points, before and after results are written; at most one flush's worth is lost each time."""
    world.fill(1200)
    chance = random.Random(SEED)
    unwritten = FLUSH_EVERY_RESULTS + IN_FLIGHT
    spooled = False
    for first, last in [(1, unwritten), (unwritten + 1, 900), (1, unwritten), (1, unwritten)]:
        asked, known = world.asked(), len(world.ledger()) if world.asked() else 0
        process = world.start()
        world.wait_until_asked(asked + chance.randint(first, last), process)
        spooled = spooled or process.holds_open(world.tasks.spool)
        time.sleep(chance.uniform(0, 0.02))
        process.kill(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, world.told()
        assert world.asked() - asked - (len(world.ledger()) - known) <= unwritten
        assert world.spool_files() == [], "left behind"

    assert world.start().wait() == 0, world.told()

    world.check()
    if Path("/proc/self/fd").exists():
        assert spooled, "the spool was too small to be on disk"


def test_task_stopped_by_airflow_writes_its_results_and_resends_few_refunds(world: World, airflow_db: None) -> None:
    """
    By the task runner of this Airflow: on SIGTERM Airflow 3 calls on_kill and Airflow 2 raises in the main thread too;
    when the execution_timeout is over, which SIGALRM says, both raise there.
    """
    world.fill(450)
    chance = random.Random(SEED)
    process = world.start(in_airflow=True)
    causes = [signal.SIGTERM, signal.SIGALRM, signal.SIGTERM, signal.SIGALRM]

    for stops, cause in enumerate(causes, 1):
        world.wait_until_asked(world.asked() + chance.randrange(1, 100), process)
        process.kill(cause)
        world.wait_until(lambda: len(world.states()) == stops, UNTIL_SIGKILL)  # noqa: B023
        # An answer that was just being taken back when the exception came is asked for once more.
        assert world.asked() - len(world.ledger()) <= stops, world.told()

    assert process.wait() == 0, world.told()
    assert "success" not in world.states()[: len(causes)]
    world.check()
    assert world.asked() <= world.count + len(causes)


def test_task_cleared_while_running_pushes_the_results_of_the_whole_task_run(world: World) -> None:
    """Airflow stops the task and runs it again under the same run_id."""
    world.fill(300)
    process = world.start()
    world.wait_until_asked(120, process)
    process.kill(signal.SIGTERM)
    assert process.wait(UNTIL_SIGKILL) == STOPPED, world.told()
    before = len(world.ledger())

    assert world.start().wait() == 0, world.told()

    world.check(nobody_died=True)
    recorded = {refund.event_id: refund for refund in world.sandbox.recorded()}
    summary = world.xcom("summary")
    assert 0 < before < world.count
    assert summary["sent"] == world.count - before
    counts = {outcome: count for outcome, count in summary["outcomes"].items() if count}
    assert counts == {"recorded": len(recorded), "not_referred": 100, "rejected": LARGE}
    assert summary["reversed"] == {"cash": sum(refund.reward_amount for refund in recorded.values())}
    rewards = {result["event_id"]: result["reward"]["id"] for result in world.xcom("rewards")}
    assert rewards == {event_id: refund.reward_id for event_id, refund in recorded.items()}


def test_two_tasks_at_once_record_each_refund_once_and_both_succeed(world: World) -> None:
    """Two processes, overlapping queries, one account: the ledger keeps the stronger outcome."""
    world.fill(400)
    processes = [
        world.start("SELECT * FROM refunds WHERE event_id IS NULL OR event_id < 're_00300'"),
        world.start("SELECT * FROM refunds WHERE event_id > 're_00050' ORDER BY event_id"),
    ]

    codes = [process.wait() for process in processes]

    assert codes == [0, 0], world.told()
    assert world.asked() > world.count, "they did not meet"
    world.check(nobody_died=True)
