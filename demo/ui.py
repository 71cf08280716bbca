"""``make ui``: the demo in Airflow's own pages, with the DAG, its connections and the sandbox ready."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import requests

from demo import report, warehouse
from demo.dag_runs import Airflow
from demo.home import Home, free_port
from demo.processes import Failed, leave_on_signals, running
from demo.report import console
from demo.sandbox import Sandbox
from demo.stage import DAG

#: Seconds that Airflow's parts may take to come up.
PATIENCE = 180


def main() -> int:
    leave_on_signals()
    home = Home.fresh(".ui")
    url = f"http://127.0.0.1:{free_port(int(os.environ.get('PORT', '8080')))}"
    try:
        with ExitStack() as stack:
            sandbox = stack.enter_context(Sandbox.started(home))
            environment = home.environment(
                AIRFLOW__API__HOST="127.0.0.1",
                AIRFLOW__API__PORT=url.rpartition(":")[2],
                AIRFLOW__API__BASE_URL=url,
                AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=str(free_port()),
                AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT=str(free_port()),
                AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",  # no login: it listens on this machine alone
                AIRFLOW__CORE__TEST_CONNECTION="Enabled",
                AIRFLOW__CORE__PARALLELISM="4",
            )
            _prepare(home, sandbox, Airflow(home, environment))
            with report.step("Airflow starts"):
                airflow = stack.enter_context(
                    # `standalone` stops its parts in order on Ctrl-C, and knows no other signal.
                    running(
                        [sys.executable, "-m", "airflow", "standalone"],
                        env=environment,
                        log=home.log("airflow"),
                        ask=signal.SIGINT,
                    )
                )
                _until_up(airflow, url, home.log("airflow"))
            _explain(url, sandbox, home)
            airflow.wait()
            raise Failed(f"Airflow stopped by itself, with exit code {airflow.returncode}", home.log("airflow"))
    except Failed as failure:
        report.trouble(failure)
        return 1
    except KeyboardInterrupt:
        console.print("\nEverything is stopped.")
        return 0


def _prepare(home: Home, sandbox: Sandbox, airflow: Airflow) -> None:
    with report.step("Airflow makes its database"):
        airflow.migrate()
    with report.step("The connections are made"):
        # Not as environment variables, which Airflow's pages do not show.
        file = home.folder / "connections.json"
        file.write_text(json.dumps(home.connections(sandbox.connection), indent=2))
        airflow.add_connections(file)
    with report.step("The warehouse is filled, and FirstPromoter's sandbox learns who referred the customers"):
        rows = warehouse.Refunds().first()
        warehouse.create(home.warehouse)
        warehouse.insert(home.warehouse, rows)
        sandbox.learn(rows)


def _explain(url: str, sandbox: Sandbox, home: Home) -> None:
    console.print(
        f"""
[bold]{url}/dags/{DAG}[/]
    The DAG, in its first run. Trigger it again: nothing is sent twice.
[bold]{url}/connections[/]
    Edit firstpromoter_default and press Test.
[bold]{sandbox.url}/sandbox/recorded[/]
    What the sandbox, in FirstPromoter's place, has recorded.

The warehouse, with the ledger in it: {home.warehouse}
Airflow's log: {home.log("airflow")}

Ctrl-C stops it all.
""",
        soft_wrap=True,
    )


def _until_up(airflow: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait for Airflow to know the DAG, and let it run."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if airflow.poll() is not None:
            raise Failed(f"Airflow did not start: exit code {airflow.returncode}", log)
        try:
            if _unpaused(url):
                return
        except requests.RequestException:
            pass  # not up yet
        time.sleep(0.5)
    raise Failed(f"Airflow was not up after {PATIENCE} seconds", log)


def _unpaused(url: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False  # no proxy between two processes of one machine
        token = session.get(f"{url}/auth/token", timeout=5).json()["access_token"]
        answer = session.patch(
            f"{url}/api/v2/dags/{DAG}",
            json={"is_paused": False},
            headers={"Authorization": f"Bearer {token}"},
            timeout=5,
        )
        return answer.ok


if __name__ == "__main__":
    sys.exit(main())
