"""
The page "Refund runs" behind a base path, with several users: what it shows, to whom, and what it does with odd data.

The runs are real: two DAGs of two teams, run by ``airflow dags test`` against the sandbox. What no real run can give,
such as hostile text in a reason, is written through Airflow's API into real DAG runs.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cached_property
from typing import Any
from urllib.parse import quote

import pytest
import requests

from airflow_provider_firstpromoter.plugins.refund_runs import URL_PREFIX
from airflow_provider_firstpromoter.sandbox import Account, Settings, running_sandbox
from dev.airflow import Home
from dev.processes import free_port
from tests.end_to_end.browser.conftest import AIRFLOW_3, Airflow, new_page
from tests.end_to_end.browser.refund_runs import RefundRunsPage, plain

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no such pages"),
]

#: Name, role and team of each user; the password is the name.
USERS = ("ada:ADMIN", "uma:VIEWER:team_us", "eli:VIEWER:team_eu", "noah:")
ACCOUNTS = {"us": Account("acme-us", "key-of-acme-us"), "eu": Account("acme-eu", "key-of-acme-eu", "EUR")}
DAG_FILE = """
import pendulum
from airflow.providers.common.compat.sdk import dag
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.operators.refund import TrackRefundOperator
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


_numbers = iter(range(1, 1000))


@pytest.fixture(scope="module")
def teams(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teams]:
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
        teams.command("db", "migrate")
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

    def push(dag_id: str, value: Any, task_id: str = "sync_refunds") -> None:
        made.append(teams.push_summary(dag_id, value, task_id))

    yield push
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
        "reversed": {"cash": -1380},
        "refunded": {"USD": 6899},
        "problems": [],
        "warnings": [],
        "stopped_because": None,
        "preview": False,
        "seconds": 1.5,
        "requests": 2,
        **values,
    }


def problem(event_id: str, reason: str, **values: Any) -> dict[str, Any]:
    return {"event_id": event_id, "outcome": "rejected", "reason": reason, "new": True, **values}


# --- Who sees what ----------------------------------------------------------------------------------------


def test_page_shows_an_admin_the_runs_of_every_dag(as_user: Callable[..., RefundRunsPage]) -> None:
    page = as_user("ada").open()
    assert page.runs() == [EU, US]
    assert page.legend() == {"recorded": 3, "not referred": 1, "rejected": 1}
    assert page.bars() == [4, 1]
    assert page.options("DAG") == ["All DAGs", "Refunds <i>eu</i>", "Refunds <i>us</i>"]


def test_page_shows_a_user_no_run_of_another_teams_dag(as_user: Callable[..., RefundRunsPage], teams: Teams) -> None:
    page = as_user("uma").open()
    assert page.runs() == [US]
    assert page.total("recorded") == "2"
    assert page.options("DAG") == ["All DAGs", "Refunds <i>us</i>"]
    assert "eu" not in page.frame.locator("body").inner_text().split()
    (run,) = teams.admin.get(f"{teams.url}/api/v2/dags/refunds_eu/dagRuns", timeout=30).json()["dag_runs"]
    page.open(f"?dag_id=refunds_eu&run_id={quote(run['dag_run_id'])}&task_id=sync_refunds")
    assert "could not be read: 403" in page.frame.locator("#selected").inner_text()
    assert as_user("eli").open().runs() == [EU]


def test_page_without_the_right_to_read_xcoms_says_so(as_user: Callable[..., RefundRunsPage], teams: Teams) -> None:
    page = as_user("noah").page
    page.goto(f"{teams.url}{URL_PREFIX}/")
    page.locator("main[aria-busy=false]").wait_for()
    assert page.locator("#message h2").inner_text() == "You may not read this"
    assert page.locator("#content").is_hidden()


def test_page_asks_only_airflows_public_api(as_user: Callable[..., RefundRunsPage], teams: Teams) -> None:
    page = as_user("ada")
    asked: list[Any] = []
    page.page.goto(f"{teams.url}{URL_PREFIX}/")
    page.page.on("request", lambda request: asked.append(request))
    page.page.reload()
    page.page.locator("main[aria-busy=false]").wait_for()
    assert {request.method for request in asked} == {"GET"}
    data = [request.url for request in asked if request.resource_type == "fetch"]
    assert data
    assert all(url.startswith(f"{teams.url}/api/v2/dags/") for url in data)
    assert all(request.url.startswith(f"{teams.url}{URL_PREFIX}/") for request in asked if request.url not in data)


# --- Filters and links ------------------------------------------------------------------------------------


def test_filters_choose_account_dag_and_time(as_user: Callable[..., RefundRunsPage], push: Callable[..., None]) -> None:
    push("others_us", summary(account="acme-old", ended_at="2026-01-31T12:00:00Z"))
    push("others_us", summary(account="acme-new"))
    page = as_user("ada").open()
    others = "others_us > sync_refunds"
    assert page.choose("DAG", "others_us").runs() == [others]
    assert page.choose("Time", "All time").runs() == [others, others]
    assert page.choose("Account", "acme-old").runs() == [others]
    assert list(page.reversed_per_day()) == ["Jan 31"]
    # A reload of Airflow's page keeps what the address of the frame says.
    assert page.choose("Account", "All accounts").choose("DAG", "All DAGs").runs() == [others, EU, US, others]


def test_links_lead_airflows_own_window_to_the_dag_run_and_the_log(
    as_user: Callable[..., RefundRunsPage], teams: Teams
) -> None:
    page = as_user("uma").open()
    page.frame.locator("#runs").get_by_role("link", name="Log").click()
    page.page.wait_for_url(re.compile(f"^{re.escape(teams.url)}/dags/refunds_us/runs/[^/]+/tasks/sync_refunds"))
    page.page.get_by_role("link", name="Logs").wait_for()
    page.open().frame.locator("#runs").get_by_role("link", name="Refunds").click()
    page.page.wait_for_url(re.compile(f"^{re.escape(teams.url)}/dags/refunds_us/runs/[^/]+/?$"))
    with page.open().page.context.expect_page() as opened:
        page.frame.locator("#runs").get_by_role("link", name="Log").click(modifiers=["Control"])
    opened.value.wait_for_url(re.compile(f"^{re.escape(teams.url)}/dags/refunds_us/runs/[^/]+/tasks/sync_refunds"))


def test_extra_link_opens_the_page_at_the_run_of_the_task(as_user: Callable[..., RefundRunsPage], teams: Teams) -> None:
    page = as_user("uma")
    (run,) = teams.admin.get(f"{teams.url}/api/v2/dags/refunds_us/dagRuns", timeout=30).json()["dag_runs"]
    page.page.goto(f"{teams.url}/dags/refunds_us/runs/{quote(run['dag_run_id'])}/tasks/sync_refunds/details")
    page.page.get_by_role("link", name="Refund runs").click()
    page.wait()
    selected = page.frame.locator("#selected")
    selected.get_by_text("Without sale_event_id").wait_for()
    assert plain(selected.get_by_role("heading").inner_text()) == f"This run: {US}"
    assert HOSTILE in selected.get_by_role("row").all_inner_texts()[-1]
    # Airflow's address names the run, so that it can be shared.
    page.page.reload()
    page.wait()
    selected.get_by_text("Without sale_event_id").wait_for()
    selected.get_by_role("button", name="Close").click()
    assert selected.is_hidden()


def test_link_to_a_run_without_a_summary_says_so(as_user: Callable[..., RefundRunsPage]) -> None:
    page = as_user("uma").open("?dag_id=refunds_us&run_id=nothing&task_id=sync_refunds&map_index=-1")
    page.frame.get_by_text("Airflow has no summary of it").wait_for()
    assert page.runs() == [US]


# --- What runs say ----------------------------------------------------------------------------------------


def test_hostile_text_stays_text(as_user: Callable[..., RefundRunsPage], push: Callable[..., None]) -> None:
    hostile = summary(
        account=HOSTILE,
        host=HOSTILE,
        outcomes={HOSTILE: 3, "__proto__": 1},
        reversed={HOSTILE: -5, "cash": -1},
        refunded={HOSTILE: 5},
        problems=[problem(HOSTILE, HOSTILE), problem("re_1", HOSTILE, outcome=HOSTILE)],
        warnings=[HOSTILE],
        stopped_because=HOSTILE,
    )
    push("others_us", hostile)
    push(
        "others_us",
        {"kind": "reconcile", "mismatches": 1, "matched": 1, "cases": {HOSTILE: [{"event_id": HOSTILE}]}},
        "reconcile",
    )
    page = as_user("uma")
    errors: list[Any] = []
    page.page.on("pageerror", lambda error: errors.append(error))
    page.open()
    for button in page.frame.get_by_role("button", name="Details").all():
        button.click()
    for summary_of_table in page.frame.locator("summary").all():
        summary_of_table.click()
    page.frame.locator("#outcomes .bar").last.hover()
    assert page.frame.locator("body").inner_text().count(HOSTILE) > 12
    assert not page.frame.locator("img, script:not([src]), iframe, svg svg, [onload], [onerror]").count()
    hrefs = page.frame.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert all(href.startswith(f"{page.url}/dags/") for href in hrefs)
    owned = [frame.evaluate("window.owned") for frame in page.page.frames]
    assert owned == [None] * len(owned)
    assert not errors


def test_summaries_of_earlier_versions_are_shown_and_other_xcoms_are_not(
    as_user: Callable[..., RefundRunsPage], push: Callable[..., None]
) -> None:
    earlier = summary()
    for name in ("kind", "account", "host", "still_open"):
        del earlier[name]
    push("others_us", earlier)
    push("others_us", json.dumps(summary(account="as-text")), "reconcile")
    push("others_eu", "a text about something else")
    push("others_eu", [1, 2], "reconcile")
    page = as_user("ada")
    errors: list[Any] = []
    page.page.on("pageerror", lambda error: errors.append(error))
    page.open()
    assert page.runs() == ["others_us > reconcile", "others_us > sync_refunds", EU, US]
    assert page.total("recorded") == "7"
    assert not errors


def test_summary_with_fields_of_the_wrong_type_is_shown_as_far_as_it_goes(
    as_user: Callable[..., RefundRunsPage], push: Callable[..., None]
) -> None:
    wrong = {"outcomes": {"recorded": "many", "failed": 1}, "requests": None, "problems": [None, {"event_id": 5}, "x"]}
    push("others_us", {**wrong, "reversed": [], "warnings": "none", "ended_at": "yesterday", "seconds": {}})
    page = as_user("uma").open("?dag=others_us")
    assert page.legend() == {"failed": 1}
    assert page.attention() == [("", "5", "no reason given")]


def test_attention_of_a_query_is_what_its_last_run_names(
    as_user: Callable[..., RefundRunsPage], push: Callable[..., None]
) -> None:
    push("others_us", summary(problems=[problem("re_old", "corrected since")], outcomes={"rejected": 1}))
    failed = problem("re_new", "no answer", outcome="failed")
    old = problem("re_open", "amount is missing", new=False)
    push("others_us", summary(problems=[failed, old], outcomes={"rejected": 1, "failed": 1}, still_open=1))
    page = as_user("uma").open("?dag=others_us")
    assert page.attention() == [("failed", "re_new", "no answer"), ("rejected", "re_open", "amount is missing")]
    assert page.total("attention") == "2"
    push("others_us", summary())
    assert page.refresh().attention() == []
    assert page.total("attention") == "0"
    assert "Nothing: the last run of every task" in page.frame.locator("#attention").inner_text()


def test_attention_of_a_list_is_what_all_of_its_runs_name(
    as_user: Callable[..., RefundRunsPage], push: Callable[..., None]
) -> None:
    """A list, such as a sensor's, has an unchanged row only once: that no later run names it says nothing."""
    failed = problem("re_failed", "no answer", outcome="failed")
    first = [problem("re_open", "amount is missing"), problem("re_both", "amount is zero"), failed]
    push("others_us", summary(problems=first, outcomes={"rejected": 2, "failed": 1}), "track_refunds")
    push(
        "others_us",
        summary(problems=[problem("re_both", "amount is missing")], outcomes={"rejected": 1}),
        "track_refunds",
    )
    page = as_user("uma").open("?dag=others_us")
    assert page.attention() == [
        ("rejected", "re_both", "amount is missing"),
        ("rejected", "re_open", "amount is missing"),
    ]
    assert page.total("attention") == "2"
    assert "not named since" in page.frame.locator("#attention tbody tr").last.inner_text()


def test_attention_counts_what_no_run_names(as_user: Callable[..., RefundRunsPage], push: Callable[..., None]) -> None:
    named = [problem(f"re_{number}", "amount is missing") for number in range(20)]
    push(
        "others_us", summary(problems=named, outcomes={"rejected": 33}, stopped_because="20 refunds rejected in a row")
    )
    page = as_user("uma").open("?dag=others_us")
    assert page.total("attention") == "33"
    text = page.frame.locator("#attention").inner_text()
    assert "13 more refunds counted by" in text
    assert "Stopped early: 20 refunds rejected in a row" in text


def test_previews_and_reconciliations_count_in_no_sum(
    as_user: Callable[..., RefundRunsPage], push: Callable[..., None]
) -> None:
    push("others_us", summary())
    push("others_us", summary(preview=True, outcomes={"pending": 100, "rejected": 1}, problems=[problem("re_1", "no")]))
    cases = {
        "reversed_twice": [{"event_id": "in_7", "other_event_id": "re_7"}],
        "reward_changed": [{"event_id": "re_8"}],
    }
    found = {
        "kind": "reconcile",
        "account": "acme-us",
        "matched": 40,
        "mismatches": 1,
        "reversed_twice": 1,
        "cases": cases,
    }
    push("others_us", {**found, "warnings": [], "seconds": 2.0, "requests": 3}, "reconcile")
    page = as_user("uma").open("?dag=others_us")
    assert (page.total("runs"), page.total("recorded"), page.total("reversed")) == ("1", "2", "-13.80")
    assert page.legend() == {"recorded": 2}
    assert page.attention() == [("reversed twice", "in_7", "as well as re_7")]
    assert page.runs() == ["others_us > reconcile", "others_us > sync_refunds", "others_us > sync_refunds"]


def test_sums_of_different_accounts_are_not_added(
    as_user: Callable[..., RefundRunsPage], push: Callable[..., None]
) -> None:
    push("others_us", summary(reversed={"cash": -100, "credits": -3}))
    push("others_us", summary(account="acme-eu", reversed={"cash": -250}))
    page = as_user("uma").open("?dag=others_us")
    assert page.sums() == ["acme-eu \u00b7 -2.50", "acme-us \u00b7 -1.00", "acme-us \u00b7 -3 credits"]


def test_more_runs_than_are_read_at_once_are_read_on_demand(
    as_user: Callable[..., RefundRunsPage], push: Callable[..., None]
) -> None:
    for _ in range(203):
        push("others_us", summary())
    page = as_user("uma").open("?dag=others_us")
    assert page.total("recorded") == "400"
    assert "3 older runs not counted yet" in page.frame.locator("#status").inner_text()
    page.frame.get_by_role("button", name="Read older runs").click()
    page.frame.get_by_text("203 runs read at").wait_for()
    assert page.total("recorded") == "406"
    assert len(page.runs()) == 50
    page.frame.get_by_role("button", name="Show more (153)").click()
    assert len(page.runs()) == 100


# --- States -----------------------------------------------------------------------------------------------


def test_page_without_runs_offers_all_runs(as_user: Callable[..., RefundRunsPage]) -> None:
    page = as_user("uma").open("?dag=others_us")
    assert page.message() == "No runs here"
    page.frame.get_by_role("button", name="Show all runs").click()
    assert page.wait().runs() == [US]


def test_page_that_gets_no_answer_says_so_and_tries_again(as_user: Callable[..., RefundRunsPage]) -> None:
    page = as_user("uma").open()
    page.page.context.set_offline(True)
    page.refresh()
    assert page.message() == "Airflow did not answer"
    page.page.context.set_offline(False)
    page.frame.get_by_role("button", name="Try again").click()
    assert page.wait().runs() == [US]


def test_page_whose_session_has_ended_leads_to_the_login(as_user: Callable[..., RefundRunsPage], teams: Teams) -> None:
    page = as_user("uma").open()
    page.page.context.clear_cookies()
    page.refresh()
    assert page.message() == "You are not logged in"
    page.frame.get_by_role("link", name="Log in").click()
    page.page.wait_for_url(re.compile(f"^{re.escape(teams.url)}/auth/login"))


def test_page_follows_airflows_light_and_dark(as_user: Callable[..., RefundRunsPage]) -> None:
    page = as_user("ada", color_scheme="dark").open()
    background = "getComputedStyle(document.body).backgroundColor"
    frame = page.page.frames[-1]
    assert frame.evaluate(background) == "rgb(16, 17, 20)"
    page.page.evaluate("document.documentElement.className = 'light'")
    frame.wait_for_function(f"{background} === 'rgb(246, 247, 249)'")


def test_page_can_be_used_by_keyboard_and_screen_reader(as_user: Callable[..., RefundRunsPage]) -> None:
    page = as_user("uma").open()
    page.frame.get_by_label("Account", exact=True).focus()
    focused = []
    for _ in range(30):
        focused.append(page.page.frames[-1].evaluate("document.activeElement.textContent.trim()"))
        if focused[-1] == "Details":
            break
        page.page.keyboard.press("Tab")
    assert focused[3:5] == ["Refresh", "Show as a table"]
    assert focused[-2:] == ["Log", "Details"]
    page.page.keyboard.press("Enter")
    button = page.frame.get_by_role("button", name="Details")
    assert button.get_attribute("aria-expanded") == "true"
    page.frame.get_by_role("term").filter(has_text="Requests").wait_for()
    assert page.frame.get_by_role("heading").all_inner_texts()[0] == "Refund runs"
    page.frame.get_by_role("img", name="Refunds by outcome, a bar for each run: 2 recorded").wait_for()
    page.frame.get_by_role("region", name="Needs attention").wait_for()
    page.frame.get_by_role("table", name="Runs").wait_for()
    assert page.frame.get_by_role("status").inner_text().startswith("1 run read at")
