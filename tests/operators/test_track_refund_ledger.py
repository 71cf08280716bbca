"""TrackRefundOperator with and without a ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.operators.tracking import outcomes, requests_of, track_task
from tests.support import refund

pytestmark = pytest.mark.usefixtures("firstpromoter")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What a task has logged: Airflow 2 uses Python's logging, Airflow 3 prints."""
    caplog.set_level(logging.WARNING)
    return lambda: caplog.text + capsys.readouterr().out


def test_without_a_ledger_only_409_prevents_duplicates_and_the_log_warns(
    sandbox: Sandbox, connect: Callable[..., str], logged: Callable[[], str]
) -> None:
    connect()

    first = track_task(refunds=[refund(0)]).run()
    second = track_task(refunds=[refund(0)]).run()

    assert (outcomes(first), outcomes(second)) == (["recorded"], ["already_recorded"])
    assert requests_of(sandbox) == 2
    assert len(sandbox.recorded()) == 1
    assert "No ledger is named: only FirstPromoter's 409 keeps a refund from being recorded twice" in logged()


def test_with_a_ledger_the_log_does_not_warn(logged: Callable[[], str]) -> None:
    track_task(refunds=[refund(0, currency="ZZZ")], max_rejected=None).run()

    log = logged()
    assert "Refund 're_0' is rejected" in log
    assert "No ledger" not in log


def test_ledger_of_the_task_overrides_that_of_the_connection(new_database: Callable[..., Any]) -> None:
    other = new_database("sqlite", "other_ledger")

    track_task(refunds=[refund(0)], ledger_conn_id="other_ledger", ledger_table="results").run()

    assert other.run("SELECT event_id, outcome, dag_id, run_id, task_id, map_index FROM results") == [
        ("re_0", "recorded", "dag", "manual__1", "track", -1)
    ]


def test_preview_reports_and_neither_sends_nor_writes(sandbox: Sandbox, new_database: Callable[..., Any]) -> None:
    ledger = new_database("sqlite", "ledger")
    task = track_task(refunds=[refund(0), refund(1, amount=0)], preview=True)

    results = task.run()

    assert outcomes(results) == ["pending", "rejected"]
    assert task.summary["preview"] is True
    assert requests_of(sandbox) == 0
    assert ledger.run("SELECT name FROM sqlite_master") == []
