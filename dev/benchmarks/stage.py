"""What the measurements run against: an Airflow, a sandbox and a PostgreSQL server, all on the loopback address."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dev import databases, sandbox
from dev.airflow import ROOT, Connections, Home
from dev.processes import run

#: Seconds; no measurement takes longer, and a benchmark must not hang.
TIMEOUT = 1800
#: As good as no limit.
UNLIMITED = 1_000_000


@dataclass
class Stage:
    """
    A temporary folder, and the servers of the benchmark; each is started when it is first needed.

    :param folder: it is deleted at the end
    """

    folder: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _postgresql: databases.PostgreSQL | None = None

    @classmethod
    @contextmanager
    def fresh(cls) -> Iterator[Stage]:
        with tempfile.TemporaryDirectory(prefix="firstpromoter-bench-") as folder:
            stage = cls(Path(folder))
            with stage._stack:
                try:
                    yield stage
                finally:
                    # A second Ctrl-C must not interrupt the end and leave a part of the processes behind.
                    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGINT, before)

    def environment(self, connections: Connections, **more: str) -> dict[str, str]:
        """Return the environment of an Airflow with these connections; see :meth:`dev.airflow.Home.environment`."""
        return Home(self.folder).environment(connections, dags=ROOT / "dev" / "benchmarks" / "dags", **more)

    def run_python(self, *arguments: str, connections: Connections) -> None:
        """
        Run Python with these arguments until it ends.

        :raises dev.processes.ProcessFailed: if it fails
        """
        env = self.environment(connections)
        log = self.folder / "python.log"
        run([sys.executable, *arguments], env=env, log=log, name=" ".join(arguments), timeout=TIMEOUT)

    def sandbox(self, *arguments: str) -> AbstractContextManager[sandbox.SandboxProcess]:
        """Start a sandbox in a process of its own, so that its work does not count as the client's."""
        return sandbox.running_sandbox(*arguments, log=self.folder / "sandbox.log")

    def postgresql(self, name: str) -> dict[str, Any]:
        """Create a database if it does not exist, and return the fields of an Airflow connection to it."""
        if self._postgresql is None:
            self._postgresql = self._stack.enter_context(databases.postgresql())
        if not self.has_postgresql(name):
            self._postgresql.create(name)
        return self._postgresql.connection(name)

    def has_postgresql(self, name: str) -> bool:
        """Return whether a database of this name was created."""
        found = "SELECT 1 FROM pg_database WHERE datname = %s"
        return self._postgresql is not None and bool(self._postgresql.execute("postgres", found, name))

    def drop_postgresql(self, name: str) -> None:
        """Drop a database, so that the disk does not fill with what is no longer needed."""
        if self._postgresql is not None:
            self._postgresql.execute("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def firstpromoter(base_url: str, **extra: Any) -> dict[str, Any]:
    """Return a FirstPromoter connection that is not limited unless the extra says otherwise."""
    return sandbox.firstpromoter_connection(base_url, **{"requests_per_minute": UNLIMITED, **extra})
