"""Nothing that goes wrong for one refund stops others: an exception that no rule foresees is that refund's failure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.api import Client
from airflow_provider_firstpromoter.calls import Refund
from airflow_provider_firstpromoter.exceptions import EventsFailedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from tests.support import refund, refunds
from tests.sync.runs import Refunds

SECRET = "jane.doe-7731@customers.example"


@pytest.fixture
def break_for(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[], None]]:
    """Let sending these refunds raise: before the request, or after FirstPromoter has recorded it; returns the end."""

    def break_for(error: BaseException, *given: str, after: bool = False) -> Callable[[], None]:
        event_ids = set(given)
        real = Client.request

        def request(self: Client, method: str, path: str, **kwargs: Any) -> Any:
            hit = (kwargs.get("json") or {}).get("event_id") in event_ids
            if hit and not after:
                raise error
            exchange = real(self, method, path, **kwargs)
            if hit:
                raise error
            return exchange

        monkeypatch.setattr(Client, "request", request)
        return event_ids.clear

    return break_for


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), KeyError(SECRET), RecursionError(SECRET), MemoryError(SECRET), SystemExit(SECRET)]
)
def test_unexpected_error_of_one_refund_is_its_failure_and_stops_no_other(
    track: Refunds, break_for: Callable[..., Any], error: BaseException
) -> None:
    break_for(error, "re_3")

    run = track(*refunds(10))

    assert run.outcomes == {"recorded": 9, "failed": 1}
    assert run.results[3].message == f"an unexpected {type(error).__name__}; the log says where: please report it"
    assert track.stored()["re_3"] == "failed"
    with pytest.raises(EventsFailedError, match="re_3"):
        run.sync.raise_for_summary()


def test_unexpected_error_is_logged_with_its_place_and_without_its_text(
    track: Refunds, break_for: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    break_for(ValueError(SECRET), "re_3")

    run = track(*refunds(5))

    assert "Sending refund 're_3' raised an unexpected ValueError\n  " in caplog.text
    assert "tracking_call.py:" in caplog.text, "file and line"
    assert SECRET not in caplog.text + str(run.summary.to_json())
    assert not any(record.exc_info for record in caplog.records if record.levelno >= logging.WARNING)


def test_many_unexpected_errors_in_a_row_stop_the_run(track: Refunds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refund, "body", lambda *_: 1 / 0)

    run = track(*refunds(30), max_in_flight=1)

    assert run.outcomes == {"failed": 10, "pending": 20}


def test_refund_recorded_before_an_unexpected_error_is_found_by_the_next_run(
    track: Refunds, break_for: Callable[..., Callable[[], None]]
) -> None:
    mend = break_for(ValueError(), "re_3", after=True)
    track(refund(3))
    assert [recorded.event_id for recorded in track.sandbox.recorded()] == ["re_3"]
    assert track.records()["re_3"].result().lost
    mend()

    run = track(refund(3))

    assert run.outcomes == {"already_recorded": 1}
    assert run.results[0].commissions


def test_hostile_commissions_fail_one_lookup_only(track: Refunds) -> None:
    FirstPromoterHook().track_refund(refund(0))
    track.sandbox.fault("stray_item", item="no object", path="/company/commissions", times=None)

    run = track(*refunds(3), recover_rewards=True)

    assert run.outcomes == {"already_recorded": 1, "recorded": 2}
    assert run.results[0].commissions, "the stray item is skipped"
