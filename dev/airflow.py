"""All of an Airflow 3 on the loopback, without a login, and its API."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests

from dev.home import free_port
from dev.processes import running


class Standalone(NamedTuple):
    """
    A running ``airflow standalone``.

    :param url: its pages', without a slash at the end
    """

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def standalone(environment: Mapping[str, str], *, log: Path, port: int = 0) -> Iterator[Standalone]:
    """
    Start it, without waiting until it is up, and stop it on the way out.

    :param port: used if it is free, else any that is
    """
    port = free_port(port)
    url = f"http://127.0.0.1:{port}"
    settings = {
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # no login: it listens on this machine alone
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "airflow", "standalone"]
    # It stops its parts in order on Ctrl-C, and knows no other signal.
    with running(command, env={**environment, **settings}, log=log, ask=signal.SIGINT) as process:
        yield Standalone(url, process)


class Api:
    """
    The API of an Airflow without a login.

    :param url: its pages', without a slash at the end
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between two processes of one machine

    def get(self, path: str) -> Any:
        """
        :param path: behind ``/api/v2/``
        :returns: None as long as nobody answers, or there is no such thing
        """
        return self._ask("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """:returns: as :meth:`get` does"""
        return self._ask("POST", path, json=body)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        """:returns: as :meth:`get` does"""
        return self._ask("PATCH", path, json=body)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            token = self._session.get(f"{self.url}/auth/token", timeout=10).json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            answer = self._session.request(method, f"{self.url}/api/v2/{path}", headers=headers, timeout=10, **more)
        except requests.RequestException:
            return None
        return answer.json() if answer.ok else None
