"""
Runs operators in processes that tests can kill: in forks, as Airflow's workers run tasks, so that Airflow is imported
only once.

Each line of standard input is a JSON object and starts a process. The response is a line ``<name> <pid>``, and a line
``<name> ended <code>`` when the process has ended, with a negative code for a signal. The object's fields:

- name: of the process
- environment: environment variables, the connections among them
- operator: ``sync`` or ``reconcile``
- options: the operator's parameters; ``recheck_unreferred`` in days
- run_id: of the DAG run
- short_waits: whether the client waits almost not at all before it sends a request again
- in_airflow: whether Airflow's own task runner runs the task, again and again until it succeeds; else the operator is
  executed once, and SIGTERM calls ``on_kill``
- log: the file to which the process writes its log and errors
- output: the file to which it writes the state of each run in Airflow as a line, or else the XComs as JSON
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

from airflow.providers.common.compat.sdk import DAG, AirflowException, AirflowTaskTimeout

import airflow_provider_firstpromoter.reconcile
import airflow_provider_firstpromoter.sync.run  # noqa: F401  # operators import these late; here once for all
from airflow_provider_firstpromoter.exceptions import SyncInterruptedError
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.end_to_end.processes import FAILED, STOPPED
from tests.support import TaskInstance, shorten_retry_waits
from tests.support import run as run_dag

try:
    from airflow.exceptions import AirflowTaskTerminated
except ImportError:  # Airflow 3 raises nothing on SIGTERM
    AirflowTaskTerminated = AirflowTaskTimeout


class WritingTaskInstance(TaskInstance):
    """The task instance of every try, which writes the XComs to a file."""

    def __init__(self, xcom: Path, run_id: str) -> None:
        super().__init__("sync", run_id=run_id)
        self._xcom = xcom

    def xcom_push(self, key: str, value: Any) -> None:
        super().xcom_push(key, value)
        self._xcom.write_text(json.dumps(self.pushed))


def make_operator(order: dict[str, Any], **more: Any) -> SqlToFirstPromoterOperator | ReconcileRefundsOperator:
    options = {**order["options"], **more}
    if order["operator"] == "reconcile":
        return ReconcileRefundsOperator(task_id="reconcile", **options)
    if "recheck_unreferred" in options:
        options["recheck_unreferred"] = timedelta(days=options["recheck_unreferred"])
    return SqlToFirstPromoterOperator(task_id="sync", sql_conn_id="warehouse", max_rejected=None, **options)


def run_in_airflow(order: dict[str, Any], output: Path) -> int:
    with DAG("crashes", schedule=None) as dag:
        make_operator(order, execution_timeout=timedelta(minutes=5))
    state = ""
    while state != "success":
        try:
            state = run_dag(dag).state
        except (AirflowTaskTimeout, AirflowTaskTerminated) as error:  # Airflow 2 lets them through to the worker
            state = type(error).__name__
        with output.open("a") as file:
            file.write(f"{state}\n")
    return 0


def run(order: dict[str, Any], output: Path) -> int:
    operator = make_operator(order)
    signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    try:
        operator.execute({"ti": WritingTaskInstance(output, order["run_id"])})
    except SyncInterruptedError:
        return STOPPED
    except AirflowException:
        traceback.print_exc()
        return FAILED
    return 0


def report(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def wait_for(name: str, pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    report(name, "ended", os.waitstatus_to_exitcode(status))


def main() -> None:
    report("ready")
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
                if order["short_waits"]:
                    shorten_retry_waits()
                code = (run_in_airflow if order["in_airflow"] else run)(order, Path(order["output"]))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        report(name, pid)
        threading.Thread(target=wait_for, args=(name, pid)).start()


if __name__ == "__main__":
    main()
