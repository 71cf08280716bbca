"""The whole way inside Airflow: one task against one mapped task a refund."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime

from benchmarks.sizes import Sizes
from benchmarks.stage import Stage
from benchmarks.table import Row, at_least
from benchmarks.work import fill_sqlite


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
        stage.run(["-m", "airflow", "db", "migrate"])
        for dag in ("bench_provider", "bench_expand"):
            sandbox.reset()
            sandbox.learn([row["customer_id"] for row in rows[::2]])
            stage.run(["-m", "airflow", "dags", "test", dag], connections)
            sent = len(sandbox.requests())
            assert sent == sizes.mapped, f"{dag} made {sent} requests for {sizes.mapped} refunds"
            seconds[dag] = _seconds(stage, dag)
    ours, mapped = (1000 * seconds[dag] / sizes.mapped for dag in ("bench_provider", "bench_expand"))
    ratio = mapped / ours
    return Row(
        f"{sizes.mapped} refunds, warehouse to settled, inside Airflow",
        f"{ours:.1f} ms per refund ({seconds['bench_provider']:.2f} s)",
        f"HttpOperator.partial().expand(): {mapped:.0f} ms per refund ({seconds['bench_expand']:.0f} s)",
        f"{ratio:.0f} times faster",
        "50 times",
        at_least(ratio, 50),
        "`airflow dags test` of both, from the first task's start to the last one's end as Airflow noted them; once "
        "each. The API has no limit and no latency. `dags test` runs the tasks in one process, one after the other: it "
        "spares the mapped side a process and a scheduler's turn for each task, and denies it a second worker.",
    )


def _seconds(stage: Stage, dag_id: str) -> float:
    """From the first task's start to the last one's end."""
    with closing(sqlite3.connect(stage.folder / "airflow" / "airflow.db")) as database:
        found = database.execute(
            "SELECT start_date, end_date, state FROM task_instance WHERE dag_id = ?", (dag_id,)
        ).fetchall()
    assert found, f"{dag_id} ran no task"
    assert all(state == "success" for _, _, state in found), f"{dag_id} has failed tasks"
    times = [(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end, _ in found]
    return (max(end for _, end in times) - min(start for start, _ in times)).total_seconds()
