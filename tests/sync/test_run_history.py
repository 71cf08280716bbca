"""The run history: a row for each try, written before the first request and equal to the ledger after every flush."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, Outcome, Result, numbered
from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    LedgerError,
    RunRefusedError,
    SyncInterruptedError,
)
from airflow_provider_firstpromoter.ledger import RunHistory, RunKey
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.support import refund, refunds
from tests.sync.runs import EVERY_TIME, UNKNOWN_CURRENCY, Refunds, cancelled_when, on_both


def counts(row: dict[str, Any]) -> dict[str, int]:
    return {outcome.value: row[outcome.value] for outcome in Outcome if row[outcome.value]}


def in_ledger(track: Refunds, run_id: str) -> dict[str, int]:
    """How many rows of the ledger this run has decided, by outcome."""
    return dict(Counter(record.outcome.value for record in track.records().values() if record.run_id == run_id))


# --- a row before the first request ---


def test_row_is_written_before_the_first_request(track: Refunds) -> None:
    seen: list[dict[str, Any]] = []
    sync = track.make(run_id="first")

    def rows() -> Any:
        seen.extend(track.history())
        yield from numbered([refund(0)], call=REFUND)

    sync.run(rows())

    (row,) = seen
    assert (row["run_id"], row["task_id"], row["map_index"], row["try_number"]) == ("first", "task", -1, 1)
    assert row["started_at"] is not None
    assert row["ended_at"] is None


@on_both
def test_ledger_that_cannot_be_written_is_noticed_before_the_first_request(
    track: Refunds, monkeypatch: pytest.MonkeyPatch
) -> None:
    track(refund(9))
    track.sent()
    with track.ledger.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE firstpromoter_refunds_runs")
        connection.exec_driver_sql("CREATE VIEW firstpromoter_refunds_runs AS SELECT 1 AS id")

    with pytest.raises(LedgerError):
        track(*refunds(3))

    assert track.sent() == []


def test_refused_run_has_a_row_with_its_error(track: Refunds) -> None:
    with pytest.raises(RunRefusedError):
        track(*refunds(3), max_pending=2)

    (row,) = track.history()
    assert (row["error"], counts(row), row["ended_at"] is not None) == ("RunRefusedError", {}, True)
    assert track.sent() == []


def test_preview_writes_no_row(track: Refunds) -> None:
    track(refund(0))
    track(refund(1), preview=True)
    assert len(track.history()) == 1


# --- what the row says ---


@on_both
def test_row_of_a_run_has_its_counts_and_sums(track: Refunds) -> None:
    track.sandbox.fault("status", status=500, event_id="re_5")
    run = track(
        refund(0, currency="EUR"),
        refund(1, sale_event_id="ch_1"),
        refund(5),
        refund(6, amount=0),
        refund(7, currency=UNKNOWN_CURRENCY),
        refund(99),
        run_id="first",
    )

    (row,) = track.history()
    assert counts(row) == run.outcomes == {"recorded": 2, "not_referred": 1, "rejected": 2, "failed": 1}
    assert json.loads(row["rewards"]) == dict(run.summary.rewards)
    assert json.loads(row["amounts"]) == {"EUR": 1000, "account": 1001}
    assert (row["sent"], row["requests"], row["still_open"]) == (5, 5, 0)
    assert (row["rewards_unknown"], row["without_sale_event_id"]) == (0, 1)
    assert (row["error"], row["stopped_because"]) == ("EventsFailedError", None)
    assert row["started_at"] <= row["ended_at"]
    assert row["account"] == track.ledger.account


def test_stopped_run_says_why(track: Refunds) -> None:
    track.sandbox.fault("status", status=500, **EVERY_TIME)
    track(*refunds(12), max_in_flight=1)

    (row,) = track.history()
    assert row["stopped_because"].startswith("10 refunds failed in a row")
    assert counts(row) == {"failed": 10, "pending": 2}


def test_run_without_access_says_so(track: Refunds) -> None:
    track.connect(max_attempts=1, password="not-the-right-key")
    run = track(refund(0))

    (row,) = track.history()
    assert row["error"] == "AccessRefusedError"
    with pytest.raises(AccessRefusedError):
        run.sync.raise_for_summary()


def test_open_problems_are_counted_apart(track: Refunds) -> None:
    for _ in range(2):
        track(refund(0, amount=0), refund(1, amount=-1))
    assert [(row["rejected"], row["still_open"], row["error"]) for row in track.history()] == [
        (2, 0, "EventsRejectedError"),
        (2, 2, None),
    ]


def test_row_counts_stored_results_of_a_list_only_once(track: Refunds) -> None:
    """A sum over the history is what was reversed, however often a task was cleared."""
    track(*refunds(3), run_id="first")
    track(*refunds(4), run_id="first", try_number=2)
    track(*refunds(4), run_id="second")

    history = track.history()
    assert [row["recorded"] for row in history] == [3, 1, 0]
    reversed_ = [json.loads(row["rewards"]).get("cash", 0) for row in history]
    assert sum(reversed_) == sum(recorded.reward_amount for recorded in track.sandbox.recorded())


# --- equal to the ledger, whenever somebody looks ---


@on_both
def test_counts_equal_the_ledger_after_every_flush(track: Refunds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_firstpromoter.sync.recorder.FLUSH_EVERY_RESULTS", 7)
    given = [
        *refunds(30),
        *refunds(10, start=200, amount=0),
        *refunds(5, start=300, currency=UNKNOWN_CURRENCY),
    ]
    given = [{**row, "event_id": f"re_{number}"} for number, row in enumerate(given)]
    sync = track.make(run_id="first", max_in_flight=2, max_rejected=None)
    looks = []

    def look(row: Any, result: Result) -> None:
        (history,) = track.history()
        looks.append(counts(history))
        assert counts(history) == in_ledger(track, "first")

    sync.run(numbered(given, call=REFUND), on_result=look)

    assert len({tuple(sorted(look.items())) for look in looks}) > 4, "it was looked at between several flushes"
    (history,) = track.history()
    assert counts(history) == in_ledger(track, "first")


@on_both
def test_counts_equal_the_ledger_after_a_kill_by_sigterm(track: Refunds) -> None:
    track.connect(max_attempts=1, requests_per_minute=8)
    sync = track.make(run_id="first")
    cancelled_when(sync, lambda: len(track.sandbox.refund_requests()) == 8)

    with pytest.raises(SyncInterruptedError):
        sync.run(numbered(refunds(20), call=REFUND))

    (row,) = track.history()
    assert counts(row) == {**in_ledger(track, "first"), "pending": row["pending"]}
    assert row["recorded"] == 8
    assert (row["error"], row["ended_at"] is not None) == ("SyncInterruptedError", True)


@on_both
def test_reward_that_another_run_owns_is_in_the_sums_of_one_row_only(track: Refunds) -> None:
    """Two runs at once: the other one has written its rows when this one comes to."""
    given = refunds(5)
    late = track.make(run_id="late", recover_rewards=True)
    sums: list[int] = []

    def sum_of_history() -> int:
        return sum(json.loads(row["rewards"] or "{}").get("cash", 0) for row in track.history())

    def look(row: Any, result: Result) -> None:
        if result.reported_by is not None and result.reported_by["run_id"] == "early":
            sums.append(sum_of_history())  # the other one's result replaces this run's, right after it was written
        elif result.event_id == "re_0":
            track.make(run_id="early", recover_rewards=True).run(numbered(given, call=REFUND))
            assert track.records()["re_0"].run_id == "early"

    late.run(numbered(given, call=REFUND), on_result=look)

    reversed_ = sum(recorded.reward_amount for recorded in track.sandbox.recorded())
    assert sums
    assert {*sums, sum_of_history()} == {reversed_}
    (of_late,) = (row["rewards"] for row in track.history() if row["run_id"] == "late")
    assert late.summary.rewards["cash"] == json.loads(of_late).get("cash", 0)


# --- a process that is killed ---

PROGRAM = """
    import os, signal, sys
    from tests.sync.runs import Refunds
    from airflow_provider_firstpromoter.hooks import FirstPromoterHook
    from airflow_provider_firstpromoter.ledger import Ledger, RunKey
    from airflow_provider_firstpromoter.calls import REFUND, numbered
    from airflow_provider_firstpromoter.sync import Sync, SyncOptions, recorder

    recorder.FLUSH_EVERY_RESULTS = 3
    hook = FirstPromoterHook()
    ledger = Ledger.required(hook.account, "ledger", call=REFUND)
    sync = Sync(hook, ledger, SyncOptions(max_in_flight=1), RunKey("dag", "killed", "task", -1))
    rows = [{"event_id": f"re_{n}", "amount": 1000 + n, "uid": f"cus_{n}"} for n in range(10)]

    def on_result(row, result):
        if result.event_id == "re_7":
            os.kill(os.getpid(), signal.SIGKILL)

    sync.run(numbered(rows, REFUND), on_result=on_result)
"""


def test_killed_process_leaves_a_row_that_has_not_ended_and_equals_the_ledger(track: Refunds) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr

    (row,) = track.history()
    assert (row["run_id"], row["ended_at"], row["error"]) == ("killed", None, None)
    assert counts(row) == in_ledger(track, "killed") == {"recorded": 6}
    assert len(track.sandbox.recorded()) == 8, "two of them were recorded and not written"

    again = track(*refunds(10), run_id="killed", try_number=2, as_query=True)

    total = again.sync.total()
    assert {outcome.value: count for outcome, count in total.outcomes.items() if count} == {
        "recorded": 8,
        "already_recorded": 2,
    }
    assert total.rewards["cash"] == sum(recorded.reward_amount for recorded in track.sandbox.recorded()), (
        "the retry of the task looks up the rewards of the two"
    )
    assert total.rewards_unknown == 0


def test_history_of_another_account_is_not_read(track: Refunds, new_sandbox: Any, connect: Any) -> None:
    track(*refunds(3), run_id="first")
    other: Sandbox = new_sandbox(requests_per_minute=0)
    connect(other, max_attempts=1)

    run = Refunds(other, connect, track.ledger_conn_id)(*refunds(2), run_id="first", as_query=True)

    assert run.sync.total().outcomes[Outcome.RECORDED] == 0
    assert RunHistory(track.ledger, RunKey("dag", "first", "task", -1)).account != track.sandbox.account_id
