"""
What the tests run against: an Airflow of their own, a FirstPromoter on the loopback, and real databases.

Connections are environment variables, as Airflow reads them, and last for one test.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from dev.airflow import EXAMPLE_DAGS, Home, run_airflow, settings_of, without_airflow
from dev.databases import MariaDB, has_mariadb, mariadb, postgresql
from tests.databases import Database, PostgreSQLDatabases, make_database
from tests.spreading import Spreading
from tests.support import EVERY_DATABASE, SECOND_KEY

# Databases wait for the disk at every commit, which is most of the time of many tests. In memory they need not.
IN_MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > 2 * 2**30:
    os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)

# Airflow reads these when it is first imported. The user's own Airflow must not affect the tests, nor they it.
for name in set(os.environ) - set(without_airflow(os.environ)):
    del os.environ[name]
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="fp-airflow-"))
os.environ |= settings_of(AIRFLOW_HOME, EXAMPLE_DAGS)


# The same examples with every run, lest a change is blamed for what chance found: `make soak` leaves it to chance.
# Busy machines are no bug, hence no deadline.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.register_profile("soak", settings.get_profile("suite"), derandomize=False, max_examples=1000)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measure", action="store_true", help="write the seconds of each file into tests/measured.json")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Spreading(measure=config.getoption("--measure")))


def pytest_unconfigure() -> None:
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def new_airflow_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database of Airflow's own, to be copied; made once for all processes of a run of the tests."""
    folder = tmp_path_factory.getbasetemp()
    home = Home(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
    made = home.folder / "airflow.db"
    with home.log("migrate").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            run_airflow("db", "migrate", env=home.environment(), log=home.log("migrate"))
            (home.airflow / "airflow.db").rename(made)
    return made


@pytest.fixture(scope="session")
def airflow_db(new_airflow_db: Path) -> None:
    """Create Airflow's own database, for tests that run DAGs or tasks."""
    shutil.copy(new_airflow_db, AIRFLOW_HOME / "airflow.db")


# --- FirstPromoter ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _served() -> Iterator[Any]:
    from airflow_provider_firstpromoter.sandbox import Account, Settings, running_sandbox

    with running_sandbox(Settings(accounts=(Account(further_keys=(SECOND_KEY,)),), requests_per_minute=0)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_served: Any, request: pytest.FixtureRequest) -> Any:
    """A FirstPromoter without a rate limit and without leads; ``tests.support.BOTH_SHAPES`` runs a test with each."""
    _served.reset()
    _served.change_settings(shape=getattr(request, "param", "older"))
    return _served


@pytest.fixture(scope="session")
def call(request: pytest.FixtureRequest) -> Any:
    """What is tracked; ``tests.support.BOTH_CALLS`` runs a test with each."""
    from airflow_provider_firstpromoter.calls import REFUND, SALE

    return {one.name: one for one in (REFUND, SALE)}[getattr(request, "param", "refund")]


@pytest.fixture
def new_sandbox() -> Iterator[Callable[..., Any]]:
    """Starts a further one for this test: ``new_sandbox(requests_per_minute=10)``, the fields of its Settings."""
    from airflow_provider_firstpromoter.sandbox import Settings, running_sandbox

    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running_sandbox(Settings(**settings)))


@pytest.fixture
def set_connection(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Sets an Airflow connection for this test: ``set_connection("warehouse", conn_type="sqlite", host=path)``."""

    def set_connection(conn_id: str, **fields: Any) -> str:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        return conn_id

    return set_connection


@pytest.fixture
def connect(
    request: pytest.FixtureRequest, set_connection: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """
    Sets a FirstPromoter connection: ``connect()`` to the ``sandbox``, or to another one, with the connection's extras.

    Its pace is unlimited unless ``requests_per_minute`` is among them, and no other test's requests count.
    """
    from airflow_provider_firstpromoter.api import rate_limit

    monkeypatch.setattr(rate_limit, "_rate_limiters", {})

    def connect(
        sandbox: Any = None,
        *,
        conn_id: str = "firstpromoter_default",
        login: str | None = None,
        password: str | None = None,
        host: str | None = None,
        **extra: Any,
    ) -> str:
        sandbox = sandbox or request.getfixturevalue("sandbox")
        return set_connection(
            conn_id,
            conn_type="firstpromoter",
            login=sandbox.account_id if login is None else login,
            password=sandbox.api_key if password is None else password,
            host=sandbox.base_url if host is None else host,
            extra={"requests_per_minute": 1_000_000, "timeout": 10, **extra},
        )

    return connect


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again almost at once, unless the server says when."""
    from tests.support import shorten_retry_waits

    shorten_retry_waits(monkeypatch.setattr)


# --- Databases --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgresql_databases() -> Iterator[PostgreSQLDatabases]:
    with postgresql(durable=False) as server:
        yield PostgreSQLDatabases(server)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    if not has_mariadb():
        pytest.skip("MariaDB is not installed here (Debian: apt-get install mariadb-server)")
    with mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def snowflake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Snowflake; only the environment of ``make test-snowflake`` has one."""
    from tests.warehouses import snowflake_server

    folder = tmp_path_factory.mktemp("snowflake")
    with pytest.MonkeyPatch.context() as environment, snowflake_server.running_snowflake(folder) as server:
        for name, value in snowflake_server.environment(server).items():
            environment.setenv(name, value)
        yield server


@pytest.fixture
def new_database(
    request: pytest.FixtureRequest, tmp_path: Path, set_connection: Callable[..., str]
) -> Iterator[Callable[..., Database]]:
    """Makes a further empty database for this test: ``new_database("sqlite", "ledger")`` names its connection."""
    made: list[Database] = []

    def new_database(kind: str, conn_id: str | None = None) -> Database:
        database = make_database(kind, request, tmp_path)
        made.append(database)
        if conn_id is not None:
            assert database.connection is not None
            database.conn_id = set_connection(conn_id, **database.connection)
        return database

    yield new_database
    for database in made:
        database.dispose()
        database.give_back()


@pytest.fixture(params=["sqlite", "postgresql"])
def warehouse(request: pytest.FixtureRequest, new_database: Callable[..., Database]) -> Database:
    """An empty warehouse, in turn on SQLite and PostgreSQL, behind the Airflow connection ``warehouse``."""
    return new_database(request.param, "warehouse")


# Snowflake's clients are in an environment of their own: make test-snowflake.
@pytest.fixture(params=[*EVERY_DATABASE, *(["snowflake"] if find_spec("fakesnow") else [])])
def database(request: pytest.FixtureRequest, new_database: Callable[..., Database]) -> Database:
    """An empty database of every kind that the ledger is proven on, without an Airflow connection."""
    return new_database(request.param)


@pytest.fixture
def run_dag(airflow_db: None) -> Callable[..., Any]:
    """Runs a DAG to its end: ``run_dag(dag, param=value)``."""
    from tests.support import run

    return run


# --- Several at once --------------------------------------------------------------------------------------


@pytest.fixture
def at_once() -> Callable[..., list[Any]]:
    """Calls functions in threads that start together; returns their values, or raises what the first one raised."""

    def at_once(*calls: Callable[[], Any], timeout: float = 60) -> list[Any]:
        barrier = threading.Barrier(len(calls))
        values: list[Any] = [None] * len(calls)
        errors: list[BaseException] = []

        def run(position: int, call: Callable[[], Any]) -> None:
            try:
                barrier.wait()
                values[position] = call()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=one, daemon=True) for one in enumerate(calls)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))
        assert not any(thread.is_alive() for thread in threads), "a thread hangs"
        if errors:
            raise errors[0]
        return values

    return at_once
