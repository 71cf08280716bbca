"""
The numbers on the page equal the ledger's after any history of both calls: runs, retries, kills, reverts,
reconciliations and commands in any order.

The values are those that real operators pushed. Only Airflow's REST API, which would take a second for each, is
answered from a dictionary; ``test_refund_runs.py`` has the page inside a real Airflow.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import FirstPromoterError
from airflow_provider_firstpromoter.ledger import RunHistory
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator, ReconcileSalesOperator
from airflow_provider_firstpromoter.operators.revert import RevertRefundsOperator, RevertSalesOperator
from airflow_provider_firstpromoter.plugins.firstpromoter import FILES
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.cli.conftest import Done, cli
from tests.end_to_end.browser.airflow_server import AIRFLOW_3
from tests.support import Task
from tests.sync.conftest import move_clock

__all__ = ["cli", "move_clock"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no such pages"),
]

URL = "http://127.0.0.1:1"
CALLS = {
    "refund": ("refunds", "reversed", ReconcileRefundsOperator, RevertRefundsOperator),
    "sale": ("sales", "earned", ReconcileSalesOperator, RevertSalesOperator),
}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
CUSTOMERS = 30
STEPS = 28


class KilledError(BaseException):
    """As SIGKILL: nothing more is written or pushed."""


class Airflow:
    """The XComs of the task instances, as Airflow keeps them, and its REST API in front of a browser's page."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], dict[str, Any]] = {}
        self._time = datetime.now(UTC)
        self._tries: dict[tuple[str, str], int] = {}

    def run(self, operator: Any, run_id: str) -> bool:
        """Run a task, or run it again, and return whether it succeeded."""
        key = (operator.task_id, run_id)
        self._tries[key] = self._tries.get(key, 0) + 1
        self.entries.pop(key, None)  # Airflow deletes them before a try
        task = Task(operator, run_id=run_id, try_number=self._tries[key])
        try:
            task.run()
        except FirstPromoterError:
            return False
        except KilledError:
            task.ti.pushed.clear()
            return False
        finally:
            self._time += timedelta(milliseconds=1)
            if "summary" in task.ti.pushed:
                self.entries[key] = {
                    "key": "summary",
                    "dag_id": "dag",
                    "dag_display_name": "dag",
                    "run_id": run_id,
                    "task_id": operator.task_id,
                    "map_index": -1,
                    "timestamp": self._time.isoformat(),
                    "value": task.summary,
                }
        return True

    def answer(self, route: Any) -> None:
        path = route.request.url.removeprefix(URL).partition("?")[0]
        if path.startswith("/firstpromoter/page/"):
            file = FILES / (path.removeprefix("/firstpromoter/page/") or "index.html")
            route.fulfill(body=file.read_text(), content_type=TYPES[file.suffix])
        elif path.startswith("/api/v2/dags/~/"):
            newest = sorted(self.entries.values(), key=lambda entry: entry["timestamp"], reverse=True)
            values = [{name: value for name, value in one.items() if name != "value"} for one in newest]
            route.fulfill(json={"xcom_entries": values, "total_entries": len(values)})
        elif found := re.search(r"dagRuns/([^/]+)/taskInstances/([^/]+)/xcomEntries", path):
            route.fulfill(json=self.entries[found[2], found[1]])
        elif "/tasks/" in path:
            route.fulfill(json={"class_ref": {"class_name": "SqlToFirstPromoterOperator"}})
        else:
            route.fulfill(status=404, json={})


class History:
    """One account's life with both calls, drawn from a seed."""

    def __init__(self, seed: int, sandbox: Sandbox, warehouse: Any, monkeypatch: pytest.MonkeyPatch, cli: Any) -> None:
        self.random = random.Random(seed)
        self.sandbox = sandbox
        self.warehouse = warehouse
        self.monkeypatch = monkeypatch
        self.cli = cli
        self.airflow = Airflow()
        self.runs: list[tuple[str, str]] = []
        self._numbers = iter(range(1, 10_000))
        for table in ("refunds", "sales"):
            warehouse.run(f"CREATE TABLE {table} (event_id TEXT, amount TEXT, uid TEXT)")

    def add_rows(self) -> None:
        for table in ("refunds", "sales"):
            rows = []
            for _ in range(self.random.randrange(1, 7)):
                customer = self.random.randrange(CUSTOMERS + 8)  # the last eight are unknown
                amount = self.random.choice(["1000", "2599", "900", "0" if self.random.random() < 0.2 else "4900"])
                rows.append(f"('{table}-{next(self._numbers)}', '{amount}', 'cus_{customer}')")
            self.warehouse.run(f"INSERT INTO {table} VALUES {', '.join(rows)}")

    def operator(self, call: str, *, wrong: bool = False) -> Any:
        table = CALLS[call][0]
        return SqlToFirstPromoterOperator(
            task_id=f"sync_{table}",
            call=call,  # type: ignore[arg-type]
            sql=f"SELECT * FROM {'nothing' if wrong else table}",
            sql_conn_id="warehouse",
            limit=self.random.choice([None, None, 4]),
        )

    def sync(self, call: str) -> None:
        run_id = f"run-{next(self._numbers)}"
        self.runs.append((call, run_id))
        what = self.random.random()
        if what < 0.2:
            self.killed(call, run_id)
            if self.random.random() < 0.4:
                return
        elif what < 0.3:
            assert not self.airflow.run(self.operator(call, wrong=True), run_id)
            if self.random.random() < 0.5:
                return
        elif what < 0.5:
            self.sandbox.fault("reset_after", times=3)  # the responses are lost
        self.airflow.run(self.operator(call), run_id)

    def killed(self, call: str, run_id: str) -> None:
        """Kill a run after its last result was written."""
        with self.monkeypatch.context() as patch:

            def kill(*_: Any) -> None:
                raise KilledError

            patch.setattr(RunHistory, "finish", kill)
            assert not self.airflow.run(self.operator(call), run_id)

    def again(self) -> None:
        """Clear a run, and run it again."""
        if self.runs:
            call, run_id = self.random.choice(self.runs)
            self.airflow.run(self.operator(call), run_id)

    def revert(self) -> None:
        if not self.runs:
            return
        call, run_id = self.random.choice(self.runs)
        if self.random.random() < 0.5:
            self.cli("revert", "firstpromoter_default", "--call", call, "--dag-id", "dag", "--run-id", run_id,
                     "--max-reverted", "1000", "--yes")  # fmt: skip
            return
        operator = CALLS[call][3](
            task_id=f"revert_{call}", dag_id="dag", run_id=run_id, preview=False, max_reverted=1000
        )
        self.airflow.run(operator, f"revert-{next(self._numbers)}")

    def reconcile(self) -> None:
        call = self.random.choice(list(CALLS))
        for event in self.sandbox.recorded(call):
            if self.random.random() < 0.1:
                self.sandbox.change_commission(event.reward_id, status="denied")
        if self.random.random() < 0.5:
            self.cli("reconcile", "firstpromoter_default", "--call", call)
            return
        self.airflow.run(CALLS[call][2](task_id=f"reconcile_{call}"), f"reconcile-{next(self._numbers)}")

    def live(self) -> None:
        weights: dict[Callable[[], None], int] = {
            self.add_rows: 4,
            lambda: self.sync("sale"): 4,
            lambda: self.sync("refund"): 4,
            self.again: 1,
            self.revert: 3,
            self.reconcile: 1,
        }
        for step in self.random.choices([*weights], weights=[*weights.values()], k=STEPS):
            step()
        for call in CALLS:  # a later run tells of what a command or a killed run did
            self.airflow.run(
                SqlToFirstPromoterOperator(
                    task_id=f"sync_{CALLS[call][0]}",
                    call=call,  # type: ignore[arg-type]
                    sql=f"SELECT * FROM {CALLS[call][0]}",
                    sql_conn_id="warehouse",
                ),
                f"last-{call}",
            )


@pytest.mark.parametrize("seed", range(3))
def test_numbers_equal_the_ledgers_after_any_history(
    seed: int,
    sandbox: Sandbox,
    connect: Callable[..., str],
    new_database: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    page: Any,
    cli: Callable[..., Done],
) -> None:
    connect(ledger_conn_id="warehouse", max_attempts=2, currency="USD")
    sandbox.change_settings(batch_polls=1)
    sandbox.add_leads({"uid": f"cus_{n}", "promoter": ("anna", "ben")[n % 2]} for n in range(CUSTOMERS))
    warehouse = new_database("sqlite", "warehouse")
    history = History(seed, sandbox, warehouse, monkeypatch, cli)
    history.live()

    page.route(f"{URL}/**", history.airflow.answer)
    page.goto(f"{URL}/firstpromoter/page/")
    page.locator("main[aria-busy=false]").wait_for()

    def total(name: str) -> int:
        """Return one of the large numbers, an amount in cents."""
        text = page.locator(f"#total-{name}").inner_text().replace("\u2212", "-")
        return int(re.sub(r"[^0-9-]", "", text) or 0)

    def one(sql: str) -> int:
        return int(warehouse.run(sql)[0][0] or 0)

    in_effect = "SELECT sum(amount) FROM firstpromoter_{}_commissions WHERE coalesce(status, '') <> 'denied'"
    ledger = {table: one(in_effect.format(table)) for table in ("refunds", "sales")}
    assert (total("earned"), total("reversed")) == (ledger["sales"], ledger["refunds"])
    assert total("net") == ledger["sales"] + ledger["refunds"]
    tables = ("firstpromoter_refunds", "firstpromoter_sales")
    assert total("sent") == sum(one(f"SELECT sum(sent) FROM {table}_runs") for table in tables)
    legend = {
        name: int(number.replace(",", ""))
        for name, number in (item.rsplit(" ", 1) for item in page.locator("#outcomes .legend li").all_inner_texts())
    }

    def count(where: str) -> int:
        return sum(one(f"SELECT count(*) FROM {table} WHERE {where}") for table in tables)

    assert legend.get("recorded", 0) + legend.get("already recorded", 0) == count(
        "outcome IN ('recorded', 'already_recorded', 'reverted')"
    )
    assert legend.get("reverted", 0) == count("outcome = 'reverted'")
    assert legend.get("still open", 0) == count("outcome = 'rejected'") == legend.get("rejected", 0)


def test_two_tasks_that_read_the_same_rows(
    sandbox: Sandbox,
    connect: Callable[..., str],
    new_database: Callable[..., Any],
    move_clock: Callable[[float], None],
    page: Any,
) -> None:
    """The row was first rejected by the one; the other has reported it since, and a third run was refused."""
    connect(ledger_conn_id="warehouse")
    sandbox.add_lead(uid="cus_1")
    warehouse = new_database("sqlite", "warehouse")
    warehouse.run("CREATE TABLE refunds (event_id TEXT, amount TEXT, uid TEXT)")
    warehouse.run("INSERT INTO refunds VALUES ('re_1', '0', 'cus_1'), ('re_2', '1000', 'cus_1')")
    airflow = Airflow()

    def run(task_id: str, run_id: str) -> bool:
        return airflow.run(
            SqlToFirstPromoterOperator(task_id=task_id, sql="SELECT * FROM refunds", sql_conn_id="warehouse"), run_id
        )

    assert not run("first", "run-1"), "the row is rejected, which is new"
    move_clock(2 * 60)
    assert run("second", "run-2")
    move_clock(2 * 60)
    warehouse.run("INSERT INTO refunds VALUES ('re_3', '1000', 'cus_1')")
    sandbox.fault("status", status=401)
    assert not run("third", "run-3")

    page.route(f"{URL}/**", airflow.answer)
    page.goto(f"{URL}/firstpromoter/page/")
    page.locator("main[aria-busy=false]").wait_for()
    ended = page.locator("#runs table.runs time").all_inner_texts()
    assert len(set(ended)) == 3
    (since,) = page.locator("#attention tbody tr td.when").all_inner_texts()
    assert since == ended[-1], "as the ledger has it"
    badges = page.locator("#runs table.runs > tbody > tr > td:nth-child(2)").all_inner_texts()
    assert ["failed" in badge for badge in badges] == [True, False, True]
    assert page.locator("#total-runs").inner_text() == "3"
    assert page.locator(".tile", has=page.locator("#total-runs")).inner_text().endswith("1 sent refunds")


def test_summaries_that_are_kept_elsewhere_are_counted_and_said(page: Any) -> None:
    airflow = Airflow()
    place = {"dag_id": "dag", "run_id": "run-1", "task_id": "sync", "map_index": -1}
    stored = "s3://bucket/xcom/dag/run-1/sync/summary.json"
    airflow.entries["sync", "run-1"] = {
        **place, "key": "summary", "timestamp": datetime.now(UTC).isoformat(), "value": json.dumps(stored).strip('"')
    }  # fmt: skip
    page.route(f"{URL}/**", airflow.answer)
    page.goto(f"{URL}/firstpromoter/page/?dag_id=dag&run_id=run-1&task_id=sync")
    page.locator("main[aria-busy=false]").wait_for()
    assert "Airflow keeps the XComs outside its database" in page.locator("#message").inner_text()
    selected = page.locator("#selected")
    selected.get_by_text("airflow firstpromoter report CONN_ID").wait_for()
    assert selected.get_by_role("heading").inner_text() == "This run: dag \u203a sync"
    assert selected.get_by_role("link", name="Log").get_attribute("href") == f"{URL}/dags/dag/runs/run-1/tasks/sync"
