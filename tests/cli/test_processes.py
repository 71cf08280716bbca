"""The commands as processes of their own: where they find connections, and what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.support import ALL_REFUNDS, refunds

MODULE = [sys.executable, "-m", "airflow_provider_firstpromoter"]
AIRFLOW = [sys.executable, "-m", "airflow", "firstpromoter"]
#: Airflow knows the commands of providers since then.
HAS_COMMANDS = tuple(map(int, version("apache-airflow").split(".")[:2])) >= (3, 2)


@pytest.fixture
def connections(
    sandbox: Sandbox, new_database: Callable[..., Any], airflow_db: None, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """
    The environment of a command: the account is a connection in Airflow's database, the ledger's in a secrets backend,
    and the warehouse's in the environment.
    """
    from airflow.models import Connection
    from airflow.utils.session import create_session

    warehouse = new_database("sqlite")
    warehouse.fill(refunds(2))
    fields: dict[str, Any] = {"conn_type": "firstpromoter", "login": sandbox.account_id, "password": sandbox.api_key}
    account = Connection(conn_id="in_database", **fields, host=sandbox.base_url)
    account.set_extra(json.dumps({"ledger_conn_id": "in_secrets"}))
    with create_session() as session:
        session.add(account)
    secrets = tmp_path / "connections.json"
    secrets.write_text(json.dumps({"in_secrets": warehouse.connection}))
    yield {
        **os.environ,
        "AIRFLOW_CONN_IN_ENVIRONMENT": json.dumps(warehouse.connection),
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(secrets)}),
    }
    with create_session() as session:
        session.query(Connection).filter_by(conn_id="in_database").delete()


def run(*command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=env)


@pytest.mark.parametrize("program", [MODULE, *([AIRFLOW] if HAS_COMMANDS else [])], ids=lambda program: program[2])
def test_command_finds_connections_in_environment_database_and_secrets_backend(
    program: list[str], connections: dict[str, str]
) -> None:
    query = ("--sql-conn-id", "in_environment", "--sql", ALL_REFUNDS)

    done = run(*program, "check", "in_database", *query, "--output", "json", env=connections)

    assert done.returncode == 0, done.stderr
    assert {row["check"]: row["result"] for row in json.loads(done.stdout)} == dict.fromkeys(
        ("connection", "commissions", "ledger", "query"), "ok"
    ), "and nothing but JSON is on standard output"
    if program is MODULE:
        done = run(*program, "report", "in_nothing", env=connections)
        assert (done.returncode, done.stdout) == (1, "")
        assert "The conn_id `in_nothing` isn't defined" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_commands_of_the_provider_are_valid_for_this_airflow() -> None:
    """Versions before 3.2 ignore the key; they validate the rest of the provider info by a schema."""
    import airflow
    import jsonschema

    from airflow_provider_firstpromoter.cli.definition import COMMANDS, get_firstpromoter_cli_commands
    from airflow_provider_firstpromoter.get_provider_info import get_provider_info

    info = get_provider_info()
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text())
    jsonschema.validate(info, schema)
    assert ("cli" in schema["properties"]) == HAS_COMMANDS
    assert info["cli"] == [f"{get_firstpromoter_cli_commands.__module__}.{get_firstpromoter_cli_commands.__name__}"]
    for command in COMMANDS:
        action = command.action()
        assert action.epilog is not None
        assert f"airflow firstpromoter {command.name} " in action.epilog
        assert "exit codes:" in action.epilog


def test_commands_are_imported_when_they_run() -> None:
    """Airflow imports the parser with every command of its own."""
    script = (
        "import sys, airflow.cli.cli_config\n"
        "before = set(sys.modules)\n"
        "from airflow_provider_firstpromoter.cli import definition\n"
        "print(*(name for name in set(sys.modules) - before if name.startswith('airflow_provider_firstpromoter.')))\n"
    )
    done = run(sys.executable, "-c", script, env=dict(os.environ))
    assert set(done.stdout.splitlines()[-1].split()) == {
        "airflow_provider_firstpromoter.cli",
        "airflow_provider_firstpromoter.cli.definition",
    }
