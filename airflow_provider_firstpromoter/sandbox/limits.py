"""The limit on requests: per account, over a sliding window."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable


class RateLimit:
    """
    :param requests: how many may pass in one window; 0 is no limit
    :param seconds: the length of the window
    :param clock: tells the time in seconds
    """

    def __init__(self, requests: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests = requests
        self.seconds = seconds
        self._clock = clock
        self._accepted: defaultdict[str, deque[float]] = defaultdict(deque)

    def acquire(self, account: str) -> float:
        """
        Count a request of this account, unless it is over the limit.

        :return: 0 if the request may pass, else the seconds until the next one may
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
        """Forget every request so far."""
        self._accepted.clear()
