"""Several requests at once, and a kill while they are under way."""

from __future__ import annotations

import pytest

from airflow_provider_firstpromoter.calls import REFUND, Outcome
from airflow_provider_firstpromoter.calls.row import numbered
from airflow_provider_firstpromoter.exceptions import (
    SyncInterruptedError,
)
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.support import refunds
from tests.sync.runs import EVERY_TIME, Refunds, cancelled_when, on_both

# --- several requests at once ---


def under_way_at_once(sandbox: Sandbox, latency: float) -> int:
    """The most requests that were under way at once, if each took at least so many seconds."""
    came = sorted(request.at for request in sandbox.refund_requests())
    return max(sum(at <= other < at + latency for other in came) for at in came)


@pytest.mark.parametrize("most", [1, 3, 8])
def test_max_in_flight_is_reached_and_never_exceeded(track: Refunds, most: int) -> None:
    latency = 0.15
    track.sandbox.fault("latency", seconds=latency, **EVERY_TIME)

    run = track(*refunds(5 * most), max_in_flight=most)

    assert run.summary.sent == 5 * most
    assert under_way_at_once(track.sandbox, latency) == most


def test_first_request_is_sent_alone(track: Refunds) -> None:
    """A wrong key or host is not tried eight times over."""
    track.sandbox.fault("latency", seconds=0.3)

    track(*refunds(10), max_in_flight=8)

    came = [request.at for request in track.sandbox.refund_requests()]
    assert came[1] - came[0] >= 0.3


# --- a kill ---


@on_both
def test_kill_ends_a_rate_limited_run_in_time_and_keeps_the_results(track: Refunds) -> None:
    track.connect(requests_per_minute=20)
    sync = track.make()
    answered = {"POST /api/v2/track/refund": {"200": 10, "404": 10}}
    since = cancelled_when(sync, lambda: track.sandbox.request_counts() == answered)

    with pytest.raises(SyncInterruptedError):
        sync.run(list(numbered(refunds(100), call=REFUND)))

    assert since() < 3, "Airflow's SIGKILL follows five seconds after its SIGTERM"
    assert sorted(track.stored()) == sorted(track.sent())
    assert len(track.stored()) == 20


def test_kill_does_not_wait_for_a_hanging_request(track: Refunds) -> None:
    track.sandbox.fault("latency", seconds=20, event_id="re_5")
    sync = track.make(max_in_flight=4)
    since = cancelled_when(sync, lambda: len(track.sandbox.refund_requests()) == 40)

    with pytest.raises(SyncInterruptedError):
        sync.run(list(numbered(refunds(40), call=REFUND)))

    assert since() < 3
    settled = {event_id for event_id, outcome in track.stored().items() if outcome != "failed"}
    assert settled == {f"re_{number}" for number in range(40)} - {"re_5"}
    record = track.records()["re_5"]
    assert (record.outcome, record.result().lost) == ("failed", True), "FirstPromoter may have recorded it"
    assert record.message == "the run was stopped before the response came"
    assert sync.summary.outcomes[Outcome.PENDING] == 1
