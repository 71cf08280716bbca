"""``make ui``: the demo in Airflow's own pages, with the DAG, its connections and the sandbox ready."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from dev.airflow import Api, Standalone, standalone
from dev.demo import report, warehouse
from dev.demo.dag_runs import Airflow
from dev.demo.report import console
from dev.demo.stage import DAG
from dev.home import Home
from dev.processes import Failed, leave_on_signals
from dev.sandbox import Sandbox

#: Seconds that Airflow's parts may take to come up.
PATIENCE = 180


def main() -> int:
    leave_on_signals()
    home = Home.fresh(".ui")
    try:
        with ExitStack() as stack:
            sandbox = stack.enter_context(Sandbox.started(home))
            environment = home.environment(AIRFLOW__CORE__TEST_CONNECTION="Enabled", AIRFLOW__CORE__PARALLELISM="4")
            _prepare(home, sandbox, Airflow(home, environment))
            with report.step("Airflow starts"):
                port = int(os.environ.get("PORT", "8080"))
                airflow = stack.enter_context(standalone(environment, log=home.log("airflow"), port=port))
                _until_up(airflow, home.log("airflow"))
            _explain(airflow.url, sandbox, home)
            code = airflow.process.wait()
            raise Failed(f"Airflow stopped by itself, with exit code {code}", home.log("airflow"))
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


def _until_up(airflow: Standalone, log: Path) -> None:
    """Wait for Airflow to know the DAG, and let it run."""
    api = Api(airflow.url)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if airflow.process.poll() is not None:
            raise Failed(f"Airflow did not start: exit code {airflow.process.returncode}", log)
        if api.patch(f"dags/{DAG}", {"is_paused": False}):
            return
        time.sleep(0.5)
    raise Failed(f"Airflow was not up after {PATIENCE} seconds", log)


if __name__ == "__main__":
    sys.exit(main())
