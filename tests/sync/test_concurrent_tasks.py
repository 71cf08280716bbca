"""Two task runs that send the same refund at once, and what the ledger has of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from airflow_provider_firstpromoter.calls import Outcome, numbered
from airflow_provider_firstpromoter.ledger import RunHistory, RunKey, now
from airflow_provider_firstpromoter.sync import Sync
from tests.support import BOTH_CALLS, refund
from tests.sync.runs import Refunds, on_both


def run_with_meanwhile(sync: Sync, *rows: Any, meanwhile: Callable[[], None]) -> None:
    """Run to the end, and call something between FirstPromoter's first response and the ledger's commit of it."""
    waiting = [meanwhile]

    def call_once(*_: Any) -> None:
        if waiting:
            waiting.pop()()

    sync.run(numbered(rows, sync.options.call), on_result=call_once)


@BOTH_CALLS
@on_both
def test_lost_response_of_one_task_survives_the_404_of_another(track: Refunds) -> None:
    """One hears 404, then the sale comes, and the other's refund is recorded and its response lost."""
    first, second = track.make(), track.make()

    def record_and_lose_the_response() -> None:
        track.sandbox.add_lead(uid="cus_77")
        track.sandbox.fault("reset_after")
        second.run(numbered([refund(77)], track.call))

    run_with_meanwhile(first, refund(77), meanwhile=record_and_lose_the_response)
    assert second.summary.outcomes[Outcome.FAILED] == 1
    assert len(track.recorded()) == 1

    retry = track(refund(77))

    assert retry.outcomes == {"already_recorded": 1}
    assert track.stored() == {"re_77": "already_recorded"}


# --- what asset events report ---


@BOTH_CALLS
@on_both
def test_event_of_one_run_leaves_a_run_under_way_its_own_to_report(track: Refunds) -> None:
    slow, fast = track.make(run_id="slow"), track.make(run_id="fast")
    reported = []

    def end_first() -> None:
        fast.run(numbered([refund(9)], track.call))
        reported.append(fast.since_last_event(only_recorded=True))

    run_with_meanwhile(slow, refund(0), refund(1), meanwhile=end_first)
    reported.append(slow.since_last_event(only_recorded=True))

    assert len(track.recorded()) == 3
    assert [totals.outcomes[Outcome.RECORDED] for totals in reported] == [1, 2]


@pytest.mark.parametrize(("days", "reported"), [(1, 1), (8, 3)])
def test_what_a_killed_run_reversed_reaches_a_later_event_once(
    track: Refunds, move_clock: Callable[[float], None], days: int, reported: int
) -> None:
    """It cannot be told from a run under way at first."""
    track(refund(0), refund(1), run_id="killed")
    ledger = track.ledger
    with ledger.engine.begin() as connection:
        connection.execute(update(RunHistory(ledger, RunKey()).table).values(ended_at=None))
    move_clock(days * 24 * 3600)

    later = track(refund(2), run_id="later").sync
    assert later.since_last_event(only_recorded=True).outcomes[Outcome.RECORDED] == reported

    last = track(refund(3), run_id="last").sync
    assert last.since_last_event(only_recorded=True).outcomes[Outcome.RECORDED] == 1


def test_what_a_killed_try_reversed_is_reported_by_the_retry(track: Refunds) -> None:
    track(refund(0), run_id="run")
    ledger = track.ledger
    with ledger.engine.begin() as connection:
        connection.execute(update(RunHistory(ledger, RunKey()).table).values(ended_at=None))

    retry = track(refund(0), refund(1), run_id="run", try_number=2).sync

    assert retry.since_last_event(only_recorded=True).outcomes[Outcome.RECORDED] == 2
    assert retry.since_last_event(only_recorded=True).outcomes[Outcome.RECORDED] == 2


@on_both
def test_runs_that_end_at_once_report_what_an_earlier_run_reversed_once(track: Refunds, at_once: Any) -> None:
    track(refund(0), run_id="failed")
    runs = [track(refund(number), run_id=f"run_{number}").sync for number in (1, 2)]

    reported = at_once(*(lambda run=run: run.since_last_event(only_recorded=True) for run in runs))

    assert sum(totals.outcomes[Outcome.RECORDED] for totals in reported) == 3


# --- what is accepted meanwhile ---


@BOTH_CALLS
@on_both
def test_amount_that_is_accepted_during_a_run_stays_accepted(track: Refunds) -> None:
    track(refund(0, amount=1000))
    track(refund(0, amount=2000))

    def accept() -> None:
        track.ledger.mark(["re_0"], accepted_at=now())  # as the command line does

    run_with_meanwhile(track.make(), refund(0, amount=2000), refund(1), meanwhile=accept)

    record = track.records()["re_0"]
    assert (record.changed_amount, record.accepted_at is not None) == ("2000", True)
    assert track(refund(0, amount=2000)).outcomes == {"recorded": 1}
    assert track(refund(0, amount=3000)).outcomes == {"changed": 1}
    assert track.records()["re_0"].accepted_at is None
