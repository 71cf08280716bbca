"""The example DAG in which a person approves what is sent, in the Airflow of ``make ui``."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest

from tests.end_to_end.browser.airflow_server import AIRFLOW_3
from tests.end_to_end.ui import Ui

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 cannot wait for a person"),
]
DAG = "refund_approval"


def add_refund(ui: Ui, event_id: str, amount: int) -> None:
    row = {
        "event_id": event_id,
        "amount": amount,
        "currency": "USD",
        "uid": "cus_unreferred",
        "status": "succeeded",
        "refunded_at": "2025-11-01",
    }
    with closing(sqlite3.connect(ui.warehouse, timeout=60)) as database, database:
        places = ", ".join("?" * len(row))
        database.execute(f"INSERT INTO refunds ({', '.join(row)}) VALUES ({places})", list(row.values()))


def states(ui: Ui, run_id: str) -> dict[str, Any]:
    instances = ui.get(f"dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances")
    return {one["task_id"]: one["state"] for one in (instances or {}).get("task_instances", [])}


def open_the_question(page: Any, ui: Ui) -> str:
    """Start the DAG, open what it asks a person, and return the run's id."""
    run_id = ui.start(DAG)
    ui.wait_until(lambda: states(ui, run_id).get("approve") in ("awaiting_input", "deferred"), "The question")
    page.goto(f"{ui.url}/dags/{DAG}/runs/{quote(run_id)}/tasks/approve/required_actions")
    return run_id


def approve(page: Any, ui: Ui, run_id: str) -> Any:
    """Press Approve, and return the state of the task that sends once the run has ended."""
    page.get_by_role("button", name="Approve").click()
    ended = ("success", "failed", "skipped", "upstream_failed")
    state = ui.wait_until(lambda: (found := states(ui, run_id).get("send")) in ended and found, "The run")
    log = ui.get(f"dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/approve/logs/1?full_content=true")
    assert states(ui, run_id)["approve"] == "success", log
    return state


def sent(ui: Ui) -> set[str]:
    return {request["body"]["event_id"] for request in ui.sandbox.refund_requests()}


def test_no_more_is_sent_than_a_person_has_approved(ui: Ui, page: Any, screenshot: Callable[..., None]) -> None:
    page.set_viewport_size({"width": 1100, "height": 720})
    # What other tests left pending, for this DAG's columns, is out of the way first.
    approve(page, ui, open_the_question(page, ui))
    add_refund(ui, "re_approved", 4900)
    run_id = open_the_question(page, ui)
    page.get_by_role("heading", name="Send 1 refund(s) to FirstPromoter?").or_(
        page.get_by_text("Send 1 refund(s) to FirstPromoter?")
    ).first.wait_for()
    assert page.get_by_role("cell", name="re_approved").is_visible()
    assert page.get_by_role("cell", name="4900").first.is_visible()
    screenshot("refund-approval")

    add_refund(ui, "re_late", 100)
    assert approve(page, ui, run_id) == "failed"
    assert not sent(ui) & {"re_approved", "re_late"}

    run_id = open_the_question(page, ui)
    page.get_by_role("cell", name="re_late").wait_for()
    assert approve(page, ui, run_id) == "success"
    assert {"re_approved", "re_late"} <= sent(ui)
