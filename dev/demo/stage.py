"""The stage: a folder, a sandbox, a warehouse, an Airflow that knows both, and what happened on it so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dev.demo import ledger, warehouse
from dev.demo.dag_runs import Airflow, DagRun
from dev.home import Home, as_variables
from dev.sandbox import Sandbox

DAG = "refunds_to_firstpromoter"


@dataclass(frozen=True)
class Chapter:
    """
    One run of the DAG, seen from all sides.

    :param run: what Airflow noted
    :param due: the event_ids that are new, valid and in the DAG's query: what the run should send
    :param requests: the event_id of every refund call that the sandbox got meanwhile
    :param entries: what it wrote into the ledger
    """

    title: str
    run: DagRun
    due: set[str]
    requests: list[str]
    entries: list[ledger.Entry]

    @property
    def rewards(self) -> Mapping[str, int]:
        """Rewards taken back, by the promoter's id, in cents, negative: what the DAG's own task made of them."""
        return self.run.returned("rewards_per_promoter") or {}


class Stage:
    """
    :param sandbox: a running one
    """

    def __init__(self, home: Home, sandbox: Sandbox) -> None:
        self.home = home
        self.sandbox = sandbox
        self.airflow = Airflow(home, home.environment(**as_variables(home.connections(sandbox.connection))))
        self.refunds = warehouse.Refunds()
        self.rows: list[warehouse.Row] = []
        self.chapters: list[Chapter] = []
        warehouse.create(home.warehouse)

    def add(self, rows: list[warehouse.Row]) -> None:
        """Write refunds into the warehouse; FirstPromoter has known their customers for long."""
        self.sandbox.learn(rows)
        warehouse.insert(self.home.warehouse, rows)
        self.rows += rows

    def put_right(self) -> None:
        """Write over the rows that somebody had to look at, and those that the bank let through."""
        warehouse.rewrite(self.home.warehouse, (row.later() for row in self.rows if row.right))
        self.rows = [row.later() for row in self.rows]

    def run(self, title: str, meanwhile: Callable[[int], None]) -> Chapter:
        """
        Run the DAG.

        :param meanwhile: called a few times a second with the number of requests that the sandbox got so far
        """
        before = len(self.sandbox.refund_requests())
        run = self.airflow.run(DAG, lambda: meanwhile(len(self.sandbox.refund_requests(after=before))))
        entries = [entry for entry in ledger.read(self.home.warehouse) if entry.run_id == run.run_id]
        chapter = Chapter(title, run, self._due(), self.sandbox.refund_requests(after=before), entries)
        self.chapters.append(chapter)
        return chapter

    def _due(self) -> set[str]:
        valid = {row.event_id for row in self.rows if row.event_id and row.asked_for and row.outcome != "rejected"}
        return valid.difference(*(chapter.due for chapter in self.chapters))
