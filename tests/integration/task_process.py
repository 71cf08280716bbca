"""
Runs SqlToFirstPromoterOperator in processes that can be killed, as Airflow's workers run tasks: in forks.

Airflow is imported once. Each line of standard input is a JSON object and starts a process; a line ``<name> <pid>``
answers, and another one ``<name> ended <code>`` follows, with a negative code for a signal. The object's fields:

- name: of the process
- environment: variables, the connections among them
- sql: the query, on connection ``warehouse``
- how: ``airflow-3``, where SIGTERM calls ``on_kill`` and nothing else, or ``airflow-2``, where it then raises
- log: the file to write errors to
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import Any

from airflow_provider_firstpromoter.exceptions import SyncInterruptedError
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

#: Exit code of a task that was told to stop, and did.
STOPPED = 75


class TaskTerminated(BaseException):
    """Airflow 2's AirflowTaskTerminated."""


class TaskInstance:
    dag_id, run_id, task_id, map_index, try_number = "dag", "manual__1", "sync", -1, 1

    def xcom_push(self, key: str, value: Any) -> None:
        pass


def run(how: str, sql: str) -> int:
    operator = SqlToFirstPromoterOperator(task_id="sync", sql=sql, sql_conn_id="warehouse", max_rejected=None)

    def on_signal(number: int, frame: FrameType | None) -> None:
        operator.on_kill()
        if how == "airflow-2":
            raise TaskTerminated

    signal.signal(signal.SIGTERM, on_signal)
    try:
        operator.execute({"ti": TaskInstance()})
    except (SyncInterruptedError, TaskTerminated):
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
        told = json.loads(line)
        name = told["name"]
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.environ.update(told["environment"])
                code = run(told["how"], told["sql"])
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        tell(name, pid)
        threading.Thread(target=wait_for, args=(name, pid)).start()


if __name__ == "__main__":
    main()
