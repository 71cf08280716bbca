"""Rejected refunds: when they are sent again, and that they stay rejected otherwise."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import (
    EventsRejectedError,
)
from tests.support import refund
from tests.sync.runs import UNKNOWN_CURRENCY, Refunds, on_both


@pytest.mark.parametrize("wrong", [{"currency": UNKNOWN_CURRENCY}, {"amount": -1}], ids=["by-the-api", "by-ourselves"])
def test_unchanged_rejected_refund_sends_no_request_and_is_counted(track: Refunds, wrong: dict[str, Any]) -> None:
    first = track(refund(0, **wrong))
    track.sent()

    again = track(refund(0, **wrong))

    assert track.sent() == []
    assert again.outcomes == {"rejected": 1}
    assert (again.summary.sent, again.summary.skipped) == (0, 0)
    assert again.results[0].message == first.results[0].message
    with pytest.raises(EventsRejectedError, match="re_0"):
        first.sync.raise_for_summary()
    assert again.summary.still_open == 1
    again.sync.raise_for_summary()  # an earlier run has reported it


@pytest.mark.parametrize(
    "change", [{"currency": "EUR"}, {"quantity": 2}, {"email": "c0@example.com"}, {"sale_event_id": "ch_1"}]
)
def test_rejected_refund_with_changed_content_is_sent_again(track: Refunds, change: dict[str, Any]) -> None:
    track(refund(0, currency=UNKNOWN_CURRENCY))
    track.sent()

    track(refund(0, **{"currency": UNKNOWN_CURRENCY, **change}))

    assert track.sent() == ["re_0"]


@on_both
def test_corrected_rejected_refund_is_recorded(track: Refunds) -> None:
    track(refund(0, amount=-1), refund(1, currency=UNKNOWN_CURRENCY))

    run = track(refund(0, amount=1), refund(1, currency="USD"))

    assert run.outcomes == {"recorded": 2}
    assert track.stored() == {"re_0": "recorded", "re_1": "recorded"}


def test_unchanged_rejected_refund_is_sent_with_retry_rejected(track: Refunds) -> None:
    track.sandbox.fault("status", status=422)
    track(refund(0))
    track.sent()

    run = track(refund(0), retry_rejected=True)

    assert (track.sent(), run.outcomes) == (["re_0"], {"recorded": 1})
    assert track.stored() == {"re_0": "recorded"}


def test_refund_rejected_by_validation_is_validated_again(track: Refunds) -> None:
    """The row is the same, but the task's parameters are not: it is fit to be sent now."""
    row = refund(0, amount="19.99", currency="USD")
    first = track(row)
    assert first.outcomes == {"rejected": 1}
    assert track.sent() == []

    run = track(row, amount_unit="major")

    assert run.outcomes == {"recorded": 1}
    assert track.sandbox.recorded()[0].original_amount == -1999


def test_row_without_a_usable_event_id_is_rejected_and_remembered_by_its_content(track: Refunds) -> None:
    run = track(refund(0, event_id=None), refund(1, event_id="x" * 256), refund(2, event_id=" re_2"), refund(3))

    assert run.outcomes == {"rejected": 3, "recorded": 1}
    assert [problem.reason for problem in run.summary.problems] == [
        "row 1 of the input: event_id is missing",
        "row 2 of the input: event_id has 256 characters; at most 255 can be sent",
        "row 3 of the input: event_id has white space at an end; trim it in the query",
    ]
    assert Counter(track.stored().values()) == {"rejected": 3, "recorded": 1}
    assert [event_id for event_id in track.stored() if not event_id.startswith("(no event_id) ")] == ["re_3"]
