"""Tasks in processes of their own, which a test can kill; see :mod:`tests.end_to_end.task_process`."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

#: The exit code of a task that raised an exception of Airflow's, as its user would see a failed task.
FAILED = 65
#: The exit code of a task that was told to stop, and did.
STOPPED = 75


class TaskProcess:
    """One forked task."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.codes: queue.SimpleQueue[int] = queue.SimpleQueue()

    def kill(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if not self.ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float = 60) -> int:
        """
        Wait until the process has ended.

        :return: its exit code, negative for a signal
        :raises queue.Empty: if it takes longer
        """
        code = self.codes.get(timeout=seconds)
        self.codes.put(code)
        return code

    @property
    def ended(self) -> bool:
        return not self.codes.empty()

    def has_open_file_in(self, folder: Path) -> bool:
        """Return whether the process has a file in that folder open, even one without a name."""
        found = []
        for link in Path(f"/proc/{self.pid}/fd").glob("*"):
            with suppress(OSError):
                found.append(link.readlink())
        return any(target.is_relative_to(folder) for target in found)


class TaskServer:
    """
    Starts tasks in forks of one process that has imported Airflow.

    :param temporary: the temporary folder of all tasks; SQLite reads the variable only once in a process
    """

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("task_process.py"))],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "SQLITE_TMPDIR": str(temporary),
                "TMPDIR": str(temporary),
                "AIRFLOW__CORE__DAGS_FOLDER": os.devnull,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._responses: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._processes: dict[str, TaskProcess] = {}
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._responses.get(timeout=120) == "ready"

    def start(self, **order: Any) -> TaskProcess:
        """Start a task; the fields of the order are those of :mod:`tests.end_to_end.task_process`."""
        name = f"task{len(self._processes)}"
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"name": name, **order}) + "\n")
        self._server.stdin.flush()
        assert self._responses.get(timeout=60) == name
        return self._processes[name]

    def _listen(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            match line.split():
                case [name, "ended", code]:
                    self._processes[name].codes.put(int(code))
                case [name, pid]:
                    self._processes[name] = TaskProcess(int(pid))
                    self._responses.put(name)
                case [word]:
                    self._responses.put(word)

    def kill_all(self) -> None:
        for process in self._processes.values():
            process.kill(signal.SIGKILL)

    def close(self) -> None:
        self._server.kill()
        self._server.wait()
