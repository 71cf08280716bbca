"""
The rate limit of an account, shared by every thread of this process, and the waits that a kill ends.

FirstPromoter allows 400 requests a minute for a whole account. Whether it counts in fixed minutes or in a sliding
window is not documented. With either, a client keeps the limit if no more requests than allowed *arrive* within any 60
seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.exceptions import SyncInterruptedError

#: Seconds: the API's minute, and a little more, because the speed of two computers' clocks may differ by up to 500
#: millionths.
WINDOW = 60.05
#: Seconds; no single wait is longer, so that a kill is noticed in time.
LONGEST_WAIT = 0.25
#: Seconds between two log lines about pauses.
_LOG_EVERY = 60.0

log = logging.getLogger(__name__)


class RateLimiter:
    """
    Limits the requests of one account in this process, as the server counts them.

    A request holds a place from before it is sent until a window after its response came or was given up. When it
    arrived in between does not matter: the request that takes its place next is sent a whole window later. So neither
    latency nor jitter can make the server see more requests in any window than there are places.

    :param window: seconds; default :data:`WINDOW`
    :param clock: returns the time in seconds
    """

    def __init__(self, window: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = WINDOW if window is None else window
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight = 0
        self._ended: deque[float] = deque()  # when the last window's requests ended, oldest first
        self._paused_until = 0.0
        self._logged_at = float("-inf")
        #: Seconds that requests have been held back, summed over the threads.
        self.waited = 0.0

    def acquire(self, requests_per_minute: int, cancelled: threading.Event) -> None:
        """
        Wait for a place and take it; the caller gives it back with :meth:`release`.

        :param requests_per_minute: the limit of the connection; where two connections of an account differ, each keeps
            its own, and both count all requests
        :raises SyncInterruptedError: as soon as ``cancelled`` is set
        """
        while (seconds := self.try_acquire(requests_per_minute)) > 0:
            wait_or_cancel(seconds, cancelled)
            with self._lock:
                self.waited += min(seconds, LONGEST_WAIT)

    def try_acquire(self, requests_per_minute: int) -> float:
        """
        Take a place if there is one.

        :returns: 0 if a place was taken, otherwise the seconds after which it is worth trying again
        """
        with self._lock:
            now = self._clock()
            if now < self._paused_until:
                return self._paused_until - now
            while self._ended and self._ended[0] <= now - self._window:
                self._ended.popleft()
            excess = self._in_flight + len(self._ended) - requests_per_minute
            if excess < 0:
                self._in_flight += 1
                return 0.0
            if excess < len(self._ended):
                return max(self._ended[excess] + self._window - now, 0.001)
            return min(self._window, LONGEST_WAIT)

    def release(self) -> None:
        """Give back a place; it can be taken again a window from now."""
        with self._lock:
            self._in_flight -= 1
            self._ended.append(self._clock())

    def pause(self, seconds: float) -> None:
        """
        Hold back every request of the account for some seconds, because FirstPromoter responded with a 429.

        It logs at most one line a minute, so that a run that waits for other clients does not look as if it hung.
        """
        with self._lock:
            now = self._clock()
            self._paused_until = max(self._paused_until, now + seconds)
            if due := now - self._logged_at >= _LOG_EVERY:
                self._logged_at = now
        if due:
            log.warning(
                "FirstPromoter responded 429: the account's rate limit is used up, by other clients too. No request is "
                "sent for %.0f seconds, then again. If this lasts, lower requests_per_minute, or give all tasks of the "
                "account a pool with one slot.",
                seconds,
            )


def sleep(seconds: float, cancelled: threading.Event) -> None:
    """
    Sleep until the time is over or the task is killed.

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


_rate_limiters: dict[str, RateLimiter] = {}
_rate_limiters_lock = threading.Lock()


def rate_limiter_for(account: Account) -> RateLimiter:
    """Return the rate limiter of an account in this process; all hooks and tasks of the account share it."""
    with _rate_limiters_lock:
        return _rate_limiters.setdefault(account.key, RateLimiter())
