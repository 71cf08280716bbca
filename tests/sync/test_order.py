"""Nothing stands in the way of good rows: the order of a run, its limit, and its brakes."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import Outcome
from airflow_provider_firstpromoter.exceptions import EventsFailedError, EventsRejectedError, RunRefusedError
from tests.support import BOTH_CALLS, refund, refunds
from tests.sync.runs import A_MONTH, EVERY_TIME, UNKNOWN_CURRENCY, Refunds


def bad(track: Refunds, kind: Any, *event_ids: str, **fault: Any) -> None:
    """Let these refunds fail in every request."""
    track.sandbox.fault(kind, event_id=list(event_ids), **{**EVERY_TIME, **fault})


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "html", "status": 403},
        {"kind": "html", "status": 401},
        {"kind": "redirect", "location": "https://example.com/login"},
        {"kind": "bare_404"},
        {"kind": "status", "status": 409, "message": "Try again"},
        {"kind": "status", "status": 500},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}",
)
def test_row_that_a_firewall_refuses_blocks_no_other(track: Refunds, fault: dict[str, Any]) -> None:
    track.sandbox.fault(**fault, event_id="re_0", **EVERY_TIME)

    for _ in range(2):
        run = track(*refunds(10), max_in_flight=1)
        assert run.outcomes == {"failed": 1, "recorded": 9}
        assert run.summary.stopped_because is None
        with pytest.raises(EventsFailedError, match="1 failed: 're_0'"):
            run.sync.raise_for_summary()
    assert track.stored()["re_0"] == "failed"


def test_eighteen_rows_that_always_fail_block_only_the_run_in_which_they_are_new(track: Refunds) -> None:
    failing = [f"re_{number}" for number in range(100, 118)]
    rows = refunds(18, start=100)
    bad(track, "status", *failing, status=500)
    first = track(*rows, max_in_flight=1)
    assert first.outcomes == {"failed": 10, "pending": 8}
    second = track(*rows, *refunds(10), max_in_flight=1)
    assert (second.summary.stopped_because, second.summary.outcomes[Outcome("recorded")]) == (None, 10), (
        "eight in a row that were never sent, and then good ones"
    )
    track.sent()

    run = track(*rows, *refunds(3, start=500, uid="cus_1"), max_in_flight=1)

    assert track.sent()[:3] == ["re_500", "re_501", "re_502"]
    assert run.summary.outcomes[Outcome("recorded")] == 3
    assert run.summary.stopped_because is None, "those that failed before are only left for the next run"
    assert [warning for warning in run.summary.warnings if "failed or were rejected before" in warning]


def test_refunds_that_failed_before_take_turns_longest_ago_first(track: Refunds) -> None:
    """However many always fail, each has its turn: the one that has recovered too."""
    failing = [f"re_{number}" for number in range(15)]
    rows = [refund(number % 10, event_id=f"re_{number}") for number in range(15)]
    bad(track, "status", *failing, status=500)
    for start in (0, 5, 10):  # without ten in a row, so that all are known as failed
        track(*rows[start : start + 5], max_in_flight=1)
        track.let_days_pass(0.01)  # the ledger knows seconds
    assert set(track.stored().values()) == {"failed"}
    track.sent()

    sent = []
    for _ in range(3):
        track(*rows, max_in_flight=1)
        track.let_days_pass(0.01)
        sent += track.sent()

    assert sent[:15] == failing, "ten, and then the other five"
    assert set(sent[15:]) <= set(failing)


def test_five_rows_that_always_fail_do_not_use_up_the_limit(track: Refunds) -> None:
    rows = refunds(10)
    bad(track, "html", *(f"re_{number}" for number in range(5)), status=403)
    outcomes = [track(*rows, limit=5, max_in_flight=1).outcomes for _ in range(3)]

    assert outcomes[0] == {"failed": 5, "pending": 5}
    assert outcomes[1] == {"recorded": 5, "pending": 5}, "those never sent come first"
    assert outcomes[2] == {"recorded": 5, "failed": 5}


def test_new_refund_is_sent_before_many_that_were_rejected_before(track: Refunds) -> None:
    rejected = [refund(number % 10, event_id=f"old_{number}", currency=UNKNOWN_CURRENCY) for number in range(60)]
    for start in range(0, 60, 15):
        track(*rejected[start : start + 15], max_rejected=None)
    track.sent()

    run = track(*rejected, *refunds(2), retry_rejected=True, max_in_flight=1)

    assert track.sent()[:2] == ["re_0", "re_1"]
    assert run.summary.outcomes[Outcome("recorded")] == 2
    assert run.summary.stopped_because is None
    with pytest.raises(EventsRejectedError):
        run.sync.raise_for_summary()


def test_failed_row_of_a_changed_content_is_still_behind_the_new_ones(track: Refunds) -> None:
    track(refund(77))  # not_referred, and then corrected
    track.sent()

    track(refund(77, uid="cus_1"), *refunds(2), max_in_flight=1)

    assert track.sent() == ["re_0", "re_1", "re_77"]


def test_failing_rechecks_stop_nothing_but_rechecks(track: Refunds) -> None:
    old = refunds(30, start=100)
    track(*old, max_in_flight=1)
    track.let_days_pass(2)
    bad(track, "status", *(row["event_id"] for row in old), status=500)
    track.sent()

    run = track(*old, *refunds(3), recheck_unreferred=A_MONTH, max_in_flight=1)

    assert track.sent() == ["re_0", "re_1", "re_2", *(f"re_{number}" for number in range(100, 110))]
    assert run.summary.outcomes[Outcome("recorded")] == 3


def test_429_is_never_counted_by_the_brakes(track: Refunds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another client uses up the account's limit for longer than a request waits."""
    from airflow_provider_firstpromoter.api import client

    monkeypatch.setattr(client, "LONGEST_RATE_LIMITED", 0.0)
    monkeypatch.setattr(client, "SHORTEST_RETRY_AFTER", 0.0)
    monkeypatch.setattr(client, "LONGEST_JITTER", 0.0)
    limited = [f"re_{number}" for number in range(100, 130)]
    bad(track, "status", *limited, status=429, retry_after="0")

    run = track(*refunds(30, start=100), *refunds(10), max_in_flight=1)

    assert run.outcomes == {"failed": 30, "recorded": 10}
    assert run.summary.stopped_because is None
    assert not any(record.result().lost for record in track.records().values() if record.outcome == "failed")


def test_failures_with_429_in_between_are_still_in_a_row(track: Refunds, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_firstpromoter.api import client

    monkeypatch.setattr(client, "LONGEST_RATE_LIMITED", 0.0)
    monkeypatch.setattr(client, "SHORTEST_RETRY_AFTER", 0.0)
    monkeypatch.setattr(client, "LONGEST_JITTER", 0.0)
    bad(track, "status", *(f"re_{number}" for number in range(0, 30, 2)), status=429, retry_after="0")
    bad(track, "status", *(f"re_{number}" for number in range(1, 30, 2)), status=500)

    run = track(*refunds(30), max_in_flight=1)

    assert (run.summary.stopped_because or "").startswith("10 refunds failed in a row")
    assert len(track.sent()) < 30 * 3


def test_limit_counts_what_is_sent_and_not_what_is_settled_rejected_or_repeated(track: Refunds) -> None:
    track(refund(0))
    given = [refund(0), refund(1, amount=0), refund(2), refund(2), refund(3), refund(4), refund(5)]
    track.sent()

    run = track(*given, limit=3, max_in_flight=1)

    assert track.sent() == ["re_2", "re_3", "re_4"]
    assert run.summary.left_pending == 1


def test_brakes_count_anew_for_refunds_that_failed_before(track: Refunds) -> None:
    bad(track, "status", *(f"re_{number}" for number in range(12)), status=500)
    track(*refunds(3))
    track.sent()

    run = track(*refunds(12), max_in_flight=1)

    assert len(track.sent()) == 12, "nine that are new, and three that failed before"
    assert (run.summary.stopped_because, run.summary.warnings) == (None, [])


@BOTH_CALLS
def test_refunds_that_an_early_stop_leaves_unsent_do_not_use_up_the_limit(track: Refunds) -> None:
    bad = refunds(30, start=100)
    late = refund(77)
    for row in bad:
        track.sandbox.fault("status", status=500, event_id=row["event_id"], **EVERY_TIME)
    track(late, recheck_unreferred=A_MONTH)
    for start in range(0, 30, 9):
        track(*bad[start : start + 9])
    track.let_days_pass(1)
    track.sandbox.add_lead(uid="cus_77")
    track.sent()

    for _ in range(3):
        track(*bad, late, recheck_unreferred=A_MONTH, limit=30, max_in_flight=1)
    sent = track.sent()

    assert len(sent) < 3 * 30, "ten failures in a row end the rank"
    assert "re_77" in sent


def test_limit_sends_new_refunds_before_rows_that_a_corrected_parameter_makes_sendable(track: Refunds) -> None:
    rows = [refund(number, amount="19.99", currency="USD") for number in range(3)]
    track(*rows, max_rejected=None)

    track(*rows, refund(7, amount="1", currency="USD"), amount_unit="major", limit=1, max_in_flight=1)

    assert track.sent() == ["re_7"]


@BOTH_CALLS
def test_max_pending_counts_rows_that_a_corrected_parameter_makes_sendable(track: Refunds) -> None:
    rows = [refund(number, amount="19.99", currency="USD") for number in range(5)]
    assert track(*rows, max_rejected=None).outcomes == {"rejected": 5}

    with pytest.raises(RunRefusedError, match=r"5 (refunds|sales) are pending, more than max_pending=2"):
        track(*rows, amount_unit="major", max_pending=2)
