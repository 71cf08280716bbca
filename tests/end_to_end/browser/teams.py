"""Two teams that share an Airflow behind a base path, and users who may see the DAGs of one, of both or of none."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_firstpromoter.sandbox import Account, Settings, running_sandbox
from dev.airflow import Home
from dev.processes import free_port
from tests.end_to_end.browser.airflow_server import Airflow, new_page
from tests.end_to_end.browser.refund_runs import RefundRunsPage

#: Name, role and team of each user; the password is the name.
USERS = ("ada:ADMIN", "uma:VIEWER:team_us", "eli:VIEWER:team_eu", "noah:")
ACCOUNTS = {"us": Account("acme-us", "key-of-acme-us"), "eu": Account("acme-eu", "key-of-acme-eu", "EUR")}
DAG_FILE = """
import pendulum
from airflow.providers.common.compat.sdk import dag
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

@dag(dag_id="refunds_{region}", dag_display_name="Refunds <i>{region}</i>", schedule=None,
     start_date=pendulum.datetime(2025, 1, 1))
def refunds():
    SqlToFirstPromoterOperator(
        task_id="sync_refunds",
        sql="SELECT * FROM refunds_{region}",
        sql_conn_id="warehouse",
        firstpromoter_conn_id="firstpromoter_{region}",
    )

refunds()

@dag(dag_id="others_{region}", schedule=None, start_date=pendulum.datetime(2025, 1, 1))
def others():
    # These never run: the tests write their XComs.
    SqlToFirstPromoterOperator(task_id="sync_refunds", sql="SELECT 1", sql_conn_id="warehouse")
    ReconcileRefundsOperator(task_id="reconcile")
    TrackRefundOperator(task_id="track_refunds", refunds=[])

others()
"""
#: A browser that takes any of these for markup runs a script, which sets a variable.
HOSTILE = """<img src=x onerror="window.owned=1"><script>window.owned=1</script><svg onload='window.owned=1'>"""
#: The runs of the two DAGs, as the page names them.
US, EU = "Refunds <i>us</i> > sync_refunds", "Refunds <i>eu</i> > sync_refunds"
ROWS = {
    "us": [("re_1", 4900, "cus_1"), ("re_2", 1999, "cus_2"), ("re_3", 900, "nobody"), (HOSTILE, 0, "cus_1")],
    "eu": [("re_9", 12050, "cus_9")],
}


class Teams(Airflow):
    """An Airflow with a base path, two teams with a DAG each, and users who may see one, both or none."""

    @cached_property
    def admin(self) -> requests.Session:
        """Airflow's API, for the user ada."""
        session = requests.Session()
        session.trust_env = False
        response = session.post(f"{self.url}/auth/token", json={"username": "ada", "password": "ada"}, timeout=30)
        session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        return session

    def push_summary(self, dag_id: str, value: Any, task_id: str = "sync_refunds") -> str:
        """Write the XCom ``summary`` of a new DAG run, and return the run's path in the API."""
        runs = f"{self.url}/api/v2/dags/{dag_id}/dagRuns"
        run_id = f"by-test-{next(_numbers)}"
        for url, body in (
            (runs, {"dag_run_id": run_id, "logical_date": None}),
            (f"{runs}/{run_id}/taskInstances/{task_id}/xcomEntries", {"key": "summary", "value": value}),
        ):
            response = self.admin.post(url, json=body, timeout=30)
            assert response.ok, response.text
        return f"{runs}/{run_id}"

    def copy_run(self, run: str, times: int) -> None:
        """Copy a run with its XCom in Airflow's database, because the API takes a second for each."""
        run_id = run.rsplit("/", 1)[-1]
        with closing(sqlite3.connect(self.home.airflow / "airflow.db", timeout=60)) as database, database:
            (last,) = database.execute("SELECT max(id) FROM dag_run").fetchone()
            for table in ("dag_run", "task_instance", "xcom"):
                rows = database.execute(f"SELECT * FROM {table} WHERE run_id = ?", [run_id])
                names = [column[0] for column in rows.description]
                for row in rows.fetchall():
                    for copy in range(1, times + 1):
                        values = {**dict(zip(names, row, strict=True)), "run_id": f"{run_id}-{copy}"}
                        if table == "dag_run":
                            values["id"] = last + copy
                        elif table == "xcom":
                            values["dag_run_id"] = last + copy
                        else:
                            values["id"] = uuid.uuid4().hex
                        places = ", ".join("?" * len(values))
                        database.execute(
                            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", list(values.values())
                        )

    def delete_copies(self) -> None:
        with closing(sqlite3.connect(self.home.airflow / "airflow.db", timeout=60)) as database, database:
            for table in ("xcom", "task_instance", "dag_run"):
                database.execute(f"DELETE FROM {table} WHERE run_id LIKE 'by-test-%-%'")


_numbers = iter(range(1, 1000))


@pytest.fixture(scope="package")
def teams(chromium: str, new_airflow_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teams]:
    home = Home(tmp_path_factory.mktemp("teams"))
    url = f"http://127.0.0.1:{free_port()}/data/airflow"
    with running_sandbox(Settings(accounts=tuple(ACCOUNTS.values()), requests_per_minute=0)) as sandbox:
        for region, account in ACCOUNTS.items():
            folder = home.folder / region
            folder.mkdir()
            (folder / "refunds.py").write_text(DAG_FILE.format(region=region))
            customers = {row[2] for row in ROWS[region]} - {"nobody"}
            sandbox.add_leads(({"uid": customer, "promoter": "anna"} for customer in customers), account=account.id)
            with closing(sqlite3.connect(home.folder / "warehouse.db")) as database, database:
                database.execute(f"CREATE TABLE refunds_{region} (event_id TEXT, amount INTEGER, uid TEXT)")
                database.executemany(f"INSERT INTO refunds_{region} VALUES (?, ?, ?)", ROWS[region])
        teams = Teams(url, home, _environment(home, url, sandbox.base_url))
        (home.folder / "passwords.json").write_text(json.dumps({name: name for name in _names()}))
        teams.start_with(new_airflow_db)
        teams.command("teams", "sync")
        teams.command("dags", "reserialize")
        teams.command("dags", "test", "refunds_us", may_fail=True)  # the row with the amount 0 is rejected
        teams.command("dags", "test", "refunds_eu")
        with teams.serving():
            yield teams


def _names() -> list[str]:
    return [user.split(":")[0] for user in USERS]


def _environment(home: Home, url: str, sandbox: str) -> dict[str, str]:
    connections: dict[str, dict[str, Any]] = {
        "warehouse": {"conn_type": "sqlite", "host": str(home.folder / "warehouse.db")}
    }
    for region, account in ACCOUNTS.items():
        connections[f"firstpromoter_{region}"] = {
            "conn_type": "firstpromoter",
            "login": account.id,
            "password": account.api_key,
            "host": sandbox,
            "extra": {"ledger_conn_id": "warehouse"},
        }
    bundles = [
        {
            "name": region,
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(home.folder / region)},
            "team_name": f"team_{region}",
        }
        for region in ACCOUNTS
    ]
    return home.environment(
        connections,
        AIRFLOW__API__BASE_URL=url,
        AIRFLOW__CORE__MULTI_TEAM="True",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=",".join(USERS),
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=str(home.folder / "passwords.json"),
        AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps(bundles),
        AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS="False",
    )


@pytest.fixture(scope="module")
def sessions(browser: Any, teams: Teams) -> dict[str, list[Any]]:
    """The cookies of each user, from one login at Airflow's own form."""
    cookies = {}
    for name in _names():
        with new_page(browser) as page:
            page.goto(f"{teams.url}/auth/login")
            page.locator("input[name=username]").fill(name)
            page.locator("input[name=password]").fill(name)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(lambda url: "/auth/login" not in url)
            cookies[name] = page.context.cookies()
    return cookies


@pytest.fixture
def as_user(browser: Any, teams: Teams, sessions: dict[str, list[Any]]) -> Iterator[Callable[..., RefundRunsPage]]:
    """Returns the page of a user, not opened yet: ``as_user("uma")``."""
    with ExitStack() as stack:

        def as_user(name: str, **options: Any) -> RefundRunsPage:
            page = stack.enter_context(new_page(browser, **options))
            page.context.add_cookies(sessions[name])
            return RefundRunsPage(page, teams.url)

        yield as_user


@pytest.fixture
def push(teams: Teams) -> Iterator[Callable[..., None]]:
    """Writes XComs ``summary`` into DAG runs that are deleted after the test."""
    made: list[str] = []

    def push(dag_id: str, value: Any, task_id: str = "sync_refunds", *, copies: int = 0) -> None:
        made.append(teams.push_summary(dag_id, value, task_id))
        if copies:
            teams.copy_run(made[-1], copies)

    yield push
    teams.delete_copies()
    for run in made:
        teams.admin.delete(run, timeout=30)


def summary(**values: Any) -> dict[str, Any]:
    """Return the summary of a run that recorded two refunds, with some values replaced."""
    outcomes = dict.fromkeys(("already_recorded", "not_referred", "rejected", "changed", "failed", "pending"), 0)
    return {
        "kind": "refunds",
        "account": "acme-us",
        "host": "api.firstpromoter.com",
        "outcomes": {"recorded": 2, **outcomes, **values.pop("outcomes", {})},
        "sent": 2,
        "skipped": 0,
        "still_open": 0,
        "rewards": {"cash": -1380},
        "amounts": {"USD": 6899},
        "problems": [],
        "warnings": [],
        "stopped_because": None,
        "preview": False,
        "seconds": 1.5,
        "requests": 2,
        **values,
    }
