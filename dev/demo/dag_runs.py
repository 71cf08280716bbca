"""Runs a DAG by Airflow's own command line and reads back what Airflow noted about the run."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.home import Home
from dev.processes import Failed, running


@dataclass(frozen=True)
class DagRun:
    """What Airflow's metadata database holds of one run."""

    run_id: str
    #: The state of each task: success, failed, skipped.
    states: dict[str, str]
    #: What each task handed on, by task_id and XCom key.
    xcoms: dict[tuple[str, str], Any]

    def returned(self, task_id: str) -> Any:
        return self.xcoms.get((task_id, "return_value"))


class Airflow:
    """
    One Airflow home, driven by `airflow ...`.

    :param environment: see `Home.environment`
    """

    def __init__(self, home: Home, environment: dict[str, str]) -> None:
        self._home = home
        self._environment = environment

    def migrate(self) -> None:
        """Make Airflow's own database."""
        self._airflow("db", "migrate")

    def add_connections(self, file: Path) -> None:
        """Write the connections of a JSON file into Airflow's database."""
        self._airflow("connections", "import", str(file))

    def run(self, dag_id: str, meanwhile: Callable[[], None]) -> DagRun:
        """
        Run a DAG once, as `airflow dags test` does: task after task, without a scheduler.

        A failed task is part of the answer, not an error.

        :param meanwhile: called a few times a second, to show progress
        """
        before = self._newest_run(dag_id)
        try:
            self._airflow("dags", "test", dag_id, meanwhile=meanwhile)
        except Failed:
            if self._newest_run(dag_id) == before:
                raise
        return self._read(dag_id, self._newest_run(dag_id))

    def _airflow(self, *arguments: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        command = [sys.executable, "-m", "airflow", *arguments]
        log = self._home.log("airflow")
        with running(command, env=self._environment, log=log) as process:
            while process.poll() is None:
                meanwhile()
                time.sleep(0.25)
        if process.returncode:
            raise Failed(f"`airflow {' '.join(arguments)}` ended with exit code {process.returncode}", log)

    def _read(self, dag_id: str, run_id: str) -> DagRun:
        return DagRun(
            run_id,
            states=dict(
                self._rows("SELECT task_id, state FROM task_instance WHERE dag_id = ? AND run_id = ?", dag_id, run_id)
            ),
            xcoms={
                (task_id, key): json.loads(str(value))  # SQLite makes numbers of JSON that looks like one
                for task_id, key, value in self._rows(
                    "SELECT task_id, key, value FROM xcom WHERE dag_id = ? AND run_id = ?", dag_id, run_id
                )
            },
        )

    def _newest_run(self, dag_id: str) -> str:
        found = self._rows("SELECT run_id FROM dag_run WHERE dag_id = ? ORDER BY id DESC LIMIT 1", dag_id)
        return str(found[0][0]) if found else ""

    def _rows(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        # Airflow's own API needs a server; for a look at what a run left behind, its SQLite file will do.
        with closing(sqlite3.connect(self._home.airflow / "airflow.db")) as database:
            return database.execute(sql, parameters).fetchall()
