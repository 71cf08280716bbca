"""Requests that are sent again: after which responses, how often, and how long after."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_firstpromoter.api import client
from airflow_provider_firstpromoter.api.client import Retries
from airflow_provider_firstpromoter.api.responses import LONGEST_RETRY_AFTER, ApiResponse, parse_retry_after
from airflow_provider_firstpromoter.exceptions import SyncInterruptedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import REFUND, bodies

#: What track_refund sends for REFUND.
BODY = {"event_id": "re_1", "amount": "1999", "uid": "cus_1"}


@pytest.fixture
def without_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_JITTER", 0.0)


# --- how often ---


def test_every_retry_sends_the_same_body(sandbox: Sandbox, connect: Callable[..., str], impatient: None) -> None:
    sandbox.add_lead(uid="cus_1")
    for fault in ({"kind": "reset_before"}, {"kind": "status", "status": 503}, {"kind": "truncated"}):
        sandbox.fault(**fault)
    connect(max_attempts=4)

    result = FirstPromoterHook().track_refund(REFUND)

    assert bodies(sandbox) == [BODY] * 4
    (recorded,) = sandbox.recorded()
    assert (result.outcome, result.http_status) == ("already_recorded", 409)
    assert result.commissions
    assert result.commissions[0].id == recorded.reward_id, "if a response was lost, the reward is looked up"


def test_retries_end_after_max_attempts(sandbox: Sandbox, hook: Any, impatient: None) -> None:
    sandbox.fault("status", status=500, times=None)

    result = hook.track_refund(REFUND)

    assert (result.outcome, len(bodies(sandbox)), hook.client.requests) == ("failed", 3, 3)
    assert result.message == "answered 500 in 3 tries"


def test_retries_end_when_they_have_waited_too_long(without_jitter: None) -> None:
    retries = Retries(20)
    waits = [retries.seconds_before_next(ApiResponse(503, retry_after=100.0)) for _ in range(4)]
    assert waits == [100, 100, 100, None]


def test_429_does_not_count_as_an_attempt(sandbox: Sandbox, connect: Callable[..., str], impatient: None) -> None:
    sandbox.add_lead(uid="cus_1")
    for status, times in ((500, 1), (429, 15), (503, 1), (429, 5)):
        sandbox.fault("status", status=status, times=times)
    connect(max_attempts=3)

    exchange = FirstPromoterHook().client.request("POST", "/track/refund", json=BODY)

    assert (exchange.response.status, exchange.attempts) == (200, 23)


def test_request_that_meets_only_429_fails_when_the_time_is_over(
    sandbox: Sandbox, hook: Any, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.LONGEST_RATE_LIMITED == 3600
    monkeypatch.setattr(client, "LONGEST_RATE_LIMITED", 1.0)
    sandbox.fault("status", status=429, times=None)
    began = time.monotonic()

    exchange = hook.client.request("POST", "/track/refund", json=BODY)

    assert exchange.response.status == 429
    assert exchange.attempts > 3
    assert time.monotonic() - began >= 1


def test_time_for_429_begins_anew_after_any_other_response(without_jitter: None) -> None:
    now = [0.0]
    retries = Retries(3, clock=lambda: now[0])
    assert retries.seconds_before_next(ApiResponse(429)) == 2
    now[0] = client.LONGEST_RATE_LIMITED
    assert retries.seconds_before_next(ApiResponse(429)) == 4
    assert retries.seconds_before_next(ApiResponse(500)) == 0.5
    now[0] += 1
    assert retries.seconds_before_next(ApiResponse(429)) == 2
    now[0] += client.LONGEST_RATE_LIMITED + 1
    assert retries.seconds_before_next(ApiResponse(429)) is None


# --- how long after ---


@pytest.mark.parametrize(
    ("responses", "waits"),
    [
        ([ApiResponse(500)] * 9, [0.5, 1, 2, 4, 8, 16, 30, 30, 30]),
        ([ApiResponse(problem="refused")] * 3, [0.5, 1, 2]),
        ([ApiResponse(503, retry_after=0.0)] * 3, [0.5, 1, 2]),
        ([ApiResponse(503, retry_after=3.0)] * 4, [3, 3, 3, 4]),
        ([ApiResponse(429)] * 8, [2, 4, 8, 16, 32, 60, 60, 60]),
        ([ApiResponse(429, retry_after=0.0)] * 3, [1, 1, 1]),
        ([ApiResponse(429, retry_after=7.0)] * 3, [7, 7, 7]),
        ([ApiResponse(429), ApiResponse(429), ApiResponse(500), ApiResponse(429)], [2, 4, 0.5, 2]),
        ([ApiResponse(200, payload={"id": 1})], [None]),
        ([ApiResponse(404)], [None]),
    ],
    ids=lambda value: str(value[0]) if isinstance(value[0], ApiResponse) else str(value),
)
def test_waits_double_and_are_never_shorter_than_retry_after(
    responses: list[ApiResponse], waits: list[float | None], without_jitter: None
) -> None:
    retries = Retries(20)
    assert [retries.seconds_before_next(response) for response in responses] == waits


def test_wait_has_jitter() -> None:
    waits = {Retries(6).seconds_before_next(ApiResponse(429, retry_after=7.0)) for _ in range(50)}
    assert len(waits) > 10
    assert all(wait is not None and 7 <= wait <= 7 + client.LONGEST_JITTER for wait in waits)


@pytest.mark.parametrize("header", ["1", "as-a-date", None, "0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_request_after_429_waits_for_retry_after_or_at_least_a_minimum(
    header: str | None, sandbox: Sandbox, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "FIRST_RATE_LIMIT_BACKOFF", 1.0)
    later = datetime.now(UTC) + timedelta(seconds=3)
    sandbox.fault("status", status=429, retry_after=format_datetime(later, True) if header == "as-a-date" else header)
    sandbox.add_lead(uid="cus_1")

    result = hook.track_refund(REFUND)

    first, second = sandbox.request_times()
    assert second - first >= 0.9
    assert result.outcome == "recorded"


def test_after_429_no_hook_of_the_account_sends(sandbox: Sandbox, hook: Any, at_once: Callable[..., list[Any]]) -> None:
    sandbox.fault("status", status=429, retry_after="1", event_id="re_1")
    over = threading.Event()

    def rate_limited() -> None:
        hook.track_refund(REFUND)
        over.set()

    def another() -> None:
        other = FirstPromoterHook()
        for number in range(10_000):
            if over.is_set():
                return
            other.track_refund({**REFUND, "event_id": f"other_{number}"})

    at_once(rate_limited, another)

    longest = max(later - earlier for earlier, later in pairwise(sandbox.request_times()))
    assert longest >= 0.9, "except for one that was in flight, no request was sent"


@pytest.mark.parametrize("status", [429, 503])
def test_kill_ends_a_wait_between_two_attempts(status: int, sandbox: Sandbox, hook: Any) -> None:
    sandbox.fault("status", status=status, retry_after="60", times=None)
    timer = threading.Timer(0.2, hook.cancelled.set)
    timer.start()
    began = time.monotonic()

    with pytest.raises(SyncInterruptedError):
        hook.track_refund(REFUND)

    assert time.monotonic() - began < 30
    assert len(bodies(sandbox)) == 1


# --- Retry-After ---


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("120", 120.0),
        ("121", LONGEST_RETRY_AFTER),
        ("86400", LONGEST_RETRY_AFTER),
        ("9" * 5000, LONGEST_RETRY_AFTER),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", LONGEST_RETRY_AFTER),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("\u00b2", None),
        ("soon", None),
        ("7, 7", None),
        ("Wed, 99 Oct 2099 07:28:00 GMT", None),
        ("Wed, 21 Oct 2099", None),
        ("Wed, 21 Oct 2099 07:28:00 +99999999999999", None),
        ("Wed, 21 Oct 99999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2099 07:28:00 -0000", None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_retry_after_is_read_in_seconds_or_as_a_date_and_capped(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header) == seconds


def test_retry_after_as_a_date_is_the_time_until_then() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert parse_retry_after(in_a_minute) == pytest.approx(60, abs=3)


@given(
    st.text()
    | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,4} (Jan|Oct) [0-9]{1,20} [0-9:]{1,12} ([+-][0-9]{1,20}|GMT|[A-Z]{3})")
)
def test_retry_after_of_any_text_is_none_or_within_bounds(header: str) -> None:
    seconds = parse_retry_after(header)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER


# --- a response that was lost ---


@pytest.mark.parametrize(
    ("faults", "lost"),
    [
        ([], False),
        ([{"kind": "status", "status": 429, "retry_after": "0"}], False),
        ([{"kind": "reset_before"}], True),
        ([{"kind": "reset_after"}], True),
        ([{"kind": "truncated"}], True),
        ([{"kind": "malformed"}], True),
        ([{"kind": "status", "status": 408}], True),
        ([{"kind": "status", "status": 500}], True),
        ([{"kind": "status", "status": 503, "recorded": True}], True),
        ([{"kind": "reset_after"}, {"kind": "status", "status": 429, "retry_after": "0"}], True),
    ],
    ids=str,
)
def test_exchange_says_whether_an_earlier_response_was_lost(
    faults: list[dict[str, Any]], lost: bool, sandbox: Sandbox, hook: Any, impatient: None
) -> None:
    sandbox.add_lead(uid="cus_1")
    for fault in faults:
        sandbox.fault(**fault)

    exchange = hook.client.request("POST", "/track/refund", json=BODY)

    assert exchange.response.status in (200, 409)
    assert (exchange.attempts, exchange.lost) == (len(faults) + 1, lost)


def test_exchange_whose_last_response_alone_is_lost_has_lost_no_earlier_one(sandbox: Sandbox, connect: Any) -> None:
    connect(max_attempts=1)
    sandbox.fault("reset_after")

    exchange = FirstPromoterHook().client.request("POST", "/track/refund", json=BODY)

    assert (exchange.response.status, exchange.attempts, exchange.lost) == (None, 1, False)


def test_exchange_after_a_refused_connection_has_lost_no_response(connect: Any, impatient: None) -> None:
    with socket.socket() as listener:  # bound and not listening: connecting is refused
        listener.bind(("127.0.0.1", 0))
        connect(host=f"http://127.0.0.1:{listener.getsockname()[1]}", login="a", password="k", max_attempts=20)

        def listen_later() -> None:
            time.sleep(0.1)
            listener.listen()
            client, _ = listener.accept()
            with client:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        listening = threading.Thread(target=listen_later, daemon=True)
        listening.start()
        exchange = FirstPromoterHook().client.request("POST", "/track/refund", json=BODY)
        listening.join(5)

    assert exchange.response.status == 204
    assert exchange.attempts > 1
    assert not exchange.lost
