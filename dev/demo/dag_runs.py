"""Runs a DAG with Airflow's command line, and reads from Airflow's database what became of its tasks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.airflow import Home, run_airflow
from dev.processes import ProcessFailed


@dataclass(frozen=True)
class DagRun:
    """
    A DAG run that has ended.

    :param states: the state of each task by task_id: success, failed, skipped
    :param xcoms: the XCom values by task_id and key
    """

    run_id: str
    states: dict[str, str]
    xcoms: dict[tuple[str, str], Any]


class Airflow:
    """
    One Airflow, driven by its command line.

    :param env: see :meth:`dev.airflow.Home.environment`
    """

    def __init__(self, home: Home, env: Mapping[str, str]) -> None:
        self._home = home
        self._env = env

    def migrate(self) -> None:
        """Create Airflow's own database."""
        self._run("db", "migrate")

    def import_connections(self, file: Path) -> None:
        """Write the connections of a JSON file into Airflow's database."""
        self._run("connections", "import", str(file))

    def create_pool(self, name: str) -> None:
        """Create a pool with one slot."""
        self._run("pools", "set", name, "1", "of the demo")

    def run_dag(self, dag_id: str, while_running: Callable[[], object]) -> DagRun:
        """
        Run a DAG once, task after task and without a scheduler, as ``airflow dags test`` does it.

        :param while_running: called a few times a second
        :return: the DAG run, even if tasks of it have failed
        :raises dev.processes.ProcessFailed: if Airflow could not run the DAG
        """
        before = self._newest_run(dag_id)
        try:
            self._run("dags", "test", dag_id, while_running=while_running)
        except ProcessFailed:
            # The command also fails if a task has failed; then there is a new DAG run.
            if self._newest_run(dag_id) == before:
                raise
        return self._read(dag_id, self._newest_run(dag_id))

    def _run(self, *arguments: str, while_running: Callable[[], object] = lambda: None) -> None:
        run_airflow(*arguments, env=self._env, log=self._home.log("airflow"), while_running=while_running)

    def _read(self, dag_id: str, run_id: str) -> DagRun:
        states = self._rows("SELECT task_id, state FROM task_instance WHERE dag_id = ? AND run_id = ?", dag_id, run_id)
        xcoms = self._rows("SELECT task_id, key, value FROM xcom WHERE dag_id = ? AND run_id = ?", dag_id, run_id)
        return DagRun(
            run_id,
            states=dict(states),
            # SQLite converts a JSON text that looks like a number to a number, hence str().
            xcoms={(task_id, key): json.loads(str(value)) for task_id, key, value in xcoms},
        )

    def _newest_run(self, dag_id: str) -> str:
        found = self._rows("SELECT run_id FROM dag_run WHERE dag_id = ? ORDER BY id DESC LIMIT 1", dag_id)
        return str(found[0][0]) if found else ""

    def _rows(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        # Airflow's REST API would need a server; its SQLite file answers without one.
        with closing(sqlite3.connect(self._home.airflow / "airflow.db")) as database:
            return database.execute(sql, parameters).fetchall()
