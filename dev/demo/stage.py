"""The warehouse, the sandbox and the Airflow of the demo, and the DAG runs so far."""

from __future__ import annotations

import csv
import io
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.airflow import Home
from dev.demo import ledger, warehouse
from dev.demo.dag_runs import Airflow, DagRun
from dev.sandbox import SandboxProcess

DAG = "refunds_to_firstpromoter"
#: Sends sales, and after them refunds.
BOTH_CALLS = "sales_and_refunds"
#: The account's currency: amounts are shown with it.
CURRENCY = "USD"
#: The referral ids of the promoters, who take turns in referring customers.
PROMOTERS = ("amara", "bruno", "chidi", "dana")


@dataclass(frozen=True)
class Run:
    """
    One run of the DAG.

    :param dag_run: what Airflow's database holds of it
    :param due: the event_ids that it should send: those that are new, valid and in the DAG's query
    :param requests: the event_id of every refund call that the sandbox received during the run
    :param ledger_rows: the rows that it wrote into the ledger
    """

    title: str
    dag_run: DagRun
    due: set[str]
    requests: list[str]
    ledger_rows: list[ledger.LedgerRow]

    @property
    def rewards(self) -> Mapping[str, int]:
        """The reversed rewards by promoter id, negative and in cents, as the last task of the DAG returned them."""
        return self.dag_run.xcoms.get(("rewards_per_promoter", "return_value")) or {}


class Stage:
    """
    What the demo works with.

    :param sandbox: a running sandbox
    """

    def __init__(self, home: Home, sandbox: SandboxProcess) -> None:
        self.sandbox = sandbox
        self.warehouse = warehouse_of(home)
        self.env = home.environment(connections(home, sandbox))
        self.airflow = Airflow(home, self.env)
        self.generator = warehouse.RefundGenerator()
        self.rows: list[warehouse.Row] = []
        self.runs: list[Run] = []
        self._promoters = itertools.cycle(PROMOTERS)
        warehouse.create(self.warehouse)

    def add(self, rows: list[warehouse.Row]) -> None:
        """Insert refunds into the warehouse, after FirstPromoter has learned of their customers."""
        refer_customers(self.sandbox, rows, self._promoters)
        warehouse.insert(self.warehouse, rows)
        self.rows += rows

    def correct_rows(self) -> None:
        """Correct the invalid rows, and let the refunds that were pending at the bank succeed."""
        warehouse.update(self.warehouse, (row.corrected() for row in self.rows if row.correction))
        self.rows = [row.corrected() for row in self.rows]

    def run_dag(self, title: str, on_progress: Callable[[int], object]) -> Run:
        """
        Run the DAG.

        :param on_progress: called a few times a second with the number of requests that the sandbox has received
        """
        before = len(self.sandbox.refund_requests())
        dag_run = self.airflow.run_dag(DAG, lambda: on_progress(len(self.sandbox.refund_requests(after=before))))
        requests = [request["body"]["event_id"] for request in self.sandbox.refund_requests(after=before)]
        ledger_rows = [row for row in ledger.read(self.warehouse) if row.run_id == dag_run.run_id]
        run = Run(title, dag_run, self._due(), requests, ledger_rows)
        self.runs.append(run)
        return run

    def run_both_calls(self, on_progress: Callable[[int], object]) -> tuple[DagRun, int, int]:
        """
        Run the DAG of both calls.

        :param on_progress: called a few times a second with the number of requests that the sandbox has received
        :return: the DAG run, and how many sales and refunds were sent
        """

        def sent() -> list[int]:
            return [len(self.sandbox.refund_requests(call=call)) for call in ("sale", "refund")]

        before = sent()
        dag_run = self.airflow.run_dag(BOTH_CALLS, lambda: on_progress(sum(sent()) - sum(before)))
        sold, refunded = (now - then for now, then in zip(sent(), before, strict=True))
        return dag_run, sold, refunded

    def report(self, arguments: str) -> list[dict[str, str]]:
        """
        Return the rows that the ledger's command line prints.

        :param arguments: those of its command ``report``
        """
        command = [sys.executable, "-m", "airflow_provider_firstpromoter", "report", "firstpromoter_default"]
        done = subprocess.run(
            [*command, *arguments.split(), "--csv"],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return list(csv.DictReader(io.StringIO(done.stdout)))

    def _due(self) -> set[str]:
        valid = {row.event_id for row in self.rows if row.event_id and row.is_queried and row.outcome != "rejected"}
        return valid.difference(*(run.due for run in self.runs))


def warehouse_of(home: Home) -> Path:
    """Return the path of the warehouse's SQLite file."""
    return home.folder / "warehouse.db"


def connections(home: Home, sandbox: SandboxProcess) -> dict[str, dict[str, Any]]:
    """Return the two Airflow connections that the example DAG needs."""
    return {
        # The port makes the Test button of Airflow 3.3.1 and 3.3.2 work; the one in the base URL is used.
        "firstpromoter_default": {**sandbox.connection(currency=CURRENCY), "port": 443},
        "warehouse": {"conn_type": "sqlite", "host": str(warehouse_of(home))},
    }


def refer_customers(sandbox: SandboxProcess, rows: list[warehouse.Row], promoters: Iterator[str] | None = None) -> None:
    """
    Make the customers of refunds known to the sandbox, and send the refunds that were "sent by hand last week".

    :param promoters: the referral ids of the promoters of the next customers
    """
    promoters = promoters or itertools.cycle(PROMOTERS)
    customers = {row.customer: row for row in rows}
    sandbox.add_leads(
        {
            customer.known_by: getattr(customer, customer.known_by),
            "promoter": next(promoters),
            "bought": customer.bought,
        }
        for customer in customers
        if customer.known_by
    )
    for row in customers.values():
        if row.outcome == "already_recorded":
            sandbox.track("refund", event_id=row.event_id, amount=str(row.values["amount"]), uid=row.customer.uid)
