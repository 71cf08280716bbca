"""The rate limit: no window sees more requests than allowed, as the server counts them; a kill ends every wait."""

from __future__ import annotations

import heapq
import random
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from airflow_provider_firstpromoter.account import Account, Extra
from airflow_provider_firstpromoter.api import rate_limit
from airflow_provider_firstpromoter.api.rate_limit import (
    LONGEST_WAIT,
    WINDOW,
    RateLimiter,
    rate_limiter_for,
    sleep,
    wait_or_cancel,
)
from airflow_provider_firstpromoter.exceptions import SyncInterruptedError

#: Seconds in which a wait of hours has to end after a kill, on a busy machine too.
SOON = 2.0


def account(conn_id: str = "fp", account_id: str = "acc-1", host: str = "a", rate: int = 7) -> Account:
    return Account(
        conn_id=conn_id,
        account_id=account_id,
        api_key=SecretStr("k"),
        base_url=f"https://{host}/api/v2",
        extra=Extra(requests_per_minute=rate),
    )


# --- as the server counts ---


def simulate(
    limit: int, window: float, workers: int, requests: int, latencies: Iterator[tuple[float, float]]
) -> list[float]:
    """
    Run workers on a simulated clock, each with one request in flight.

    :param latencies: of each request: seconds until its response, and the share of them until it arrives at the server
    :returns: when the requests arrived at the server, in order
    """
    now = [0.0]
    limiter = RateLimiter(window, clock=lambda: now[0])
    arrivals: list[float] = []
    events = [(0.0, worker, False) for worker in range(workers)]
    while events:
        now[0], worker, responded = heapq.heappop(events)
        if responded:
            limiter.release()
        if len(arrivals) == requests:
            continue
        if wait := limiter.try_acquire(limit):
            heapq.heappush(events, (now[0] + wait, worker, False))
        else:
            latency, share = next(latencies)
            arrivals.append(now[0] + latency * share)
            heapq.heappush(events, (now[0] + latency, worker, True))
    return sorted(arrivals)


@given(st.data(), st.integers(1, 6), st.integers(1, 8), st.integers(1, 40))
def test_no_window_of_the_server_sees_more_requests_than_the_limit(
    data: Any, limit: int, workers: int, requests: int
) -> None:
    window = 60.0
    latency = st.floats(0, 200) | st.floats(0, 0.3) | st.just(0.0)
    draw: Callable[[], tuple[float, float]] = lambda: data.draw(st.tuples(latency, st.floats(0, 1)))  # noqa: E731

    arrivals = simulate(limit, window, workers, requests, iter(draw, None))

    assert len(arrivals) == requests
    for earlier, later in zip(arrivals, arrivals[limit:], strict=False):
        assert later - earlier >= window * (1 - 1e-9), f"{limit + 1} requests in a window"


def test_sustained_rate_with_jitter_is_nearly_the_limit() -> None:
    chance = random.Random(1)
    latencies = iter(lambda: (chance.uniform(0, 0.3), chance.random()), None)

    arrivals = simulate(400, WINDOW, 8, 5000, latencies)

    assert sum(at < 5 * 60 for at in arrivals) >= 0.995 * 5 * 400
    assert sum(at < 10 * 60 for at in arrivals) >= 0.995 * 10 * 400


@pytest.mark.parametrize("latency", [{"seconds": 0.0}, {"seconds": 0.0, "max_seconds": 0.2}], ids=str)
def test_api_with_the_same_limit_never_responds_with_429(
    latency: dict[str, float],
    new_sandbox: Callable[..., Any],
    connect: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_provider_firstpromoter.hooks import FirstPromoterHook

    monkeypatch.setattr(rate_limit, "WINDOW", 1.0)
    sandbox = new_sandbox(requests_per_minute=40, window_seconds=1.0, seed=3)
    sandbox.fault("latency", times=None, **latency)
    connect(sandbox, requests_per_minute=40, max_attempts=1)
    hook = FirstPromoterHook()
    assert hook.account.extra.requests_per_minute == 40

    def send(number: int) -> int | None:
        body = {"event_id": f"re_{number}", "amount": "1", "uid": "cus_1"}
        return hook.client.attempt("POST", "/track/refund", json=body).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(send, range(160)))

    assert set(statuses) == {404}


# --- places ---


def test_place_is_held_until_a_window_after_the_response() -> None:
    now = [0.0]
    limiter = RateLimiter(60, clock=lambda: now[0])
    assert limiter.try_acquire(1) == 0
    now[0] = 1000.0
    assert limiter.try_acquire(1) > 0, "the request is still in flight"
    limiter.release()
    assert limiter.try_acquire(1) == 60
    now[0] = 1059.0
    assert limiter.try_acquire(1) == 1
    now[0] = 1060.0
    assert limiter.try_acquire(1) == 0


def test_connection_with_a_lower_limit_counts_the_requests_of_the_other() -> None:
    now = [0.0]
    limiter = RateLimiter(60, clock=lambda: now[0])
    for at in range(5):
        now[0] = float(at)
        assert limiter.try_acquire(10) == 0
        limiter.release()
    assert limiter.try_acquire(2) == 59, "until all but one of the five are a window old"
    assert limiter.try_acquire(10) == 0


def test_rate_limit_does_not_delay_a_short_run() -> None:
    limiter = RateLimiter()

    def ask(_: int) -> None:
        limiter.acquire(50, threading.Event())
        limiter.release()

    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(50)))
    assert time.monotonic() - began < SOON
    assert limiter.waited == 0


def test_window_is_the_apis_minute_with_room_for_clocks_that_differ() -> None:
    assert 60 < WINDOW < 60.1
    limiter = RateLimiter()
    limiter.acquire(1, threading.Event())
    limiter.release()
    assert limiter.try_acquire(1) == pytest.approx(WINDOW, abs=1)


def test_memory_does_not_grow_with_the_number_of_requests() -> None:
    now = [0.0]
    limiter = RateLimiter(60, clock=lambda: now[0])
    tracemalloc.start()
    peaks = []
    for requests in (2_000, 50_000):
        tracemalloc.reset_peak()
        for _ in range(requests):
            now[0] += 0.1
            assert limiter.try_acquire(1000) == 0
            limiter.release()
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < peaks[0] + 10_000


# --- pauses and kills ---


def test_pause_delays_the_whole_account() -> None:
    limiter = RateLimiter()
    paused = time.monotonic()
    limiter.pause(0.4)

    def ask(_: int) -> float:
        limiter.acquire(1000, threading.Event())
        return time.monotonic()

    with ThreadPoolExecutor(4) as pool:
        times = list(pool.map(ask, range(4)))
    assert min(times) - paused >= 0.4
    assert limiter.waited >= 4 * 0.3


def test_pauses_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    limiter = RateLimiter(clock=lambda: now[0])
    for at in range(0, 150, 5):
        now[0] = float(at)
        limiter.pause(7)
    lines = [record.getMessage() for record in caplog.records if record.name == rate_limit.__name__]
    assert len(lines) == 3
    assert "429" in lines[0]
    assert "7 seconds" in lines[0]


def test_shorter_pause_does_not_end_a_longer_one() -> None:
    limiter = RateLimiter()
    limiter.pause(100)
    limiter.pause(0.01)
    assert limiter.try_acquire(1000) > 90


@pytest.mark.parametrize("wait", ["full", "in flight", "paused", "sleep"])
def test_kill_ends_a_wait_of_hours_at_once(wait: str) -> None:
    cancelled = threading.Event()
    limiter = RateLimiter(3600)
    if wait in ("full", "in flight"):
        limiter.acquire(1, cancelled)
    if wait == "full":
        limiter.release()
    limiter.pause(3600 if wait == "paused" else 0)
    timer = threading.Timer(0.2, cancelled.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(SyncInterruptedError):
        sleep(3600, cancelled) if wait == "sleep" else limiter.acquire(1, cancelled)
    assert 0.1 < time.monotonic() - began < SOON


def test_waits_are_split_into_steps_of_less_than_half_a_second() -> None:
    assert LONGEST_WAIT <= 0.5
    began = time.monotonic()
    wait_or_cancel(3600, threading.Event())
    assert LONGEST_WAIT * 0.9 <= time.monotonic() - began < LONGEST_WAIT + SOON


def test_wait_lasts_as_long_as_requested() -> None:
    began = time.monotonic()
    sleep(2.5 * LONGEST_WAIT, threading.Event())
    assert time.monotonic() - began >= 2.5 * LONGEST_WAIT
    sleep(0, threading.Event())
    sleep(-1, threading.Event())


# --- whose limit ---


def test_rate_limit_is_shared_by_all_connections_of_an_account() -> None:
    assert rate_limiter_for(account("one")) is rate_limiter_for(account("another"))
    assert rate_limiter_for(account("one")) is rate_limiter_for(account("slower", rate=2))
    assert rate_limiter_for(account()) is not rate_limiter_for(account(account_id="acc-2"))
    assert rate_limiter_for(account()) is not rate_limiter_for(account(host="b"))
