"""The rate limit of each account over a sliding window."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable


class RateLimit:
    """
    Counts the accepted requests of each account.

    :param requests: the number of requests that are accepted in one window; 0 is no limit
    :param seconds: the length of the window
    :param clock: returns the time in seconds
    """

    def __init__(self, requests: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests = requests
        self.seconds = seconds
        self._clock = clock
        self._accepted: defaultdict[str, deque[float]] = defaultdict(deque)

    def acquire(self, account: str) -> float:
        """
        Count a request of the account, unless the account is over its limit.

        :return: 0 if the request is accepted, else the seconds until the next request is accepted
        """
        if not self.requests:
            return 0.0
        now = self._clock()
        accepted = self._accepted[account]
        while accepted and accepted[0] <= now - self.seconds:
            accepted.popleft()
        if len(accepted) >= self.requests:
            return accepted[0] + self.seconds - now
        accepted.append(now)
        return 0.0

    def reset(self) -> None:
        """Discard the counts of all accounts."""
        self._accepted.clear()
