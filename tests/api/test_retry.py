"""Requests that are sent again: after which responses, how often, and how long after."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from tenacity.wait import wait_fixed

from airflow_provider_firstpromoter.api import retry
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import REFUND, bodies

# --- again ---


def test_every_retry_sends_the_same_body(sandbox: Sandbox, connect: Callable[..., str], impatient: None) -> None:
    sandbox.add_lead(uid="cus_1")
    for fault in ({"kind": "reset_before"}, {"kind": "status", "status": 503}, {"kind": "truncated"}):
        sandbox.fault(**fault)
    connect(max_attempts=4)

    result = FirstPromoterHook().track_refund(REFUND)

    assert bodies(sandbox) == [{"event_id": "re_1", "amount": "1999", "uid": "cus_1"}] * 4
    (recorded,) = sandbox.recorded()
    assert (result.outcome, result.http_status) == ("already_recorded", 409)
    assert result.reward is not None
    assert result.reward.id == recorded.reward_id, "of an answer that was lost, the reward is looked up"


def test_retries_end_after_max_attempts(sandbox: Sandbox, hook: Any, impatient: None) -> None:
    sandbox.fault("status", status=500, times=None)

    result = hook.track_refund(REFUND)

    assert (result.outcome, len(bodies(sandbox)), hook.transport.requests) == ("failed", 3, 3)
    assert result.message == "answered 500 in 3 tries"


@pytest.mark.parametrize("told", ["in-seconds", "as-a-date", "not-at-all"])
def test_retry_after_429_waits_for_retry_after_or_longer_than_usual(
    told: str, sandbox: Sandbox, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry.wait_retry_after, "_usual", wait_fixed(0.0))
    monkeypatch.setattr(retry.wait_retry_after, "_limited", wait_fixed(1.0 if told == "not-at-all" else 0.0))
    later = datetime.now(UTC) + timedelta(seconds=3)
    header = {"in-seconds": "1", "as-a-date": f"{later:%a, %d %b %Y %H:%M:%S} GMT", "not-at-all": None}[told]
    sandbox.fault("status", status=429, retry_after=header)
    sandbox.add_lead(uid="cus_1")

    result = hook.track_refund(REFUND)

    first, second = sandbox.request_times()
    assert second - first >= 0.9
    assert result.outcome == "recorded"


def test_after_429_no_hook_of_the_account_sends(sandbox: Sandbox, hook: Any, at_once: Callable[..., list[Any]]) -> None:
    sandbox.fault("status", status=429, retry_after="1", event_id="re_1")
    over = threading.Event()

    def unlucky() -> None:
        hook.track_refund(REFUND)
        over.set()

    def another() -> None:
        other = FirstPromoterHook()
        for number in range(10_000):
            if over.is_set():
                return
            other.track_refund({**REFUND, "event_id": f"other_{number}"})

    at_once(unlucky, another)

    longest = max(later - earlier for earlier, later in pairwise(sandbox.request_times()))
    assert longest >= 0.9, "but for one that was under way already, nobody did"


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

    exchange = hook.transport.request("POST", "/track/refund", json={**REFUND, "amount": "1999"})

    assert exchange.response.status in (200, 409)
    assert (exchange.attempts, exchange.lost) == (len(faults) + 1, lost)


def test_exchange_whose_last_response_alone_is_lost_has_lost_no_earlier_one(sandbox: Sandbox, connect: Any) -> None:
    connect(max_attempts=1)
    sandbox.fault("reset_after")

    exchange = FirstPromoterHook().transport.request("POST", "/track/refund", json={**REFUND, "amount": "1999"})

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
        exchange = FirstPromoterHook().transport.request("POST", "/track/refund", json={**REFUND, "amount": "1999"})
        listening.join(5)

    assert exchange.response.status == 204
    assert exchange.attempts > 1
    assert not exchange.lost


# --- several threads ---


def test_kill_ends_a_wait_between_two_attempts(sandbox: Sandbox, hook: Any) -> None:
    from airflow_provider_firstpromoter.exceptions import SyncInterruptedError

    sandbox.fault("status", status=503, retry_after="60", times=None)
    timer = threading.Timer(0.2, hook.cancelled.set)
    timer.start()
    begun = time.monotonic()

    with pytest.raises(SyncInterruptedError):
        hook.track_refund(REFUND)

    assert time.monotonic() - begun < 30
    assert len(bodies(sandbox)) == 1
