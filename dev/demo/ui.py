"""``make ui``: the demo in Airflow's UI, with the DAGs of both calls, their connections and a sandbox ready to use."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from dev.airflow import ROOT, Api, Home, Standalone, standalone
from dev.demo import sales, warehouse
from dev.demo.dag_runs import Airflow
from dev.demo.stage import BOTH_CALLS, DAG, connections, refer_customers, warehouse_of
from dev.processes import ProcessFailed, free_port, wait_for
from dev.sandbox import SandboxProcess, running_sandbox
from dev.terminal import console, run_tool, step

#: Seconds that Airflow's parts may take to start.
START_TIMEOUT = 300


def main(folder: Path = ROOT / ".ui") -> int:
    """
    Run it until Ctrl-C.

    :raises dev.processes.ProcessFailed: if the port is taken, or a part of it fails
    """
    port = int(os.environ.get("PORT", "8080"))
    if free_port(port) != port:
        raise ProcessFailed(
            f"Port {port} of 127.0.0.1 is in use: end what listens there, or name another one: make ui PORT={port + 1}"
        )
    home = Home.fresh(folder)
    with ExitStack() as stack:
        sandbox = stack.enter_context(running_sandbox(log=home.log("sandbox")))
        env = home.environment(AIRFLOW__CORE__TEST_CONNECTION="Enabled", AIRFLOW__CORE__PARALLELISM="4")
        invalid = _prepare(home, sandbox, Airflow(home, env))
        with step("Airflow starts"):
            airflow = stack.enter_context(standalone(env, log=home.log("airflow"), port=port))
            api = Api(airflow.url)
            _unpause(api, DAG, airflow)
        with step(f"The first run of {DAG}"):
            _wait_for_run(api, DAG, airflow)
        with step(f"Sales and their refunds, and the first run of {BOTH_CALLS}"):
            sold = sales.sales()
            sales.insert(warehouse_of(home), sandbox, sold)
            sales.insert_refunds(warehouse_of(home), sold)
            _unpause(api, BOTH_CALLS, airflow)
            _wait_for_run(api, BOTH_CALLS, airflow)
        _explain(airflow.url, sandbox, home, invalid)
        code = airflow.process.wait()
        raise ProcessFailed(f"Airflow stopped by itself, with exit code {code}", home.log("airflow"))


def _prepare(home: Home, sandbox: SandboxProcess, airflow: Airflow) -> int:
    """Fill Airflow's database, the warehouse and the sandbox; return the number of invalid rows in the warehouse."""
    with step("Airflow creates its database"):
        airflow.migrate()
    with step("The connections and a pool are created"):
        # Airflow's UI does not show connections that are environment variables.
        file = home.folder / "connections.json"
        file.write_text(json.dumps(connections(home, sandbox), indent=2))
        airflow.import_connections(file)
        airflow.create_pool("firstpromoter")
    with step("Refunds are inserted into the warehouse, and the sandbox learns who referred the customers"):
        rows = warehouse.RefundGenerator().first_day()
        warehouse.create(warehouse_of(home))
        warehouse.insert(warehouse_of(home), rows)
        refer_customers(sandbox, rows)
    return sum(row.outcome == "rejected" for row in rows)


def _explain(url: str, sandbox: SandboxProcess, home: Home, invalid: int) -> None:
    airflow = f"AIRFLOW_HOME={home.airflow} {Path(sys.executable).with_name('airflow')}"
    first_run = f"""The first run of the DAG [bold]fails on purpose[/]: {invalid} rows of the warehouse are invalid, and
    track_refunds reports them after it has sent all others. Trigger the DAG again: no refund is sent twice."""
    if not invalid:
        first_run = "The DAG, in its first run. Trigger it again: no refund is sent twice."
    console.print(
        f"""
[bold]{url}/dags/{DAG}[/]
    {first_run}
[bold]{url}/dags/{BOTH_CALLS}[/]
    Sales, and after them their refunds: what the first earn, the second reverse.
[bold]{url}/plugin/firstpromoter[/]
    The page "FirstPromoter" of the menu Browse: what each run of both calls did, and what needs attention.
[bold]{url}/connections[/]
    The connections of FirstPromoter and of the warehouse. To test one, press the pulse line left of the pencil.
[bold]{sandbox.control_url}/recorded[/]
    The refunds that the sandbox has recorded in the place of FirstPromoter; the sales: [bold]?kind=sale[/]

In another terminal, what needs attention, the sums by month and promoter, and the last runs:
    {airflow} firstpromoter report firstpromoter_default

The warehouse, which also holds the ledger: {warehouse_of(home)}
Airflow's log: {home.log("airflow")}

Press Ctrl-C to stop everything.
""",
        soft_wrap=True,
    )


def _unpause(api: Api, dag_id: str, airflow: Standalone) -> None:
    """Wait until Airflow knows a DAG, and unpause it, so that its first run starts."""
    unpause = {"is_paused": False}
    wait_for(
        lambda: api.patch(f"dags/{dag_id}", unpause), "The start of Airflow", airflow.process, timeout=START_TIMEOUT
    )


def _wait_for_run(api: Api, dag_id: str, airflow: Standalone) -> None:
    def has_ended() -> bool:
        runs = (api.get(f"dags/{dag_id}/dagRuns") or {}).get("dag_runs", [])
        return any(run["state"] in ("success", "failed") for run in runs)

    wait_for(has_ended, f"The first run of {dag_id}", airflow.process, timeout=START_TIMEOUT)


if __name__ == "__main__":
    sys.exit(run_tool(main, until_stopped=True))
