"""
The page "FirstPromoter" behind a base path, with several users: who sees which runs, filters, links and states.

The runs are real: two DAGs of two teams, run by ``airflow dags test`` against the sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_firstpromoter.plugins.firstpromoter import URL_PREFIX
from tests.end_to_end.browser.airflow_server import AIRFLOW_3
from tests.end_to_end.browser.refund_runs import RefundRunsPage, plain
from tests.end_to_end.browser.teams import EU, HOSTILE, US, Teams, summary

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no such pages"),
]

# --- Who sees what ----------------------------------------------------------------------------------------


def test_page_shows_an_admin_the_runs_of_every_dag(as_user: Callable[..., RefundRunsPage]) -> None:
    page = as_user("ada").open()
    assert page.runs() == [EU, US]
    assert page.legend() == {"recorded": 3, "not referred": 1, "rejected": 1, "still open": 1}
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
    page.page.get_by_role("link", name="FirstPromoter").click()
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
    assert page.frame.get_by_role("heading").all_inner_texts()[0] == "FirstPromoter"
    page.frame.get_by_role("img", name="Refunds by outcome, a bar for each run: 2 recorded").wait_for()
    page.frame.get_by_role("region", name="Needs attention").wait_for()
    page.frame.get_by_role("table", name="Runs").wait_for()
    assert page.frame.get_by_role("status").inner_text().startswith("1 run read at")
