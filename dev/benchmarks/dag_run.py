"""The whole way inside of Airflow: one task for all refunds against one mapped task for each refund."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from dev.airflow import Api, Connections, standalone
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Measured, Row, at_least
from dev.benchmarks.work import fill_sqlite
from dev.processes import Process, ProcessFailed, wait_for

T = TypeVar("T")
#: Seconds that Airflow may take to start, and a DAG run to end.
TIMEOUT = 1200
SLOTS = 8
#: Runs of each DAG that count, but for the mapped one, which takes minutes.
TURNS = 3
TARGET = 100


def row(stage: Stage, sizes: Sizes) -> Measured:
    """Compare the DAG runs; Airflow has run tasks before, and the time of an empty task is subtracted from both."""
    warehouse = stage.folder / "dag.db"
    rows = fill_sqlite(warehouse, sizes.mapped)
    seconds: dict[str, list[float]] = {"bench_empty": [], "bench_provider": [], "bench_expand": []}
    with stage.sandbox("--requests-per-minute", "0") as sandbox:
        connections = {
            "firstpromoter_default": firstpromoter(sandbox.base_url),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse)},
            "firstpromoter_http": {"conn_type": "http", "host": sandbox.base_url},
        }
        with _airflow(stage, connections) as airflow:
            for turn in range(1 + TURNS):
                for dag in seconds if turn == TURNS else ("bench_empty", "bench_provider"):
                    sandbox.reset()
                    sandbox.add_leads({"uid": row["customer_id"]} for row in rows[::2])
                    took = airflow.seconds_of(dag)
                    if turn:  # a first round warms Airflow up
                        seconds[dag].append(took)
                    sent, expected = len(sandbox.refund_requests()), 0 if dag == "bench_empty" else sizes.mapped
                    assert sent == expected, f"{dag} sent {sent} requests for {expected} refunds"
                _forget_sent(warehouse)
    empty = min(seconds["bench_empty"])
    # On a busy machine an empty task can take longer than one with work.
    ours, mapped = (max(one - empty, 0.01) for one in (max(seconds["bench_provider"]), seconds["bench_expand"][0]))
    ratio = mapped / ours
    row = Row(
        f"{sizes.mapped} refunds, warehouse to settled, inside of a warm Airflow, net of an empty task",
        f"{ours:.2f} s ({1000 * ours / sizes.mapped:.1f} ms per refund)",
        f"HttpOperator.partial().expand(): {mapped:.0f} s ({1000 * mapped / sizes.mapped:.0f} ms per refund)",
        f"{ratio:.0f} times faster",
        f"{TARGET} times",
        at_least(ratio, TARGET),
        f"`airflow standalone` with PostgreSQL as its metadata database and LocalExecutor with {SLOTS} slots; from the "
        "start of the first task to the end of the last one as Airflow stored them. An empty task took "
        f"{_all(seconds['bench_empty'])}, which is subtracted from both; the provider's "
        f"{_all(seconds['bench_provider'])}, of which the worse counts; expand() ran once. The API has no limit and no "
        "latency.",
    )
    return Measured([row])


def _forget_sent(warehouse: Path) -> None:
    """Empty the ledger, so that the next run sends the same refunds."""
    with closing(sqlite3.connect(warehouse)) as database, database:
        database.execute("DELETE FROM firstpromoter_refunds")


def _all(seconds: list[float]) -> str:
    return " and ".join(f"{one:.2f} s" for one in seconds)


class _Airflow:
    """A running Airflow."""

    def __init__(self, url: str, process: Process) -> None:
        self._api = Api(url)
        self._process = process

    def seconds_of(self, dag_id: str) -> float:
        """Run a DAG, and return the seconds from the start of its first task to the end of its last one."""
        run = self._wait_for(lambda: self._api.post(f"dags/{dag_id}/dagRuns", {"logical_date": None}))
        path = f"dags/{dag_id}/dagRuns/{run['dag_run_id']}"

        def end_state() -> str | None:
            state: str | None = (self._api.get(path) or {}).get("state")
            return state if state in ("success", "failed") else None

        if (state := self._wait_for(end_state)) != "success":
            raise ProcessFailed(f"The DAG run of {dag_id} ended with state {state}", self._process.log)

        def time_of(field: str, order: str) -> datetime:
            query = f"{path}/taskInstances?order_by={order}{field}&limit=1"
            tasks = self._wait_for(lambda: self._api.get(query))
            return datetime.fromisoformat(tasks["task_instances"][0][field])

        return (time_of("end_date", "-") - time_of("start_date", "")).total_seconds()

    def _wait_for(self, look: Callable[[], T | None]) -> T:
        return wait_for(look, "A step of the DAG run", self._process, timeout=TIMEOUT)


@contextmanager
def _airflow(stage: Stage, connections: Connections) -> Iterator[_Airflow]:
    """Start an Airflow with a scheduler and an executor that knows the DAGs of the benchmark."""
    metadata = stage.postgresql("airflow")
    env = stage.environment(
        connections,
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
        AIRFLOW__CORE__PARALLELISM=str(SLOTS),
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"postgresql+psycopg2://postgres@/airflow?host={metadata['host']}",
    )
    with standalone(env, log=stage.folder / "airflow.log") as airflow:
        yield _Airflow(airflow.url, airflow.process)
