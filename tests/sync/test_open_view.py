"""The view of open problems after runs that did not look at every row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from airflow_provider_firstpromoter.calls import REFUND, numbered
from airflow_provider_firstpromoter.exceptions import EventsRejectedError, RunRefusedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RunHistory, RunKey, now
from airflow_provider_firstpromoter.ledger.views import Tables, views
from airflow_provider_firstpromoter.sync import Sync, SyncOptions
from tests.support import refund, refunds
from tests.sync.runs import EVERY_TIME, Refunds


def query(track: Refunds, *rows: Any, **options: Any) -> None:
    """Run as the operator of a query does."""
    track.number += 1
    run = RunKey("dag", f"run_{track.number}", "task", -1)
    sync = Sync(FirstPromoterHook(), track.ledger, SyncOptions(**options), run, kind="query")
    sync.run(numbered(rows, call=REFUND))


def open_problems(track: Refunds) -> set[str]:
    ledger = track.ledger
    tables = Tables(ledger.table, ledger.commissions.table, RunHistory(ledger, RunKey()).table, None)
    (shown,) = [one.query.subquery() for one in views(tables) if one.name == "open"]
    with ledger.engine.connect() as connection:
        return set(connection.execute(select(shown.c.event_id)).scalars())


def test_problem_stays_open_after_a_run_that_was_refused_before_it_looked_at_its_row(
    track: Refunds, move_clock: Callable[[float], None]
) -> None:
    bad = refund(5, amount=0)
    query(track, bad)
    assert open_problems(track) == {"re_5"}
    move_clock(60)

    with pytest.raises(RunRefusedError):
        query(track, bad, *refunds(3), max_pending=2)

    assert open_problems(track) == {"re_5"}


@pytest.mark.parametrize("limit", [3, None])
def test_failed_refunds_that_a_run_did_not_get_to_stay_open(
    track: Refunds, move_clock: Callable[[float], None], limit: int | None
) -> None:
    """The run gives up refunds that failed before after ten failures in a row, or ``limit`` ends it."""
    bad = refunds(15, start=100)
    for row in bad:
        track.sandbox.fault("status", status=500, event_id=row["event_id"], **EVERY_TIME)
    for count in (8, 15):  # ten failures in a row end a run
        query(track, *bad[:count])
    every = {row["event_id"] for row in bad}
    assert {event_id for event_id, outcome in track.stored().items() if outcome == "failed"} == every
    move_clock(60)

    query(track, *bad, limit=limit, max_in_flight=1)

    assert open_problems(track) == every


def test_lead_with_another_uid_is_red_once_and_stays_open_until_it_is_reverted(
    track: Refunds, move_clock: Callable[[float], None]
) -> None:
    """Two customers share an address: the uid is not known, and the e-mail finds the other one."""
    track.sandbox.add_lead(uid="other", email="shared@example.com")
    rows = [refund(77, email="shared@example.com"), refund(78, email="c1@example.com", uid="cus_1"), refund(2)]

    run = track(*rows)

    assert run.outcomes == {"recorded": 3, "changed": 1}
    assert run.results[0].outcome == "recorded"
    assert run.summary.matched_by_email == 1
    undo, leave = r"firstpromoter revert .*--event-id=re_77, ", r"firstpromoter accept .*firstpromoter_default re_77"
    with pytest.raises(EventsRejectedError, match=rf"'re_77': .*another uid .*{undo}.*{leave}") as raised:
        run.sync.raise_for_summary()
    assert str(raised.value).count(" accept ") == 1, "and nothing about an amount that has not changed"
    assert open_problems(track) == {"re_77"}
    move_clock(60)

    query(track, *rows)

    assert open_problems(track) == {"re_77"}
    track(*rows).sync.raise_for_summary()
    track.ledger.mark(["re_77"], accepted_at=now())
    assert open_problems(track) == set()
