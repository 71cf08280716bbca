"""An Airflow of its own in a folder: its environment, its command line, all of its parts, and its REST API."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import requests

from dev.processes import Process, free_port, run, running

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE_DAGS = ROOT / "dags_examples"
#: Seconds that a command of Airflow may take.
COMMAND_TIMEOUT = 600

#: Airflow connections by connection id; each has the fields of Airflow's JSON format.
Connections = Mapping[str, Mapping[str, Any]]


def settings_of(airflow_home: Path, dags: Path) -> dict[str, str]:
    """
    Return the environment variables of an Airflow that has its files in one folder and keeps its data in SQLite.

    :param airflow_home: the folder
    :param dags: the folder of the DAG files
    """
    return {
        "AIRFLOW_HOME": str(airflow_home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{airflow_home / 'airflow.db'}",
    }


def without_airflow(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the variables that configure the user's own Airflow."""
    return {name: value for name, value in environment.items() if not name.startswith("AIRFLOW")}


def as_variables(connections: Connections) -> dict[str, str]:
    """Return connections as the environment variables from which Airflow reads them."""
    return {f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(fields) for conn_id, fields in connections.items()}


@dataclass(frozen=True)
class Home:
    """A folder that holds one Airflow, the databases that it works with, and the logs of all processes."""

    folder: Path

    @classmethod
    def fresh(cls, folder: Path) -> Home:
        """Empty the folder, or make it."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return cls(folder)

    @property
    def airflow(self) -> Path:
        """The folder of ``AIRFLOW_HOME``."""
        return self.folder / "airflow"

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def environment(
        self, connections: Connections | None = None, *, dags: Path = EXAMPLE_DAGS, **more: str
    ) -> dict[str, str]:
        """
        Return the environment of this Airflow, which ignores any other Airflow of the machine.

        :param connections: the Airflow connections; they are not shown in Airflow's UI
        :param dags: the folder of the DAG files
        :param more: further variables; they replace those of the same name
        """
        return {
            **without_airflow(os.environ),
            **settings_of(self.airflow, dags),
            **as_variables(connections or {}),
            # `airflow standalone` starts its parts by the name of the command.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            **more,
        }


def run_airflow(
    *arguments: str,
    env: Mapping[str, str],
    log: Path,
    timeout: float = COMMAND_TIMEOUT,
    while_running: Callable[[], object] = lambda: None,
) -> None:
    """
    Run ``airflow ...`` and wait until it ends.

    :param log: the file to which its output is appended
    :param timeout: in seconds
    :param while_running: called a few times a second
    :raises dev.processes.ProcessFailed: if the command fails
    """
    run(
        [sys.executable, "-m", "airflow", *arguments],
        env=env,
        log=log,
        name=f"`airflow {' '.join(arguments)}`",
        timeout=timeout,
        while_running=while_running,
    )


class Standalone(NamedTuple):
    """
    A running ``airflow standalone``.

    :param url: the address of its UI, without a slash at the end
    """

    url: str
    process: Process


@contextmanager
def standalone(env: Mapping[str, str], *, log: Path, port: int = 0) -> Iterator[Standalone]:
    """
    Start all parts of an Airflow 3 on the loopback address, without a login; stop them at the end of the block.

    It does not wait until Airflow is ready.

    :param port: used if it is free; any other port otherwise
    """
    port = free_port(port)
    url = f"http://127.0.0.1:{port}"
    settings = {
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # no login, because only this machine can reach it
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "airflow", "standalone"]
    # SIGINT is the only signal on which it stops its parts in order.
    with running(command, env={**env, **settings}, log=log, name="Airflow", stop_signal=signal.SIGINT) as process:
        yield Standalone(url, process)


class Api:
    """
    A client of the REST API of an Airflow 3 without a login.

    :param url: the address of its UI, without a slash at the end
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between two processes of one machine

    def get(self, path: str) -> Any:
        """
        Send a GET request.

        :param path: the part of the address after ``/api/v2/``
        :return: the parsed response; None if Airflow does not respond yet, or responds with an error
        """
        return self._request("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a POST request; see :meth:`get`."""
        return self._request("POST", path, json=body)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        """Send a PATCH request; see :meth:`get`."""
        return self._request("PATCH", path, json=body)

    def _request(self, method: str, path: str, **options: Any) -> Any:
        url = f"{self.url}/api/v2/{path}"
        try:
            login = self._session.get(f"{self.url}/auth/token", timeout=10)
            login.raise_for_status()
            headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
            response = self._session.request(method, url, headers=headers, timeout=10, **options)
        except requests.RequestException:
            return None
        return response.json() if response.ok else None
