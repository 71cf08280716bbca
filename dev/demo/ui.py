"""``make ui``: the demo in Airflow's UI, with the DAG, its connections and the sandbox ready to use."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from dev.airflow import ROOT, Api, Home, Standalone, standalone
from dev.demo import warehouse
from dev.demo.dag_runs import Airflow
from dev.demo.stage import DAG, connections, refer_customers, warehouse_of
from dev.processes import ProcessFailed, wait_for
from dev.sandbox import SandboxProcess, running_sandbox
from dev.terminal import console, run_tool, step

#: Seconds that Airflow's parts may take to start.
START_TIMEOUT = 300


def main(folder: Path = ROOT / ".ui") -> int:
    home = Home.fresh(folder)
    with ExitStack() as stack:
        sandbox = stack.enter_context(running_sandbox(log=home.log("sandbox")))
        env = home.environment(AIRFLOW__CORE__TEST_CONNECTION="Enabled", AIRFLOW__CORE__PARALLELISM="4")
        invalid = _prepare(home, sandbox, Airflow(home, env))
        with step("Airflow starts"):
            port = int(os.environ.get("PORT", "8080"))
            airflow = stack.enter_context(standalone(env, log=home.log("airflow"), port=port))
            _unpause_dag(airflow)
        _explain(airflow.url, sandbox, home, invalid)
        code = airflow.process.wait()
        raise ProcessFailed(f"Airflow stopped by itself, with exit code {code}", home.log("airflow"))


def _prepare(home: Home, sandbox: SandboxProcess, airflow: Airflow) -> int:
    """Fill Airflow's database, the warehouse and the sandbox; return the number of invalid rows in the warehouse."""
    with step("Airflow creates its database"):
        airflow.migrate()
    with step("The connections are created"):
        # Airflow's UI does not show connections that are environment variables.
        file = home.folder / "connections.json"
        file.write_text(json.dumps(connections(home, sandbox), indent=2))
        airflow.import_connections(file)
    with step("Refunds are inserted into the warehouse, and the sandbox learns who referred the customers"):
        rows = warehouse.RefundGenerator().first_day()
        warehouse.create(warehouse_of(home))
        warehouse.insert(warehouse_of(home), rows)
        refer_customers(sandbox, rows)
    return sum(row.outcome == "rejected" for row in rows)


def _explain(url: str, sandbox: SandboxProcess, home: Home, invalid: int) -> None:
    first_run = f"""The first run of the DAG [bold]fails on purpose[/]: {invalid} rows of the warehouse are invalid, and
    track_refunds reports them after it has sent all others. Trigger the DAG again: no refund is sent twice."""
    if not invalid:
        first_run = "The DAG, in its first run. Trigger it again: no refund is sent twice."
    console.print(
        f"""
[bold]{url}/dags/{DAG}[/]
    {first_run}
[bold]{url}/plugin/refund-runs[/]
    The page "Refund runs" of the menu Browse: what each run did, and what needs attention.
[bold]{url}/connections[/]
    The connections of FirstPromoter and of the warehouse. To test one, press the pulse line left of the pencil.
[bold]{sandbox.control_url}/recorded[/]
    The refunds that the sandbox has recorded in the place of FirstPromoter.

The warehouse, which also holds the ledger: {warehouse_of(home)}
Airflow's log: {home.log("airflow")}

Press Ctrl-C to stop everything.
""",
        soft_wrap=True,
    )


def _unpause_dag(airflow: Standalone) -> None:
    """Wait until Airflow knows the DAG, and unpause it, so that its first run starts."""
    api = Api(airflow.url)
    wait_for(
        lambda: api.patch(f"dags/{DAG}", {"is_paused": False}),
        "The start of Airflow",
        airflow.process,
        timeout=START_TIMEOUT,
    )


if __name__ == "__main__":
    sys.exit(run_tool(main))
