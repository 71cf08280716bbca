"""Each outcome's run is known twice: who sent it first, and who decided it last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from tests.support import BOTH_CALLS, refund, tracker
from tests.sync.runs import Refunds


def sent_by(track: Refunds, run_id: str) -> set[str]:
    return {one.event_id for one in track.ledger.sent_by_run("dag", run_id)}


@BOTH_CALLS
def test_409_after_a_lost_response_of_an_earlier_run_keeps_that_run_as_sender(track: Refunds) -> None:
    track.sandbox.fault("reset_after", event_id="re_0")
    track(refund(0), refund(1), run_id="wrong")
    assert track.stored() == {"re_0": "failed", "re_1": "recorded"}

    track(refund(0), refund(1), run_id="next")

    record = track.records()["re_0"]
    assert (record.outcome, record.run_id, record.sent_run_id) == ("already_recorded", "next", "wrong")
    assert (sent_by(track, "wrong"), sent_by(track, "next")) == ({"re_0", "re_1"}, set())


@BOTH_CALLS
def test_409_without_a_lost_response_has_no_known_sender(track: Refunds) -> None:
    """A run that was killed before it wrote anything, or another tool."""
    tracker(FirstPromoterHook(), track.call)(refund(0))

    track(refund(0), run_id="next")

    record = track.records()["re_0"]
    assert (record.outcome, record.run_id, record.sent_run_id) == ("already_recorded", "next", None)
    assert sent_by(track, "next") == set()
    before = datetime.now(UTC) - timedelta(hours=1)
    assert [one.event_id for one in track.ledger.sent_by_unknown(before)] == ["re_0"]


def test_200_makes_its_run_the_sender_whoever_tried_before(track: Refunds) -> None:
    track.sandbox.fault("status", status=400, message="no", event_id="re_0")
    track(refund(0), run_id="first")
    assert track.records()["re_0"].sent_run_id == "first"

    track(refund(0, amount=900), run_id="second")

    assert track.records()["re_0"].sent_run_id == "second"
    assert (sent_by(track, "first"), sent_by(track, "second")) == (set(), {"re_0"})
