"""The account's rate: never more requests than allowed in any window, and no wait that a kill has to sit out."""

from __future__ import annotations

import threading
import time

import pytest
from pydantic import SecretStr

from airflow_provider_firstpromoter.api.account import Account, Extra
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


def starts(rate_limiter: RateLimiter, threads: int, each: int) -> list[float]:
    """When requests started, in order, with so many threads asking."""
    times: list[float] = []
    lock = threading.Lock()

    def ask() -> None:
        for _ in range(each):
            rate_limiter.acquire(threading.Event())
            with lock:
                times.append(time.monotonic())

    asking = [threading.Thread(target=ask, daemon=True) for _ in range(threads)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(20)
    assert len(times) == threads * each
    return sorted(times)


@pytest.mark.parametrize(("threads", "each"), [(1, 20), (8, 3)])
def test_rate_limit_is_never_exceeded_in_any_window(threads: int, each: int) -> None:
    most, window = 5, 0.4
    times = starts(RateLimiter(most, window), threads, each)
    spans = [later - earlier for earlier, later in zip(times, times[most:], strict=False)]
    # A thread may be held up between its turn and its clock; not by so much that a sixth would have fitted.
    assert min(spans) >= window * 0.75
    assert times[-1] - times[0] >= (len(times) / most - 1) * window * 0.9


def test_rate_limit_does_not_delay_a_short_run() -> None:
    rate_limiter = RateLimiter(50)
    times = starts(rate_limiter, 4, 10)
    assert times[-1] - times[0] < SOON
    assert rate_limiter.waited == 0


def test_window_is_slightly_longer_than_the_apis_minute() -> None:
    assert 60 < WINDOW < 62
    rate_limiter = RateLimiter(1)
    rate_limiter.acquire(threading.Event())
    assert rate_limiter._seconds_to_wait() == pytest.approx(WINDOW, abs=1)


def test_pause_delays_the_whole_account() -> None:
    rate_limiter = RateLimiter(1000)
    paused = time.monotonic()
    rate_limiter.pause(0.4)
    times = starts(rate_limiter, 4, 1)
    assert times[0] - paused >= 0.4
    assert rate_limiter.waited >= 4 * 0.3


def test_shorter_pause_does_not_end_a_longer_one() -> None:
    rate_limiter = RateLimiter(1000)
    rate_limiter.pause(100)
    rate_limiter.pause(0.01)
    assert rate_limiter._seconds_to_wait() > 90


@pytest.mark.parametrize("wait", ["full", "paused", "sleep"])
def test_kill_ends_a_wait_of_hours_at_once(wait: str) -> None:
    cancelled = threading.Event()
    rate_limiter = RateLimiter(1, 3600)
    rate_limiter.acquire(cancelled)
    if wait == "paused":
        rate_limiter = RateLimiter(1000)
        rate_limiter.pause(3600)
    timer = threading.Timer(0.2, cancelled.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(SyncInterruptedError):
        sleep(3600, cancelled) if wait == "sleep" else rate_limiter.acquire(cancelled)
    assert 0.1 < time.monotonic() - began < SOON


def test_waits_are_split_into_steps_that_a_kill_can_afford() -> None:
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


def test_rate_limit_is_shared_by_all_connections_of_an_account() -> None:
    assert rate_limiter_for(account("one")) is rate_limiter_for(account("another"))
    assert rate_limiter_for(account()) is not rate_limiter_for(account(account_id="acc-2"))
    assert rate_limiter_for(account()) is not rate_limiter_for(account(host="b"))


def test_rate_limit_has_the_rate_of_the_account() -> None:
    rate_limiter = rate_limiter_for(account(account_id="of its own", rate=2))
    for _ in range(2):
        rate_limiter.acquire(threading.Event())
    assert rate_limiter._seconds_to_wait() > 50
