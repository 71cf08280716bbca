"""When a run stops early, and what it has written by then."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    EventsFailedError,
    EventsRejectedError,
)
from tests.support import BOTH_CALLS, refund, refunds
from tests.sync.runs import EVERY_TIME, UNKNOWN_CURRENCY, Refunds


def test_twenty_rejections_in_a_row_stop_the_run(track: Refunds) -> None:
    given = refunds(30, currency=UNKNOWN_CURRENCY)

    run = track(*given, max_in_flight=1, max_rejected=None)

    assert track.sent() == [f"re_{number}" for number in range(20)]
    assert track.stored() == {f"re_{number}": "rejected" for number in range(20)}
    assert run.outcomes == {"rejected": 20, "pending": 10}
    assert run.summary.left_pending == 10
    assert (run.summary.stopped_because or "").startswith("20 refunds rejected in a row")
    with pytest.raises(EventsRejectedError, match="stopped early: 20 refunds rejected in a row"):
        run.sync.raise_for_summary()


def test_stopped_run_collects_results_under_way_and_sends_nothing_new(track: Refunds) -> None:
    track.sandbox.fault("latency", seconds=0.05, times=None)

    run = track(*refunds(60, currency=UNKNOWN_CURRENCY), max_in_flight=8)

    sent = track.sent()
    assert 20 <= len(sent) <= 20 + 8
    assert track.stored() == dict.fromkeys(sent, "rejected")
    assert run.summary.left_pending == 60 - len(sent)


def test_rejections_with_others_in_between_do_not_stop_the_run(track: Refunds) -> None:
    given = [*refunds(19, start=10, currency=UNKNOWN_CURRENCY), refund(0)] * 2
    rows = [{**row, "event_id": f"re_{position}"} for position, row in enumerate(given)]

    run = track(*rows, max_in_flight=1, max_rejected=None)

    assert run.outcomes == {"rejected": 38, "recorded": 2}
    assert run.summary.stopped_because is None
    run.sync.raise_for_summary()


@BOTH_CALLS
def test_conflicts_in_other_words_do_not_stop_the_run(track: Refunds) -> None:
    """They fail, each by itself: the API works."""
    track.sandbox.fault("status", status=409, message="Conflict", path=track.call.path, times=12)

    run = track(*refunds(13), max_in_flight=1)

    assert run.outcomes["failed"] == 12
    assert len(track.sent()) == 13
    assert run.summary.stopped_because is None


def test_rows_rejected_by_validation_do_not_stop_the_run(track: Refunds) -> None:
    run = track(*refunds(50, start=10, amount=0), refund(0), max_rejected=None)

    assert run.outcomes == {"rejected": 50, "recorded": 1}
    assert run.summary.stopped_because is None


def test_ten_failures_in_a_row_stop_the_run_and_the_next_run_sends_the_rest(track: Refunds) -> None:
    given = refunds(10) + refunds(15, start=10)
    track.sandbox.fault("status", status=500, **EVERY_TIME)

    run = track(*given, max_in_flight=1)

    assert track.sent() == [f"re_{number}" for number in range(10)]
    assert track.stored() == {f"re_{number}": "failed" for number in range(10)}
    assert run.outcomes == {"failed": 10, "pending": 15}
    assert (run.summary.stopped_because or "").startswith("10 refunds failed in a row")
    with pytest.raises(EventsFailedError, match="10 failed"):
        run.sync.raise_for_summary()

    track.sandbox.clear_faults()
    again = track(*given)

    assert again.outcomes == {"recorded": 10, "not_referred": 15}
    assert set(track.stored().values()) == {"recorded", "not_referred"}
    assert len(track.stored()) == 25


def test_stopped_run_writes_its_results(track: Refunds) -> None:
    for number in range(5, 30):
        track.sandbox.fault("status", status=503, event_id=f"re_{number}")

    run = track(*refunds(30), max_in_flight=1)

    assert run.outcomes == {"recorded": 5, "failed": 10, "pending": 15}
    assert track.stored() == {
        **{f"re_{number}": "recorded" for number in range(5)},
        **{f"re_{number}": "failed" for number in range(5, 15)},
    }


def test_wrong_api_key_ends_the_run_after_one_request(track: Refunds) -> None:
    track.connect(max_attempts=1, password="not-the-right-key")

    run = track(*refunds(10), max_in_flight=8)

    assert track.sandbox.request_counts() == {"POST /api/v2/track/refund": {"401": 1}}
    assert track.stored() == {}
    assert run.outcomes == {"pending": 10}
    with pytest.raises(AccessRefusedError, match=r"password \(API key\) and login \(Account ID\)") as refused:
        run.sync.raise_for_summary()
    assert isinstance(refused.value, AirflowFailException), "Airflow would try again"


def test_api_key_revoked_during_the_run_ends_it_and_keeps_the_results(track: Refunds) -> None:
    track.sandbox.fault("status", status=403, event_id="re_4")

    run = track(*refunds(10), max_in_flight=1)

    assert track.stored() == {f"re_{number}": "recorded" for number in range(4)}
    assert run.outcomes == {"recorded": 4, "pending": 6}
    with pytest.raises(AccessRefusedError):
        run.sync.raise_for_summary()


@BOTH_CALLS
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "bare_404"},
        {"kind": "html", "status": 200},
        {"kind": "html", "status": 404},
        {"kind": "redirect", "location": "https://example.com/login"},
        {"kind": "malformed"},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}",
)
def test_responses_of_another_server_settle_nothing(track: Refunds, fault: dict[str, Any]) -> None:
    track.sandbox.fault(**fault, **EVERY_TIME)

    run = track(*refunds(30, start=10), max_in_flight=1)

    assert track.stored() == {f"re_{number}": "failed" for number in range(10, 20)}
    assert run.outcomes == {"failed": 10, "pending": 20}


def test_wrong_path_settles_nothing(track: Refunds) -> None:
    track.connect(max_attempts=1, host=track.sandbox.base_url.removesuffix("/api/v2") + "/somewhere/else")

    run = track(*refunds(12), max_in_flight=1)

    assert set(track.stored().values()) == {"failed"}
    assert run.outcomes == {"failed": 10, "pending": 2}
    assert "is the connection's host right?" in (run.summary.stopped_because or "")


def test_api_that_is_down_ends_the_run_early_and_leaves_the_rest_pending(track: Refunds) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        track.connect(max_attempts=1, host=f"http://127.0.0.1:{nobody_listens.getsockname()[1]}/api/v2")

        run = track(*refunds(100), max_in_flight=1)

    assert run.outcomes == {"failed": 10, "pending": 90}
    assert track.stored() == {f"re_{number}": "failed" for number in range(10)}
    with pytest.raises(EventsFailedError, match="the connection was refused"):
        run.sync.raise_for_summary()


@pytest.mark.parametrize(("strangers", "referred", "warns"), [(100, 0, True), (99, 0, False), (150, 1, False)])
def test_hundred_sent_without_a_match_gives_a_warning(
    track: Refunds, strangers: int, referred: int, warns: bool
) -> None:
    run = track(*refunds(strangers, start=10), *refunds(referred))

    assert run.summary.sent == strangers + referred
    assert [warning for warning in run.summary.warnings if "id column" in warning] == (
        [
            "100 refunds were sent and none belongs to a referral. Check that the id column holds the ids that "
            "FirstPromoter knows, and that the account is the right one. Correct the query and run the task again: a "
            "refund whose id column has changed is sent again"
        ]
        if warns
        else []
    )
    run.sync.raise_for_summary()
