"""The views of the ledger on every database, and the report that prints them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import Commission, Outcome, Summary
from airflow_provider_firstpromoter.exceptions import (
    EventsFailedError,
    EventsRejectedError,
    RunRefusedError,
    SyncInterruptedError,
)
from airflow_provider_firstpromoter.ledger import Ledger, LedgerWrite, RunHistory, RunKey
from airflow_provider_firstpromoter.ledger.runs import counts_of
from airflow_provider_firstpromoter.ledger.views import Tables, views
from airflow_provider_firstpromoter.reconcile import Mismatch, MismatchKind, MismatchTable
from tests.ledger.rows import THEN, known, run_script, to_write, write

FIRST, SECOND = RunKey("dag", "first", "sync", -1), RunKey("dag", "second", "sync", -1)
FEBRUARY = datetime(2026, 2, 10, tzinfo=UTC)


def reversal(number: int, amount: int, *, status: str = "pending", unit: str = "cash", promoter: int = 1) -> Any:
    """Return the fields of a result that reversed a commission."""
    return {
        "commissions": (
            Commission(
                id=number,
                amount=amount,
                unit=unit,
                status=status,
                promoter_id=promoter,
                promoter_ref=f"ref_{promoter}",
            ),
        ),
    }


def fill(ledger: Ledger) -> None:
    """Write two runs, and what a reconciliation found after them."""
    ledger.ensure()
    history = RunHistory(ledger, FIRST)
    history.start()
    stays = datetime.now(UTC) + timedelta(hours=1)
    write(
        ledger,
        [
            to_write("re_march", **reversal(1, -100)),
            to_write("re_february", refunded_at=FEBRUARY, **reversal(2, -200)),
            to_write("re_points", **reversal(3, -5, unit="points")),
            to_write("re_ben", Outcome.ALREADY_RECORDED, **reversal(4, -300, promoter=2)),
            to_write("re_denied", **reversal(5, -400, status="denied")),
            to_write("re_changed", **reversal(6, -100)),
            to_write("re_accepted", **reversal(7, -100)),
            to_write("re_nobody", Outcome.NOT_REFERRED),
            to_write("re_left", Outcome.REJECTED, message="amount is missing", seen_at=THEN),
            to_write("re_rejected", Outcome.REJECTED, message="amount is not a number", seen_at=stays),
            to_write("re_failed", Outcome.FAILED, message="answered 500 in 6 tries", seen_at=stays),
        ],
        FIRST,
    )
    records = [known(ledger, event_id) for event_id in ("re_changed", "re_accepted")]
    ledger.write([LedgerWrite.of_changed(record.event_id, record.outcome, "700", stays) for record in records], SECOND)
    ledger.mark(["re_accepted"], accepted_at=THEN)
    history.finish({"requests": 11, "sent": 10})
    again = RunHistory(ledger, SECOND)  # its query no longer has re_left
    again.start()
    again.finish({"requests": 3})
    mismatches = MismatchTable(ledger, RunKey("dag", "third", "reconcile", -1))
    mismatches.ensure()
    mismatches.write(
        [
            Mismatch(MismatchKind.RECORDED_TWICE, "stripe_1", 9, THEN, other_event_id="re_march"),
            Mismatch(MismatchKind.MISSING_IN_LEDGER, "re_accepted_mismatch", 10, THEN),
        ]
    )
    mismatches.accept(["re_accepted_mismatch"])


@pytest.fixture
def view(database: Any, ledger: Ledger) -> Callable[[str, str], list[tuple[Any, ...]]]:
    """``view(name, columns)``: the rows of a view that the printed statements have made."""
    fill(ledger)
    dialect = ledger.engine.dialect
    tables = Tables(
        ledger.table, ledger.commissions.table, RunHistory(ledger, FIRST).table, MismatchTable(ledger).table
    )
    for view in views(tables):
        run_script(database, view.script(ledger.table, dialect))
    return lambda name, columns: sorted(
        database.run(f"SELECT {columns} FROM firstpromoter_refunds_{name} WHERE account = 'acc'"), key=str
    )


def test_view_open_lists_what_needs_attention_and_not_what_left_the_query_or_was_accepted(view: Any) -> None:
    assert view("open", "event_id, problem, reason") == [
        ("re_changed", "changed", "recorded with amount 1000, now 700"),
        ("re_failed", "failed", "answered 500 in 6 tries"),
        ("re_rejected", "rejected", "amount is not a number"),
        ("stripe_1", "recorded_twice", "the same as re_march"),
    ]


@pytest.mark.parametrize(
    ("summary", "error", "looked_at_every_row"),
    [
        ({}, None, True),
        ({}, EventsFailedError(), True),
        ({}, EventsRejectedError(), True),
        ({}, RunRefusedError(), False),
        ({}, SyncInterruptedError(), False),
        ({"outcomes": {Outcome.PENDING: 1}}, None, False),
        ({"outcomes": {Outcome.PENDING: 1}}, EventsFailedError(), False),
        ({"stopped_because": "10 refunds failed in a row"}, EventsFailedError(), False),
    ],
    ids=repr,
)
def test_view_open_drops_a_problem_only_after_a_run_that_looked_at_every_row(
    ledger: Ledger, summary: dict[str, Any], error: Exception | None, looked_at_every_row: bool
) -> None:
    write(ledger, [to_write("re_bad", Outcome.REJECTED, message="amount is missing", seen_at=THEN)], FIRST)
    history = RunHistory(ledger, SECOND)
    history.start()
    history.finish(counts_of(Summary(**summary), Summary(**summary)), error)
    (view,) = [
        one.query
        for one in views(Tables(ledger.table, ledger.commissions.table, history.table, None))
        if one.name == "open"
    ]

    with ledger.engine.connect() as connection:
        shown = [row.event_id for row in connection.execute(view)]

    assert shown == ([] if looked_at_every_row else ["re_bad"])


def test_view_status_has_a_row_for_each_refund(view: Any) -> None:
    statuses = dict(view("status", "event_id, status"))
    assert len(statuses) == 11
    assert {event_id: statuses[event_id] for event_id in ("re_march", "re_changed", "re_accepted", "re_nobody")} == {
        "re_march": "recorded",
        "re_changed": "changed",
        "re_accepted": "recorded",
        "re_nobody": "not_referred",
    }


def test_view_reversed_adds_up_by_month_promoter_and_unit(view: Any) -> None:
    columns = "year, month, promoter_id, promoter_ref, reward_unit, refunds, reversed"
    rows = view("reversed", columns)
    assert [tuple(int(cell) if not isinstance(cell, str) else cell for cell in row) for row in rows] == [
        (2026, 2, 1, "ref_1", "cash", 1, -200),
        (2026, 3, 1, "ref_1", "cash", 3, -300),
        (2026, 3, 1, "ref_1", "points", 1, -5),
        (2026, 3, 2, "ref_2", "cash", 1, -300),
    ]


def test_view_last_runs_has_a_row_for_each_try(view: Any) -> None:
    assert view("last_runs", "run_id, kind, requests") == [("first", "query", 11), ("second", "query", 3)]


def test_view_open_keeps_the_problem_of_one_mapped_task_when_another_of_the_same_run_ends(ledger: Ledger) -> None:
    write(ledger, [to_write("re_bad", Outcome.REJECTED, message="amount is missing", seen_at=THEN)], FIRST)
    tables = Tables(ledger.table, ledger.commissions.table, RunHistory(ledger, FIRST).table, None)
    (view,) = [one.query for one in views(tables) if one.name == "open"]

    def shown() -> list[str]:
        with ledger.engine.connect() as connection:
            return [row.event_id for row in connection.execute(view)]

    for map_index, expected in ((1, ["re_bad"]), (-1, [])):
        history = RunHistory(ledger, FIRST._replace(map_index=map_index))
        history.start()
        history.finish({})
        assert shown() == expected
