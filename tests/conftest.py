"""
What the tests run against: an Airflow of their own, a FirstPromoter on the loopback, and real databases.

Connections are environment variables, as Airflow reads them, and last for one test.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from dev.airflow import EXAMPLE_DAGS, run_airflow, settings_of, without_airflow
from dev.databases import MariaDB, PostgreSQL, has_mariadb, mariadb, postgresql
from tests.support import EVERY_DATABASE

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
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.register_profile("soak", settings.get_profile("suite"), derandomize=False, max_examples=2000)
settings.load_profile("suite")


def pytest_unconfigure() -> None:
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Create Airflow's own database, for tests that run DAGs or tasks. It takes several seconds."""
    run_airflow("db", "migrate", env=os.environ, log=AIRFLOW_HOME / "migrate.log")


# --- FirstPromoter ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _served() -> Iterator[Any]:
    from airflow_provider_firstpromoter.sandbox import Settings, running_sandbox

    with running_sandbox(Settings(requests_per_minute=0)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_served: Any) -> Any:
    """A FirstPromoter without a limit that knows nobody."""
    _served.reset()
    return _served


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

#: The refund call's own field names, and what a warehouse usually holds in them.
COLUMNS = {
    "event_id": "VARCHAR(400)",
    "amount": "BIGINT",
    "currency": "VARCHAR(10)",
    "uid": "VARCHAR(400)",
    "email": "VARCHAR(400)",
    "quantity": "INTEGER",
    "sale_event_id": "VARCHAR(400)",
    "skip_email_notification": "BOOLEAN",
}


class Database:
    """
    A real database, empty at the start of a test.

    :param kind: ``sqlite``, ``postgresql``, ``mariadb``, ``duckdb`` or ``snowflake``
    :param url: SQLAlchemy's, for engines of the test's own
    :param connection: the fields of an Airflow connection to it; None where no provider of it is installed
    """

    def __init__(
        self,
        kind: str,
        url: str,
        connection: dict[str, Any] | None = None,
        give_back: Callable[[], None] | None = None,
    ) -> None:
        self.kind = kind
        self.url = url
        self.connection = connection
        self.give_back = give_back or (lambda: None)
        #: The Airflow connection's id, once it is set.
        self.conn_id = ""
        self._engines: list[Any] = []

    def engine(self) -> Any:
        """An engine of its own, as Airflow's hooks make them; closed after the test."""
        from sqlalchemy import create_engine

        engine = create_engine(self.url, future=True, hide_parameters=True)
        self._engines.append(engine)
        return engine

    def run(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Execute in the driver's own style, commit, and return the rows if there are any."""
        if not self._engines:
            self.engine()
        with self._engines[0].begin() as connection:
            result = connection.exec_driver_sql(sql, parameters)
            return [tuple(row) for row in result] if result.returns_rows else []

    def fill(self, rows: Sequence[Mapping[str, Any]], table: str = "refunds", **types: str) -> None:
        """
        Make the table if it is not there, and insert the rows.

        :param types: SQL types of columns, where they should not be as in COLUMNS; further columns too
        """
        columns = {**COLUMNS, **types}
        self.run(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(f'{c} {t}' for c, t in columns.items())})")
        place = "?" if self.kind in ("sqlite", "duckdb") else "%s"
        for _, alike in itertools.groupby(rows, key=tuple):
            batch = list(alike)
            self.run(
                f"INSERT INTO {table} ({', '.join(batch[0])}) VALUES ({', '.join([place] * len(batch[0]))})",
                [tuple(row.values()) for row in batch],
            )

    def dispose(self) -> None:
        for engine in self._engines:
            engine.dispose()


_numbers = itertools.count(1)


class PostgreSQLDatabases:
    """Databases of one PostgreSQL server, which are emptied and used again, because it takes long to create one."""

    def __init__(self, server: PostgreSQL) -> None:
        self.server = server
        self._free: list[str] = []

    def take(self) -> str:
        """Return the name of an empty database."""
        if not self._free:
            self._free.append(f"test_{next(_numbers)}")
            self.server.create(self._free[-1])
        return self._free.pop()

    def give_back(self, name: str) -> None:
        self.server.empty(name)
        self._free.append(name)


@pytest.fixture(scope="session")
def _postgresql() -> Iterator[PostgreSQLDatabases]:
    with postgresql(durable=False) as server:
        yield PostgreSQLDatabases(server)


@pytest.fixture(scope="session")
def _mariadb() -> Iterator[MariaDB]:
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


def _make_database(kind: str, request: pytest.FixtureRequest, folder: Path) -> Database:
    """A new, empty one; what it leaves behind goes away with its server or folder."""
    name = f"test_{next(_numbers)}"
    if kind == "sqlite":
        path = folder / f"{name}.sqlite"
        return Database(kind, f"sqlite:///{path}", {"conn_type": "sqlite", "host": str(path)})
    if kind == "duckdb":
        path = folder / f"{name}.duckdb"
        return Database(kind, f"duckdb:///{path}", {"conn_type": "duckdb", "host": str(path)})
    if kind == "mariadb":
        server: MariaDB = request.getfixturevalue("_mariadb")
        server.create(name)
        return Database(kind, server.url(name))
    if kind == "snowflake":
        snowflake = request.getfixturevalue("snowflake_server")
        return Database(kind, snowflake.url(name), snowflake.connection(name), give_back=snowflake.reset)
    databases: PostgreSQLDatabases = request.getfixturevalue("_postgresql")
    name = databases.take()
    return Database(
        kind,
        databases.server.url(name),
        databases.server.connection(name),
        give_back=lambda: databases.give_back(name),
    )


@pytest.fixture
def new_database(
    request: pytest.FixtureRequest, tmp_path: Path, set_connection: Callable[..., str]
) -> Iterator[Callable[..., Database]]:
    """Makes a further empty database for this test: ``new_database("sqlite", "ledger")`` names its connection."""
    made: list[Database] = []

    def new_database(kind: str, conn_id: str | None = None) -> Database:
        database = _make_database(kind, request, tmp_path)
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
