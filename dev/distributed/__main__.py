"""
``make distributed``: two accounts on CeleryExecutor, with two workers and a real broker, and a check of the books.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import requests
from rich.table import Table

from dev.demo.report import console, heading, step, trouble
from dev.distributed.cluster import WORKERS, Cluster, started
from dev.distributed.dags.two_accounts import ACCOUNTS
from dev.home import Home, free_port
from dev.processes import Failed, leave_on_signals, running

DAG = "two_accounts"
#: For each account; more than a minute's worth, so that the pace shows.
REFUNDS = 700
LIMIT = 400
#: Seconds that the DAG run may take.
PATIENCE = 600


def main() -> int:
    leave_on_signals()
    home = Home.fresh(".distributed")
    try:
        with _sandbox(home) as url:
            connections: dict[str, dict[str, object]] = {
                f"firstpromoter_{account}": {
                    "conn_type": "firstpromoter",
                    "login": account,
                    "password": f"key-of-{account}",
                    "host": f"{url}/api/v2",
                    "extra": {"ledger_conn_id": "warehouse", "requests_per_minute": LIMIT},
                }
                for account in ACCOUNTS
            }
            console.print("Redis, PostgreSQL and Airflow start: half a minute or so")
            with started(home, connections) as cluster:
                return _run(cluster, url)
    except Failed as failure:
        trouble(failure)
        return 1


def _run(cluster: Cluster, url: str) -> int:
    _fill(cluster, url)
    for account in ACCOUNTS:
        cluster.airflow("pools", "set", f"firstpromoter_{account}", "1", f"One task of {account} at a time")
    with step("The DAG is found"):
        cluster.wait("The DAG", lambda: cluster.rows("airflow", "SELECT 1 FROM serialized_dag WHERE dag_id = %s", DAG))
    cluster.airflow("dags", "trigger", DAG)
    with step("The DAG runs: about two minutes, at 400 requests a minute for each account"):
        ended = "SELECT 1 FROM dag_run WHERE state IN ('success', 'failed')"
        cluster.wait("The DAG run", lambda: cluster.rows("airflow", ended), PATIENCE)
    tasks = cluster.rows(
        "airflow",
        "SELECT task_id, map_index, state, hostname, pool, start_date, end_date FROM task_instance ORDER BY start_date",
    )
    _show(tasks)
    audit = requests.get(f"{url}/sandbox/audit", timeout=30).json()
    ledger = cluster.rows("warehouse", "SELECT account, event_id, outcome FROM firstpromoter_refunds")
    heading("Is it true?")
    return 0 if _claims(tasks, audit, ledger) else 1


def _claims(tasks: list[tuple[Any, ...]], audit: Any, ledger: list[tuple[Any, ...]]) -> bool:
    recorded = [(refund["account"], refund["event_id"]) for refund in audit["recorded"]]
    wanted = {(account, f"{account}-{number}") for account in ACCOUNTS for number in range(1, REFUNDS + 1)}
    answers = audit["requests"]["POST /api/v2/track/refund"]
    mapped = {task[3] for task in tasks if task[0] == "sync_accounts"}
    claims = {
        "Every task succeeded": all(task[2] == "success" for task in tasks),
        "The two accounts ran on two workers": mapped == set(WORKERS),
        "Tasks of one account were never at work together": all(
            _one_after_another(task for task in tasks if task[4] == f"firstpromoter_{account}") for account in ACCOUNTS
        ),
        "FirstPromoter has every refund of each account once": len(recorded) == len(wanted) == len(set(recorded))
        and set(recorded) == wanted,
        "The ledger says so too": sorted((name.partition("@")[0], event) for name, event, _ in ledger)
        == sorted(wanted),
        # A task that begins when another has just used up the minute is told so, and waits.
        f"Nothing was asked twice, and the {answers.get('429', 0)} requests over the limit waited": set(answers)
        <= {"200", "429"},
    }
    for claim, holds in claims.items():
        console.print(f"{'[green]✓' if holds else '[red]✗'}[/] {claim}")
    return all(claims.values())


def _one_after_another(tasks: Iterable[tuple[Any, ...]]) -> bool:
    in_turn = sorted(tasks, key=lambda task: task[5])
    return len(in_turn) > 1 and all(before[6] <= after[5] for before, after in pairwise(in_turn))


def _show(tasks: list[tuple[Any, ...]]) -> None:
    table = Table("task", "state", "worker", "pool", "seconds")
    for task_id, map_index, state, host, pool, start, end in tasks:
        name = task_id if map_index < 0 else f"{task_id}[{map_index}]"
        table.add_row(name, state, host, pool, f"{(end - start).total_seconds():.0f}" if end else "-")
    console.print(table)


def _fill(cluster: Cluster, url: str) -> None:
    with step(f"{REFUNDS} refunds for each of {len(ACCOUNTS)} accounts are written into the warehouse"):
        cluster.rows(
            "warehouse",
            "CREATE TABLE refunds AS SELECT account, number, account || '-' || number AS event_id, "
            "100 + number AS amount, 'USD' AS currency, "
            "account || '-customer-' || number AS uid, 'sale-' || number AS sale_event_id "
            "FROM unnest(%s::text[]) AS account, generate_series(1, %s) AS number",
            list(ACCOUNTS),
            REFUNDS,
        )
        for account in ACCOUNTS:
            leads = [{"uid": f"{account}-customer-{number}", "promoter": "amara"} for number in range(1, REFUNDS + 1)]
            requests.post(
                f"{url}/sandbox/leads", params={"account": account}, json=leads, timeout=30
            ).raise_for_status()


@contextmanager
def _sandbox(home: Home) -> Any:
    port = free_port()
    command = [sys.executable, "-m", "airflow_provider_firstpromoter.sandbox", "--port", str(port)]
    command += ["--requests-per-minute", str(LIMIT)]
    for account in ACCOUNTS:
        command += ["--account", f"{account}:key-of-{account}"]
    with running(command, env=home.environment(), log=home.log("sandbox")):
        url = f"http://127.0.0.1:{port}"
        while not _healthy(url):
            time.sleep(0.1)
        yield url


def _healthy(url: str) -> bool:
    try:
        return requests.get(f"{url}/sandbox/health", timeout=5).ok
    except requests.RequestException:
        return False


if __name__ == "__main__":
    sys.exit(main())
