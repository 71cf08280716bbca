"""
Runs SqlToFirstPromoterOperator in processes that can be killed, as Airflow's workers run tasks: in forks.

Airflow is imported once. Each line of standard input is a JSON object and starts a process; a line ``<name> <pid>``
answers, and another one ``<name> ended <code>`` follows, with a negative code for a signal. The object's fields:

- name: of the process
- environment: variables, the connections among them
- sql: the query, on connection ``warehouse``
- in_airflow: whether Airflow's own task runner runs it, again and again until it succeeds; else it is merely
  executed, once, and SIGTERM calls ``on_kill``
- log: the file to write errors to
- told: the file to write what came of it to: in Airflow a line with the state of each run, else the XComs
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, AirflowTaskTimeout

import airflow_provider_firstpromoter.sync.from_query  # noqa: F401  # imported by the operator when it runs: here once for all
from airflow_provider_firstpromoter.exceptions import SyncInterruptedError
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.support import TaskInstance
from tests.support import run as run_dag

try:
    from airflow.exceptions import AirflowTaskTerminated
except ImportError:  # Airflow 3 raises nothing on SIGTERM
    AirflowTaskTerminated = AirflowTaskTimeout

#: Exit code of a task that was told to stop, and did.
STOPPED = 75


class WritingTaskInstance(TaskInstance):
    """The task instance of every try, which writes the XComs to a file."""

    def __init__(self, xcom: Path) -> None:
        super().__init__("sync")
        self._xcom = xcom

    def xcom_push(self, key: str, value: Any) -> None:
        super().xcom_push(key, value)
        self._xcom.write_text(json.dumps(self.pushed))


def operator(sql: str, **more: Any) -> SqlToFirstPromoterOperator:
    return SqlToFirstPromoterOperator(task_id="sync", sql=sql, sql_conn_id="warehouse", max_rejected=None, **more)


def run_in_airflow(sql: str, told: Path) -> int:
    with DAG("crashes", schedule=None) as dag:
        operator(sql, execution_timeout=timedelta(minutes=5))
    state = ""
    while state != "success":
        try:
            state = run_dag(dag).state
        except (AirflowTaskTimeout, AirflowTaskTerminated) as error:  # Airflow 2 lets them through to the worker
            state = type(error).__name__
        with told.open("a") as file:
            file.write(f"{state}\n")
    return 0


def run(sql: str, told: Path) -> int:
    task = operator(sql)
    signal.signal(signal.SIGTERM, lambda *_: task.on_kill())
    try:
        task.execute({"ti": WritingTaskInstance(told)})
    except SyncInterruptedError:
        return STOPPED
    return 0


def tell(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def wait_for(name: str, pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    tell(name, "ended", os.waitstatus_to_exitcode(status))


def main() -> None:
    tell("ready")
    for line in sys.stdin:
        order = json.loads(line)
        name = order["name"]
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.environ.update(order["environment"])
                how = run_in_airflow if order["in_airflow"] else run
                code = how(order["sql"], Path(order["told"]))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        tell(name, pid)
        threading.Thread(target=wait_for, args=(name, pid)).start()


if __name__ == "__main__":
    main()
