"""
The page "FirstPromoter": what it shows of the summaries of runs, and what it does with odd data.

What no real run can give, such as hostile text in a reason, is written through Airflow's API into real DAG runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.end_to_end.browser.airflow_server import AIRFLOW_3
from tests.end_to_end.browser.refund_runs import RefundRunsPage
from tests.end_to_end.browser.teams import EU, HOSTILE, US, summary

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no such pages"),
]


def problem(event_id: str, reason: str, **values: Any) -> dict[str, Any]:
    return {"event_id": event_id, "outcome": "rejected", "reason": reason, "new": True, **values}


def test_hostile_text_stays_text(as_user: Callable[..., RefundRunsPage], push: Callable[..., None]) -> None:
    hostile = summary(
        account=HOSTILE,
        host=HOSTILE,
        outcomes={HOSTILE: 3, "__proto__": 1},
        rewards={HOSTILE: -5, "cash": -1},
        amounts={HOSTILE: 5},
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
    push("others_us", {**wrong, "rewards": [], "warnings": "none", "ended_at": "yesterday", "seconds": {}})
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
    assert "13 more events counted by" in text
    assert "Stopped early: 20 refunds rejected in a row" in text


def test_previews_and_reconciliations_count_in_no_sum(
    as_user: Callable[..., RefundRunsPage], push: Callable[..., None]
) -> None:
    push("others_us", summary())
    push("others_us", summary(preview=True, outcomes={"pending": 100, "rejected": 1}, problems=[problem("re_1", "no")]))
    cases = {
        "recorded_twice": [{"event_id": "in_7", "other_event_id": "re_7"}],
        "reward_changed": [{"event_id": "re_8"}],
    }
    found = {
        "kind": "reconcile",
        "account": "acme-us",
        "matched": 40,
        "mismatches": 1,
        "recorded_twice": 1,
        "cases": cases,
    }
    push("others_us", {**found, "warnings": [], "seconds": 2.0, "requests": 3}, "reconcile")
    page = as_user("uma").open("?dag=others_us")
    assert (page.total("runs"), page.total("recorded"), page.total("reversed")) == ("3", "2", "-13.80")
    tile = page.frame.locator(".tile").filter(has=page.frame.locator("#total-runs")).inner_text()
    assert tile.endswith("1 sent refunds, 1 preview, 1 reconciliation")
    assert page.legend() == {"recorded": 2}
    assert page.attention() == [("recorded twice", "in_7", "as well as re_7")]
    assert page.runs() == ["others_us > reconcile", "others_us > sync_refunds", "others_us > sync_refunds"]


def test_revert_is_listed_and_its_failures_need_attention(
    as_user: Callable[..., RefundRunsPage], push: Callable[..., None]
) -> None:
    revert = {"kind": "revert", "account": "acme-us", "preview": False, "selected": 9, "to_revert": 8, "reverted": 7}
    push(
        "others_us", {**revert, "failed": 1, "failures": ["re_4"], "denied": {"cash": 700}, "requests": 3}, "reconcile"
    )
    page = as_user("uma").open("?dag=others_us")
    assert page.total("runs") == "1"
    assert page.attention() == [("failed", "re_4", "its commission was to be denied, and is not")]
    assert "9 selected \u00b7 7 reverted \u00b7 1 failed" in page.frame.locator("#runs").inner_text()
    page.frame.get_by_role("button", name="Details").click()
    assert page.frame.get_by_role("definition").filter(has_text="7.00").all_inner_texts() == ["7.00"]


def test_sums_of_different_accounts_are_not_added(
    as_user: Callable[..., RefundRunsPage], push: Callable[..., None]
) -> None:
    push("others_us", summary(rewards={"cash": -100, "credits": -3}))
    push("others_us", summary(account="acme-eu", rewards={"cash": -250}))
    page = as_user("uma").open("?dag=others_us")
    assert page.sums() == ["acme-eu \u00b7 -2.50", "acme-us \u00b7 -1.00", "acme-us \u00b7 -3 credits"]


def test_more_runs_than_are_read_at_once_are_read_on_demand(
    as_user: Callable[..., RefundRunsPage], push: Callable[..., None]
) -> None:
    push("others_us", summary(), copies=202)
    page = as_user("uma").open("?dag=others_us")
    assert page.total("recorded") == "400"
    assert "3 older runs not counted yet" in page.frame.locator("#status").inner_text()
    page.frame.get_by_role("button", name="Read older runs").click()
    page.frame.get_by_text("203 runs read at").wait_for()
    assert page.total("recorded") == "406"
    assert len(page.runs()) == 50
    page.frame.get_by_role("button", name="Show more (153)").click()
    assert len(page.runs()) == 100
