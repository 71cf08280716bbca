"""``make distributed``: two accounts on CeleryExecutor with two workers, and a check of what FirstPromoter recorded."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from rich.table import Table

from dev.airflow import ROOT, Home
from dev.distributed.cluster import WORKERS, Cluster, running_cluster
from dev.distributed.dags.two_accounts import ACCOUNTS
from dev.sandbox import SandboxProcess, firstpromoter_connection, running_sandbox
from dev.terminal import console, heading, print_claim, run_tool, step

DAG = "two_accounts"
#: For each account; more than one minute's worth, so that the rate limit is reached.
REFUNDS = 700
REQUESTS_PER_MINUTE = 400
#: Seconds that the DAG run may take.
DAG_RUN_TIMEOUT = 600


class Task(NamedTuple):
    """A task instance, as Airflow's database holds it."""

    task_id: str
    map_index: int
    state: str
    worker: str
    pool: str
    start: Any
    end: Any


def main() -> int:
    if shutil.which("redis-server") is None:
        console.print("make distributed needs a Redis server (Debian: apt-get install redis-server).")
        return 1
    home = Home.fresh(ROOT / ".distributed")
    accounts = [f"--account={account}:{_api_key(account)}" for account in ACCOUNTS]
    limit = ("--requests-per-minute", str(REQUESTS_PER_MINUTE))
    with running_sandbox(*accounts, *limit, log=home.log("sandbox")) as sandbox:
        connections = {
            f"firstpromoter_{account}": firstpromoter_connection(
                sandbox.base_url, account, _api_key(account), requests_per_minute=REQUESTS_PER_MINUTE
            )
            for account in ACCOUNTS
        }
        console.print("Redis, PostgreSQL and Airflow start: this takes about half a minute")
        with running_cluster(home, connections) as cluster:
            return 0 if _run(cluster, sandbox) else 1


def _api_key(account: str) -> str:
    return f"key-of-{account}"


def _run(cluster: Cluster, sandbox: SandboxProcess) -> bool:
    """Run the DAG, and return whether all claims are true."""
    _insert_refunds(cluster, sandbox)
    for account in ACCOUNTS:
        cluster.run_airflow("pools", "set", f"firstpromoter_{account}", "1", f"One task of {account} at a time")
    with step("Airflow finds the DAG"):
        known = "SELECT 1 FROM serialized_dag WHERE dag_id = %s"
        cluster.wait_for(lambda: cluster.execute("airflow", known, DAG), "The search for the DAG")
    cluster.run_airflow("dags", "trigger", DAG)
    with step("The DAG runs: about two minutes, at 400 requests a minute for each account"):
        ended = "SELECT 1 FROM dag_run WHERE state IN ('success', 'failed')"
        cluster.wait_for(lambda: cluster.execute("airflow", ended), "The DAG run", timeout=DAG_RUN_TIMEOUT)
    columns = "task_id, map_index, state, hostname, pool, start_date, end_date"
    found = cluster.execute("airflow", f"SELECT {columns} FROM task_instance ORDER BY start_date")
    tasks = [Task(*row) for row in found]
    _print_tasks(tasks)
    ledger = cluster.execute("warehouse", "SELECT account, event_id FROM firstpromoter_refunds")
    heading("The claims, checked against the sandbox's own records")
    claims = _claims(tasks, sandbox, ledger)
    for claim, holds in claims.items():
        print_claim(claim, holds)
    return all(claims.values())


def _claims(tasks: list[Task], sandbox: SandboxProcess, ledger: list[tuple[Any, ...]]) -> Mapping[str, bool]:
    recorded = [(refund["account"], refund["event_id"]) for refund in sandbox.recorded()]
    expected = sorted((account, f"{account}-{number}") for account in ACCOUNTS for number in range(1, REFUNDS + 1))
    responses = sandbox.request_counts()["POST /api/v2/track/refund"]
    return {
        "Every task succeeded": all(task.state == "success" for task in tasks),
        "The two accounts ran on two workers": {task.worker for task in tasks if task.task_id == "sync_accounts"}
        == set(WORKERS),
        "Tasks of one account never ran at the same time": all(
            _one_after_another(task for task in tasks if task.pool == f"firstpromoter_{account}")
            for account in ACCOUNTS
        ),
        "FirstPromoter has recorded every refund of each account exactly once": sorted(recorded) == expected,
        "The ledger has one row for each of them": sorted((key.partition("@")[0], event_id) for key, event_id in ledger)
        == expected,
        # A task that starts right after another one of the same account can exceed the limit for a moment.
        f"No refund was sent twice, and the {responses.get('429', 0)} requests above the limit were sent again later": (
            set(responses) <= {"200", "429"}
        ),
    }


def _one_after_another(tasks: Iterable[Task]) -> bool:
    in_order = sorted(tasks, key=lambda task: task.start)
    return len(in_order) > 1 and all(before.end <= after.start for before, after in pairwise(in_order))


def _print_tasks(tasks: list[Task]) -> None:
    table = Table("task", "state", "worker", "pool", "seconds")
    for task in tasks:
        name = task.task_id if task.map_index < 0 else f"{task.task_id}[{task.map_index}]"
        seconds = f"{(task.end - task.start).total_seconds():.0f}" if task.end else "-"
        table.add_row(name, task.state, task.worker, task.pool, seconds)
    console.print(table)


def _insert_refunds(cluster: Cluster, sandbox: SandboxProcess) -> None:
    with step(f"{REFUNDS} refunds for each of {len(ACCOUNTS)} accounts are inserted into the warehouse"):
        cluster.execute(
            "warehouse",
            "CREATE TABLE refunds AS SELECT account, number, account || '-' || number AS event_id, "
            "100 + number AS amount, 'USD' AS currency, "
            "account || '-customer-' || number AS uid, 'sale-' || number AS sale_event_id "
            "FROM unnest(%s::text[]) AS account, generate_series(1, %s) AS number",
            list(ACCOUNTS),
            REFUNDS,
        )
        for account in ACCOUNTS:
            customers = [f"{account}-customer-{number}" for number in range(1, REFUNDS + 1)]
            sandbox.add_leads(({"uid": customer, "promoter": "amara"} for customer in customers), account)


if __name__ == "__main__":
    sys.exit(run_tool(main))
