"""The whole way inside Airflow: one task against one mapped task a refund."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from dev.airflow import Api, standalone
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import ROOT, Connections, MeasurementError, Stage
from dev.benchmarks.table import Row, at_least
from dev.benchmarks.work import fill_sqlite

#: Seconds for Airflow to start, and for a DAG run to end.
PATIENCE = 1200
SLOTS = 8


def row(stage: Stage, sizes: Sizes) -> Row:
    warehouse = stage.folder / "dag.db"
    rows = fill_sqlite(warehouse, sizes.mapped)
    seconds = {}
    with stage.sandbox("--requests-per-minute", "0") as sandbox:
        connections = {
            "firstpromoter_default": sandbox.connection(),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse)},
            "firstpromoter_http": {"conn_type": "http", "host": sandbox.url},
        }
        with _airflow(stage, connections) as airflow:
            for dag in ("bench_provider", "bench_expand"):
                sandbox.reset()
                sandbox.learn([row["customer_id"] for row in rows[::2]])
                seconds[dag] = _seconds(airflow, dag)
                sent = len(sandbox.requests())
                assert sent == sizes.mapped, f"{dag} made {sent} requests for {sizes.mapped} refunds"
    ours, mapped = (1000 * seconds[dag] / sizes.mapped for dag in ("bench_provider", "bench_expand"))
    ratio = mapped / ours
    return Row(
        f"{sizes.mapped} refunds, warehouse to settled, inside Airflow",
        f"{ours:.1f} ms per refund ({seconds['bench_provider']:.2f} s)",
        f"HttpOperator.partial().expand(): {mapped:.0f} ms per refund ({seconds['bench_expand']:.0f} s)",
        f"{ratio:.0f} times faster",
        "50 times",
        at_least(ratio, 50),
        "`airflow standalone` with PostgreSQL for its metadata, LocalExecutor with "
        f"{SLOTS} slots; from the first task's start to the last one's end as Airflow noted them, once each. The API "
        "has no limit and no latency.",
    )


@contextmanager
def _airflow(stage: Stage, connections: Connections) -> Iterator[Api]:
    """A running one, with a scheduler and an executor, that knows the DAGs of the benchmark."""
    metadata = stage.postgresql("airflow")
    environment = {
        **stage.environment(connections),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__PARALLELISM": str(SLOTS),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://postgres@/airflow?host={metadata['host']}",
        # Its parts are scripts, which don't look for `benchmarks` in this folder.
        "PYTHONPATH": str(ROOT),
    }
    with standalone(environment, log=stage.folder / "airflow.log") as airflow:
        yield Api(airflow.url)


def _seconds(airflow: Api, dag_id: str) -> float:
    """Run a DAG: from the first task's start to the last one's end."""
    run = _eventually(lambda: airflow.post(f"dags/{dag_id}/dagRuns", {"logical_date": None}))
    path = f"dags/{dag_id}/dagRuns/{run['dag_run_id']}"

    def state() -> str | None:
        seen = (airflow.get(path) or {}).get("state")
        return seen if seen in ("success", "failed") else None

    if (ended := _eventually(state)) != "success":
        raise MeasurementError(f"{dag_id} is {ended}")

    def time_of(field: str, order: str) -> datetime:
        tasks = _eventually(lambda: airflow.get(f"{path}/taskInstances?order_by={order}{field}&limit=1"))
        return datetime.fromisoformat(tasks["task_instances"][0][field])

    return (time_of("end_date", "-") - time_of("start_date", "")).total_seconds()


def _eventually(look: Callable[[], Any]) -> Any:
    """Look until there is something to see."""
    until = time.monotonic() + PATIENCE
    while not (seen := look()):
        if time.monotonic() > until:
            raise MeasurementError("Airflow did not get there in time")
        time.sleep(0.5)
    return seen
