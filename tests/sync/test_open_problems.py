"""Red once, not for ever: which problems fail a run, and how often each is reported."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, numbered
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, EventsRejectedError, SyncInterruptedError
from tests.ledger.rows import THEN
from tests.support import BOTH_CALLS, refund, refunds
from tests.sync.runs import EVERY_TIME, UNKNOWN_CURRENCY, Refunds, Run, on_both

NULL_CUSTOMERS = [refund(number, event_id=f"re_null_{number}", uid=None) for number in range(27)]


def is_red(run: Run) -> bool:
    try:
        run.sync.raise_for_summary()
    except EventsRejectedError:
        return True
    return False


# --- rejected refunds ---


@on_both
def test_rejected_rows_make_one_run_red_and_are_then_open(track: Refunds) -> None:
    first = track(*NULL_CUSTOMERS, refund(0))
    assert is_red(first)
    assert (first.summary.new_problems, first.summary.still_open) == (27, 0)

    for _ in range(3):
        run = track(*NULL_CUSTOMERS, refund(0))
        assert not is_red(run)
        assert run.outcomes == {"rejected": 27, "recorded": 1}
        assert (run.summary.new_problems, run.summary.still_open) == (0, 27)


def test_new_problem_beside_many_open_ones_is_named_in_log_and_error(
    track: Refunds, caplog: pytest.LogCaptureFixture
) -> None:
    track(*NULL_CUSTOMERS)
    caplog.clear()

    run = track(*NULL_CUSTOMERS, refund(5, amount=0))

    with pytest.raises(
        EventsRejectedError,
        match=r"^1 new of 28 rejected: 're_5' \(27 reported before and still open\): amount must be above zero",
    ):
        run.sync.raise_for_summary()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "Refund 're_5' is rejected: amount must be above zero; leave reversed and failed rows out of the query"
    ]


def test_fail_on_any_fails_for_open_problems_too(track: Refunds) -> None:
    track(refund(0, amount=0))

    assert is_red(track(refund(0, amount=0), fail_on="any"))
    assert not is_red(track(refund(0, amount=0), fail_on="any", max_rejected=1))
    assert not is_red(track(refund(0, amount=0), fail_on="new"))


def test_max_rejected_tolerates_new_problems_only(track: Refunds) -> None:
    assert not is_red(track(refund(0, amount=0), refund(1, amount=0), max_rejected=2))
    again = [refund(0, amount=0), refund(1, amount=0), refund(2, amount=0)]

    assert not is_red(track(*again, max_rejected=1)), "one new, two open"
    assert is_red(track(*again, refund(3, amount=0), refund(4, amount=0), max_rejected=1))
    assert not is_red(track(*refunds(9, start=20, amount=0), max_rejected=None))


def test_rejection_by_firstpromoter_makes_one_run_red(track: Refunds) -> None:
    row = refund(0, currency=UNKNOWN_CURRENCY)
    assert is_red(track(row))
    assert not is_red(track(row))
    assert track(row).summary.still_open == 1


def test_rejected_row_with_another_fault_is_a_new_problem(track: Refunds) -> None:
    assert is_red(track(refund(0, amount=0)))
    assert is_red(track(refund(0, amount=-1)))
    assert not is_red(track(refund(0, amount=-1)))


def test_rejected_row_that_is_sent_again_and_rejected_again_is_new(track: Refunds) -> None:
    row = refund(0, currency=UNKNOWN_CURRENCY)
    track(row)
    assert is_red(track(row, retry_rejected=True)), "FirstPromoter was asked again, and said no again"


@BOTH_CALLS
@on_both
def test_row_without_event_id_makes_one_run_red_until_its_content_changes(track: Refunds) -> None:
    """The ledger remembers it by its content."""
    nameless = refund(0, event_id=None)
    assert is_red(track(nameless, refund(1)))
    for _ in range(2):
        run = track(nameless, refund(1))
        assert not is_red(run)
        assert (run.summary.new_problems, run.summary.still_open) == (0, 1)

    assert is_red(track({**nameless, "amount": 7}, nameless)), "another row"
    assert not is_red(track(nameless))
    (first, second) = [event_id for event_id in track.stored() if event_id != "re_1"]
    assert first.startswith("(no event_id) ")
    assert set(attention(track)) == {first, second}


# --- changed refunds ---


@on_both
def test_changed_refund_makes_one_run_red_until_its_amount_changes_again(track: Refunds) -> None:
    track(refund(0))
    assert is_red(track(refund(0, amount=5)))
    run = track(refund(0, amount=5))
    assert not is_red(run)
    assert (run.outcomes, run.summary.still_open) == ({"changed": 1}, 1)

    assert is_red(track(refund(0, amount=6)))
    assert not is_red(track(refund(0, amount=6)))


@BOTH_CALLS
@on_both
def test_changed_refund_whose_row_is_as_before_is_settled_and_its_next_change_is_new(track: Refunds) -> None:
    track(refund(0))
    assert is_red(track(refund(0, amount=5)))

    run = track(refund(0))

    assert (run.outcomes, run.summary.still_open) == ({"recorded": 1}, 0)
    assert attention(track) == {}
    assert is_red(track(refund(0, amount=5))), "the second change to the same amount"
    assert not is_red(track(refund(0, amount=5)))


def test_changed_refund_with_a_row_as_before_beside_it_stays_changed(track: Refunds) -> None:
    track(refund(0))
    assert is_red(track(refund(0), refund(0, amount=5)))
    for _ in range(2):
        assert not is_red(track(refund(0), refund(0, amount=5)))
        assert set(attention(track)) == {"re_0"}


def test_accepted_amount_stays_accepted_when_its_row_is_as_before(track: Refunds) -> None:
    track(refund(0))
    track(refund(0, amount=5))
    track.ledger.mark(["re_0"], accepted_at=THEN)
    track(refund(0))
    assert not is_red(track(refund(0, amount=5)))


# --- who has reported it ---


def test_retry_of_the_task_that_found_a_problem_is_as_red_as_its_first_try(track: Refunds) -> None:
    """Otherwise a retry for another reason would turn the run green, and nobody would ever see the problem."""
    rows = [refund(0, amount=0), refund(1)]
    assert is_red(track(*rows, run_id="hourly"))

    again = track(*rows, run_id="hourly", try_number=2)

    assert is_red(again)
    assert (again.summary.new_problems, again.summary.still_open) == (1, 0)
    assert not is_red(track(*rows, run_id="next hour"))


def test_problem_of_a_run_that_failed_for_another_reason_is_reported_by_its_retry(track: Refunds) -> None:
    rows = [refund(0, amount=0), refund(1)]
    track.sandbox.fault("status", status=500, event_id="re_1")
    first = track(*rows, run_id="hourly")
    assert first.outcomes == {"rejected": 1, "failed": 1}

    assert is_red(track(*rows, run_id="hourly", try_number=2))


def test_killed_run_has_reported_nothing(track: Refunds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log and its error are lost: the next run is the first to report."""
    monkeypatch.setattr("airflow_provider_firstpromoter.sync.recorder.FLUSH_EVERY_RESULTS", 1)

    track.sandbox.fault("latency", seconds=0.5, event_id="re_5")  # it comes back last
    rows = [refund(0, amount=0), *refunds(5, start=1)]

    def look(row: Any, result: Any) -> None:
        if result.event_id == "re_5":
            raise SyncInterruptedError("killed")

    with pytest.raises(SyncInterruptedError):
        track.make().run(numbered(rows, call=REFUND), on_result=look)
    assert track.stored()["re_0"] == "rejected"

    assert is_red(track(*rows))


def test_open_problem_that_a_run_stops_before_is_not_counted(track: Refunds) -> None:
    track(refund(0, amount=0))
    track.sandbox.fault("status", status=500, **EVERY_TIME)

    run = track(*refunds(20, start=1), refund(0, amount=0), max_in_flight=1)

    assert (run.summary.stopped_because or "").startswith("10 refunds failed")
    assert run.summary.still_open == 1


# --- the log ---


@pytest.mark.parametrize("again", [False, True], ids=["first-run", "later-run"])
def test_each_problem_is_logged_once_and_only_by_the_run_that_finds_it(
    track: Refunds, caplog: pytest.LogCaptureFixture, again: bool
) -> None:
    track(refund(3))
    rows = [refund(1, amount=0), refund(2, currency=UNKNOWN_CURRENCY), refund(3, amount=5)]
    if again:
        track(*rows)
    caplog.clear()
    caplog.set_level(logging.INFO)

    run = track(*rows)

    from airflow_provider_firstpromoter.sync import log_text

    logged = [record.getMessage() for record in caplog.records] + [log_text.table(run.sync.total())]
    for event_id in ("re_1", "re_2", "re_3"):
        assert sum(event_id in text for text in logged) == (0 if again else 1)


# --- the ledger as the list of what needs attention ---


def attention(track: Refunds) -> dict[str, tuple[Any, ...]]:
    """Return what one query of the ledger lists."""
    ledger = track.ledger
    with ledger.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT event_id, outcome, message, changed_amount, judged_at IS NOT NULL, last_seen_at IS NOT NULL "
            f"FROM {track.call.ledger_table} WHERE outcome IN ('rejected', 'failed') "
            "OR (changed_amount IS NOT NULL AND accepted_at IS NULL) ORDER BY event_id"
        ).all()
    return {row[0]: tuple(row[1:]) for row in rows}


@on_both
def test_one_query_of_the_ledger_lists_everything_that_needs_attention(track: Refunds) -> None:
    track(refund(0), refund(5))
    track.sandbox.fault("status", status=500, event_id="re_3", **EVERY_TIME)

    track(refund(0), refund(1, amount=0), refund(2, currency=UNKNOWN_CURRENCY), refund(3), refund(5, amount=7))

    found = attention(track)
    assert {event_id: row[0] for event_id, row in found.items()} == {
        "re_1": "rejected",
        "re_2": "rejected",
        "re_3": "failed",
        "re_5": "recorded",
    }
    assert found["re_3"][1] == "answered 500 in 1 try"
    assert found["re_5"][2] == "7"
    assert all(row[3] and row[4] for row in found.values())


def test_last_seen_at_tells_the_problems_that_left_the_query_from_the_others(
    track: Refunds, monkeypatch: pytest.MonkeyPatch, move_clock: Callable[[float], None]
) -> None:
    track.sandbox.fault("status", status=500, event_id="re_2", **EVERY_TIME)
    rows = [refund(0, amount=0), refund(1, amount=0), refund(2), refund(3)]
    track(*rows)
    track(refund(3, amount=9), *rows[:3])
    move_clock(3600)

    track(rows[0], rows[2], refund(3, amount=9))

    ledger = track.ledger
    started = track.history()[-1]["started_at"]
    with ledger.engine.connect() as connection:
        from sqlalchemy import select

        c = ledger.table.c
        seen = {row.event_id: row.last_seen_at for row in connection.execute(select(c.event_id, c.last_seen_at))}
    assert {event_id for event_id, at in seen.items() if at is not None and at >= started} == {"re_0", "re_2", "re_3"}
    assert seen["re_1"] is not None
    assert seen["re_1"] < started, "it left the query"


def test_rejected_row_of_a_run_that_was_refused_access_fails_the_next_run(track: Refunds) -> None:
    track.sandbox.fault("status", status=401, message="Unauthorized", path="/track/refund")
    first = track(refund(5, amount=0), refund(0))
    with pytest.raises(AccessRefusedError) as refused:
        first.sync.raise_for_summary()
    assert "re_5" not in str(refused.value)

    second = track(refund(5, amount=0), refund(0))

    with pytest.raises(EventsRejectedError):
        second.sync.raise_for_summary()
