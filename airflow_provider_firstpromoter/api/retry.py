"""Decides which requests are sent again, how often, and after how many seconds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from airflow_provider_firstpromoter.api.responses import ApiResponse

#: Seconds before the second attempt; each further attempt waits twice as long as the one before, up to LONGEST_BACKOFF.
FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 30.0
#: The same after a 429 that does not say how long to wait: the server's window is a minute.
FIRST_RATE_LIMIT_BACKOFF = 2.0
LONGEST_RATE_LIMIT_BACKOFF = 60.0
#: Seconds, drawn at random and added to each wait, so that clients that failed together don't retry together.
LONGEST_JITTER = 0.5
#: Seconds to wait after a 429 whose ``Retry-After`` is shorter than this, or in the past.
SHORTEST_RETRY_AFTER = 1.0
#: Seconds that one request waits between its attempts in total, whatever ``max_attempts`` allows. Waits after a 429 do
#: not count.
LONGEST_RETRYING = 300.0
#: Seconds after which a request that has met nothing but 429 counts as failed. An hour: other clients of the account
#: may need the whole limit for a while, and waiting is not failing, but a task should not hang for a night.
LONGEST_RATE_LIMITED = 3600.0


class Retries:
    """
    Decides whether one request is sent again, and after how many seconds.

    A 429 is no failure: it does not count against ``max_attempts``, and the request is sent again until all responses
    have been 429 for :data:`LONGEST_RATE_LIMITED` seconds.

    :param max_attempts: how often the request is sent at most, attempts that end with a 429 not included
    :param clock: returns the time in seconds
    """

    def __init__(self, max_attempts: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_attempts = max_attempts
        self._clock = clock
        self._failed = 0
        self._waited = 0.0
        self._rate_limited = 0
        self._rate_limited_since = 0.0

    def seconds_before_next(self, response: ApiResponse) -> float | None:
        """
        Return how long to wait before the next attempt.

        :param response: the response to the last attempt
        :returns: seconds; None if the response is final, or the request may not be sent again
        """
        if not response.transient:
            return None
        if response.status == 429:
            return self._seconds_after_429(response.retry_after)
        self._rate_limited = 0
        self._failed += 1
        seconds = max(response.retry_after or 0.0, _backoff(FIRST_BACKOFF, self._failed, LONGEST_BACKOFF))
        seconds += random.uniform(0, LONGEST_JITTER)
        self._waited += seconds
        return None if self._failed >= self._max_attempts or self._waited > LONGEST_RETRYING else seconds

    def _seconds_after_429(self, retry_after: float | None) -> float | None:
        now = self._clock()
        if not self._rate_limited:
            self._rate_limited_since = now
        elif now - self._rate_limited_since > LONGEST_RATE_LIMITED:
            return None
        self._rate_limited += 1
        if retry_after is None:
            seconds = _backoff(FIRST_RATE_LIMIT_BACKOFF, self._rate_limited, LONGEST_RATE_LIMIT_BACKOFF)
        else:
            seconds = max(retry_after, SHORTEST_RETRY_AFTER)
        return seconds + random.uniform(0, LONGEST_JITTER)


def _backoff(first: float, number: int, longest: float) -> float:
    return min(first * 2.0 ** min(number - 1, 30), longest)
