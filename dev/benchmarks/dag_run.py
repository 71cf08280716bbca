"""The whole way inside of Airflow: one task for all refunds against one mapped task for each refund."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from dev.airflow import Api, Connections, standalone
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Row, at_least
from dev.benchmarks.work import fill_sqlite
from dev.processes import Process, ProcessFailed, wait_for

T = TypeVar("T")
#: Seconds that Airflow may take to start, and a DAG run to end.
TIMEOUT = 1200
SLOTS = 8


def row(stage: Stage, sizes: Sizes) -> Row:
    warehouse = stage.folder / "dag.db"
    rows = fill_sqlite(warehouse, sizes.mapped)
    seconds = {}
    with stage.sandbox("--requests-per-minute", "0") as sandbox:
        connections = {
            "firstpromoter_default": firstpromoter(sandbox.base_url),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse)},
            "firstpromoter_http": {"conn_type": "http", "host": sandbox.base_url},
        }
        with _airflow(stage, connections) as airflow:
            for dag in ("bench_provider", "bench_expand"):
                sandbox.reset()
                sandbox.add_leads({"uid": row["customer_id"]} for row in rows[::2])
                seconds[dag] = airflow.seconds_of(dag)
                sent = len(sandbox.refund_requests())
                assert sent == sizes.mapped, f"{dag} sent {sent} requests for {sizes.mapped} refunds"
    ours, mapped = (1000 * seconds[dag] / sizes.mapped for dag in ("bench_provider", "bench_expand"))
    ratio = mapped / ours
    return Row(
        f"{sizes.mapped} refunds, warehouse to settled, inside of Airflow",
        f"{ours:.1f} ms per refund ({seconds['bench_provider']:.2f} s)",
        f"HttpOperator.partial().expand(): {mapped:.0f} ms per refund ({seconds['bench_expand']:.0f} s)",
        f"{ratio:.0f} times faster",
        "50 times",
        at_least(ratio, 50),
        "`airflow standalone` with PostgreSQL as its metadata database and LocalExecutor with "
        f"{SLOTS} slots; measured once each, from the start of the first task to the end of the last one as Airflow "
        "stored them. The API has no limit and no latency.",
    )


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
