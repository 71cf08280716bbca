"""A warehouse, a sandbox, and the tasks that send the warehouse's refunds to it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.end_to_end.processes import TaskProcess, TaskServer
from tests.support import ALL_REFUNDS


class Scenario:
    """
    What one crash test runs against.

    :param folder: for the log and the output of the tasks
    """

    #: Whether the tasks wait almost not at all before they send a request again.
    short_waits = False

    def __init__(self, sandbox: Sandbox, warehouse: Any, folder: Path, tasks: TaskServer) -> None:
        self.sandbox = sandbox
        self.warehouse = warehouse
        self.tasks = tasks
        self._log = folder / "tasks.log"
        self._output = folder / "output"

    def start(
        self,
        sql: str = ALL_REFUNDS,
        *,
        operator: str = "sync",
        run_id: str = "manual__1",
        in_airflow: bool = False,
        **options: Any,
    ) -> TaskProcess:
        """
        Start a task.

        :param sql: the query of a ``sync``
        :param options: the operator's other parameters; ``recheck_unreferred`` in days
        """
        return self.tasks.start(
            operator=operator,
            options={"sql": sql, **options} if operator == "sync" else options,
            run_id=run_id,
            in_airflow=in_airflow,
            short_waits=self.short_waits,
            environment={name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_")},
            log=str(self._log),
            output=str(self._output),
        )

    def xcom(self, key: str) -> Any:
        """Return what the last task pushed, if it was not run in Airflow."""
        return json.loads(self._output.read_text())[key]

    def states(self) -> list[str]:
        """Return the states of the runs in Airflow so far."""
        return self._output.read_text().split() if self._output.exists() else []

    def temporary_files(self) -> list[str]:
        """Return what the tasks have left in their temporary folder."""
        return [path.name for path in self.tasks.temporary.iterdir()]

    def request_count(self) -> int:
        """Return the number of refund calls so far."""
        return len(self.sandbox.refund_requests())

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def wait_for_requests(self, count: int, process: TaskProcess) -> None:
        """Wait until there were so many refund calls, or the process has ended."""
        self.wait_until(lambda: bool(self.sandbox.refund_requests(after=count - 1, limit=1)) or process.ended)

    def log(self) -> str:
        """Return the end of what the tasks logged, to explain why one failed."""
        return self._log.read_text()[-3000:]
