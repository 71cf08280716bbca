"""Redis, PostgreSQL, and an Airflow with CeleryExecutor and two workers, all on the loopback address."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import requests

from dev.airflow import Connections, Home, run_airflow
from dev.databases import PostgreSQL, postgresql
from dev.processes import Process, free_port, running, wait_for

T = TypeVar("T")
WORKERS = ("worker-1", "worker-2")
#: Seconds that a part may take to start.
START_TIMEOUT = 180


@dataclass
class Cluster:
    """
    A running Airflow and its servers.

    :param env: the environment of its parts
    :param parts: their processes
    """

    home: Home
    env: dict[str, str]
    postgresql: PostgreSQL
    parts: list[Process] = field(default_factory=list)

    def wait_for(self, look: Callable[[], T | None], what: str, timeout: float = START_TIMEOUT) -> T:
        """Call a function until it returns a true value; see :func:`dev.processes.wait_for`."""
        # If the time is over, the log of the scheduler tells most.
        parts = sorted(self.parts, key=lambda part: part.name != "scheduler")
        return wait_for(look, what, *parts, timeout=timeout)

    def execute(self, database: str, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """
        Execute one statement and return its rows.

        :param database: ``airflow`` is Airflow's own database, ``warehouse`` holds the refunds and the ledger
        """
        return self.postgresql.execute(database, sql, *parameters)

    def run_airflow(self, *arguments: str) -> None:
        """Run ``airflow ...`` and wait until it ends."""
        run_airflow(*arguments, env=self.env, log=self.home.log("cli"), timeout=START_TIMEOUT)


@contextmanager
def running_cluster(home: Home, connections: Connections) -> Iterator[Cluster]:
    """
    Start everything, and stop it at the end of the block.

    :param connections: the Airflow connections besides ``warehouse``
    """
    with ExitStack() as stack:
        server = stack.enter_context(postgresql())
        for database in ("airflow", "warehouse"):
            server.create(database)
        redis, api = free_port(), free_port()
        connections = {**connections, "warehouse": server.connection("warehouse")}
        cluster = Cluster(home, _environment(home, connections, server, redis, api), server)

        def start(name: str, *command: str, **more: str) -> None:
            process = running(command, env={**cluster.env, **more}, log=home.log(name))
            cluster.parts.append(stack.enter_context(process))

        airflow = (sys.executable, "-m", "airflow")
        start("redis", "redis-server", "--bind", "127.0.0.1", "--port", str(redis), "--save", "", "--appendonly", "no")
        cluster.run_airflow("db", "migrate")
        start("api-server", *airflow, "api-server", "--workers", "1")
        start("scheduler", *airflow, "scheduler")
        start("dag-processor", *airflow, "dag-processor")
        for worker in WORKERS:
            options = ("--concurrency", "1", "--skip-serve-logs", "--celery-hostname", worker)
            start(worker, *airflow, "celery", "worker", *options, WORKER_NAME=worker)
        version = f"http://127.0.0.1:{api}/api/v2/version"
        cluster.wait_for(lambda: _responds(version), "The start of Airflow's API server")
        yield cluster


def _environment(home: Home, connections: Connections, server: PostgreSQL, redis: int, api: int) -> dict[str, str]:
    """
    Return the environment of all parts of Airflow.

    :param redis: the port of Redis
    :param api: the port of Airflow's API server
    """
    return home.environment(
        connections,
        dags=Path(__file__).parent / "dags",
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
        AIRFLOW__CORE__EXECUTOR="CeleryExecutor",
        AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"http://127.0.0.1:{api}/execution/",
        AIRFLOW__CORE__HOSTNAME_CALLABLE="dev.distributed.worker.name",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
        AIRFLOW__API__HOST="127.0.0.1",
        AIRFLOW__API__PORT=str(api),
        AIRFLOW__API__BASE_URL=f"http://127.0.0.1:{api}",
        AIRFLOW__API__SECRET_KEY=secrets.token_hex(16),
        AIRFLOW__API_AUTH__JWT_SECRET=secrets.token_hex(32),
        AIRFLOW__CELERY__BROKER_URL=f"redis://127.0.0.1:{redis}/0",
        AIRFLOW__CELERY__RESULT_BACKEND=f"redis://127.0.0.1:{redis}/1",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=server.url("airflow"),
    )


def _responds(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False
