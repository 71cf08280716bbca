"""The Airflow of ``make ui``, with all of its parts, and DAGs of the tests beside the example."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from dev.airflow import Api, Home
from dev.demo.stage import DAG, warehouse_of
from dev.processes import Process, free_port, running, wait_for
from dev.sandbox import SandboxProcess

#: Seconds until a DAG run has ended, the start of all of Airflow's parts included: the machine may be busy.
PATIENCE = 400
#: DAGs of the tests.
DAGS = Path(__file__).parent / "dags"
#: The same as `make ui`, but in a folder of the tests', with the demo's mistakes corrected beforehand, more DAGs, and a
#: copy of Airflow's database instead of a new one. Its arguments are the folder, that of the DAGs, and the database.
UI = """
import functools
import json
import shutil
import sys
from pathlib import Path
from dev.airflow import EXAMPLE_DAGS, Home
from dev.demo import ui, warehouse
from dev.demo.dag_runs import Airflow
from dev.terminal import run_tool
first_day = warehouse.RefundGenerator.first_day
warehouse.RefundGenerator.first_day = lambda generator: [row.corrected() for row in first_day(generator)]
def migrate(airflow):
    home = Path(sys.argv[1]) / "airflow"
    home.mkdir()
    shutil.copy(sys.argv[3], home / "airflow.db")

Airflow.migrate = migrate
bundles = [
    {
        "name": Path(path).name,
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(path)},
    }
    for path in (EXAMPLE_DAGS, sys.argv[2])
]
Home.environment = functools.partialmethod(
    Home.environment, AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps(bundles)
)
sys.exit(run_tool(lambda: ui.main(Path(sys.argv[1]))))
"""


class Ui(Api):
    """The Airflow of ``make ui``, with its warehouse and its sandbox."""

    def __init__(self, url: str, home: Home, process: Process) -> None:
        super().__init__(url)
        self.home = home
        self.process = process

    @property
    def warehouse(self) -> Any:
        return warehouse_of(self.home)

    @property
    def sandbox(self) -> SandboxProcess:
        connections = json.loads((self.home.folder / "connections.json").read_text())
        return SandboxProcess(connections["firstpromoter_default"]["host"], self.process)

    def ended_runs(self) -> list[dict[str, Any]]:
        """Return the example DAG's runs that have ended, the oldest first."""
        runs = (self.get(f"dags/{DAG}/dagRuns?order_by=id") or {}).get("dag_runs", [])
        return [run for run in runs if run["state"] in ("success", "failed")]

    def wait_until(self, look: Any, what: str) -> Any:
        """Call a function until it returns a true value, and return that value."""
        return wait_for(look, what, self.process, timeout=PATIENCE)

    def wait_for_runs(self, number: int) -> None:
        self.wait_until(lambda: len(self.ended_runs()) >= number, "The DAG run")

    def run_again(self) -> None:
        """Trigger the example DAG, and wait until the run has ended."""
        before = len(self.ended_runs())
        assert self.post(f"dags/{DAG}/dagRuns", {"logical_date": None})
        self.wait_for_runs(before + 1)

    def start(self, dag_id: str) -> str:
        """Unpause a DAG once it is known, trigger it, and return the run's id."""
        self.wait_until(lambda: self.patch(f"dags/{dag_id}", {"is_paused": False}), f"The DAG {dag_id}")
        run = self.post(f"dags/{dag_id}/dagRuns", {"logical_date": None})
        return str(run["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> Any:
        """Return the state of the only task of a DAG run."""
        instances = self.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return instances and instances["task_instances"][0]["state"]

    def ledger(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.warehouse)) as database:
            return database.execute(sql).fetchall()


@contextmanager
def running_ui(folder: Path, new_airflow_db: Path) -> Iterator[Ui]:
    """
    Run ``make ui`` for the block; both of its DAGs have run once.

    :param new_airflow_db: a database of Airflow's own as it is at first
    """
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-c", UI, str(folder / ".ui"), str(DAGS), str(new_airflow_db)]
    environment = {**os.environ, "PORT": str(port)}
    with running(command, env=environment, log=folder / "ui.log", stop_signal=signal.SIGINT) as process:
        ui = Ui(url, Home(folder / ".ui"), process)
        ui.wait_until(lambda: "Press Ctrl-C" in (folder / "ui.log").read_text(), "make ui")
        yield ui
