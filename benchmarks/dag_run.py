"""The whole way inside Airflow: one task against one mapped task a refund."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from requests import RequestException, Session

from benchmarks.sizes import Sizes
from benchmarks.stage import ROOT, Connections, MeasurementError, Stage
from benchmarks.table import Row, at_least
from benchmarks.work import fill_sqlite
from demo.home import free_port
from demo.processes import running

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
        with Airflow.started(stage, connections) as airflow:
            for dag in ("bench_provider", "bench_expand"):
                sandbox.reset()
                sandbox.learn([row["customer_id"] for row in rows[::2]])
                seconds[dag] = airflow.run(dag)
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


class Airflow:
    """A running one, with a scheduler and an executor, that knows the DAGs of the benchmark."""

    def __init__(self, url: str, metadata: dict[str, Any]) -> None:
        self._url = url
        self._metadata = metadata
        self._session = Session()
        self._session.trust_env = False

    @classmethod
    @contextmanager
    def started(cls, stage: Stage, connections: Connections) -> Iterator[Airflow]:
        metadata = stage.postgresql("airflow")
        port = free_port()
        settings = {
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__PARALLELISM": str(SLOTS),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # no login: it listens on this machine alone
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://postgres@/airflow?host={metadata['host']}",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            # Its parts are scripts: they have to be found, and don't look for `benchmarks` in this folder.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "airflow", "standalone"]
        environment = {**stage.environment(connections), **settings}
        # `standalone` stops its parts in order on Ctrl-C, and knows no other signal.
        with running(command, env=environment, log=stage.folder / "airflow.log", ask=signal.SIGINT):
            yield cls(settings["AIRFLOW__API__BASE_URL"], metadata)

    def run(self, dag_id: str) -> float:
        """:returns: seconds from the first task's start to the last one's end"""
        until = time.monotonic() + PATIENCE
        while not self._trigger(dag_id):
            _wait(until)
        while (state := self._ask("SELECT state FROM dag_run WHERE dag_id = %s", dag_id)[0][0]) != "success":
            assert state in ("queued", "running"), f"{dag_id} is {state}"
            _wait(until)
        sql = "SELECT extract(epoch FROM max(end_date) - min(start_date)) FROM task_instance WHERE dag_id = %s"
        return float(self._ask(sql, dag_id)[0][0])

    def _trigger(self, dag_id: str) -> bool:
        """:returns: False as long as the DAG is not known"""
        try:
            token = self._session.get(f"{self._url}/auth/token", timeout=30).json()["access_token"]
            answer = self._session.post(
                f"{self._url}/api/v2/dags/{dag_id}/dagRuns",
                json={"logical_date": None},
                headers={"Authorization": f"Bearer {token}"},
                timeout=30,
            )
        except RequestException:
            return False
        return answer.ok

    def _ask(self, sql: str, dag_id: str) -> list[tuple[Any, ...]]:
        import psycopg2  # type: ignore[import-untyped]

        where = {"host": self._metadata["host"], "user": "postgres", "dbname": "airflow"}
        with closing(psycopg2.connect(**where)) as database, database.cursor() as cursor:
            cursor.execute(sql, (dag_id,))
            return list(cursor.fetchall())


def _wait(until: float) -> None:
    if time.monotonic() > until:
        raise MeasurementError("Airflow did not get there in time")
    time.sleep(0.5)
