"""
The account's request rate, kept by every thread of this process, and the waits in which a kill is noticed.

FirstPromoter allows 400 requests a minute for a whole account. Whether its window is fixed or slides is not said:
never sending more than that in any 60 seconds is safe under both.
"""

from __future__ import annotations

import threading
import time

from pyrate_limiter import InMemoryBucket, Rate, RateItem

from airflow_provider_firstpromoter.api.account import Account
from airflow_provider_firstpromoter.exceptions import SyncInterruptedError

#: Seconds. One percent longer than the API's minute, because requests don't all travel equally fast.
WINDOW = 60.6
#: Seconds; no wait is longer, so that a kill is noticed in time.
LONGEST_WAIT = 0.25


class RateLimiter:
    """
    One account's budget in this process.

    :param requests_per_minute: how many requests may start in any :data:`WINDOW`
    """

    def __init__(self, requests_per_minute: int, window: float | None = None) -> None:
        self._bucket = InMemoryBucket([Rate(requests_per_minute, int((window or WINDOW) * 1000))])
        self._lock = threading.Lock()
        self._paused_until = 0.0
        #: Seconds that requests have been held back, summed over the threads.
        self.waited = 0.0

    def acquire(self, cancelled: threading.Event) -> None:
        """
        Wait for a place in the account's stream.

        :raises SyncInterruptedError: as soon as ``cancelled`` is set
        """
        while (seconds := self._seconds_to_wait()) > 0:
            wait_or_cancel(seconds, cancelled)
            with self._lock:
                self.waited += min(seconds, LONGEST_WAIT)

    def pause(self, seconds: float) -> None:
        """Hold back the whole account for so long: another client of it has used up the limit."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _seconds_to_wait(self) -> float:
        with self._lock:
            now = time.monotonic()
            if now < self._paused_until:
                return self._paused_until - now
            item = RateItem("request", int(now * 1000))
            self._bucket.leak(item.timestamp)
            if self._bucket.put(item):
                return 0.0
            milliseconds = self._bucket.waiting(item)
            assert isinstance(milliseconds, int)
            return max(milliseconds, 1) / 1000


def sleep(seconds: float, cancelled: threading.Event) -> None:
    """
    Sleep, but not through a kill.

    :raises SyncInterruptedError: as soon as ``cancelled`` is set
    """
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        wait_or_cancel(left, cancelled)


def wait_or_cancel(seconds: float, cancelled: threading.Event) -> None:
    """
    Sleep for at most :data:`LONGEST_WAIT` seconds.

    :raises SyncInterruptedError: as soon as ``cancelled`` is set
    """
    if cancelled.wait(min(seconds, LONGEST_WAIT)):
        raise SyncInterruptedError("The task was asked to stop")


_rate_limiters: dict[tuple[str, str, int], RateLimiter] = {}
_rate_limiters_lock = threading.Lock()


def rate_limiter_for(account: Account) -> RateLimiter:
    """The one pacer of an account (and of a rate) in this process, whichever hook or task asks."""
    rate = account.extra.requests_per_minute
    with _rate_limiters_lock:
        return _rate_limiters.setdefault((account.base_url, account.account_id, rate), RateLimiter(rate))
