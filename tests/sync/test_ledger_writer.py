"""Results reach the ledger while a run goes on, and when it ends in an error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, Result
from airflow_provider_firstpromoter.calls.row import numbered
from tests.support import refund, refunds
from tests.sync.runs import Refunds, on_both

# --- the ledger while the run goes on ---


@on_both
def test_results_are_in_the_ledger_while_the_run_goes_on(track: Refunds) -> None:
    sync = track.make()
    stored: dict[int, int] = {}

    def look(row: Any, result: Result) -> None:
        if sync.summary.sent in (499, 600):
            stored[sync.summary.sent] = len(track.stored())

    sync.run(list(numbered(refunds(610), call=REFUND)), on_result=look)

    assert stored == {499: 0, 600: 500}
    assert len(track.stored()) == 610


def test_slow_run_writes_its_results_after_a_while(track: Refunds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_firstpromoter.sync.recorder.FLUSH_EVERY_SECONDS", 0.1)
    track.sandbox.fault("latency", seconds=0.6, event_id="re_3")
    stored = []

    track.make(max_in_flight=1).run(
        list(numbered(refunds(4), call=REFUND)),
        on_result=lambda row, result: stored.append(set(track.stored())) if result.event_id == "re_3" else None,
    )

    assert stored == [{"re_0", "re_1", "re_2"}]


# --- a kill ---


def test_error_during_the_run_loses_no_result(track: Refunds) -> None:
    def run_out_of_luck(row: Any, result: Result) -> None:
        if result.event_id == "re_5":
            raise MemoryError

    with pytest.raises(MemoryError):
        track.make(max_in_flight=1).run(list(numbered(refunds(10), call=REFUND)), on_result=run_out_of_luck)

    assert set(track.stored()) == set(track.sent())


def test_times_in_the_ledger_are_utc(track: Refunds) -> None:
    before = datetime.now(UTC)
    track(refund(0))

    known = track.ledger.find(["re_0"])["re_0"]

    assert known.first_sent_at is not None
    assert before - timedelta(seconds=1) <= known.first_sent_at <= datetime.now(UTC)
