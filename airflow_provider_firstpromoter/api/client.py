"""The client of FirstPromoter's API: each request is made as often, and as late, as the API's rules want it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.api.rate_limit import rate_limiter_for, sleep
from airflow_provider_firstpromoter.api.responses import ApiResponse
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, SyncInterruptedError

if TYPE_CHECKING:
    from airflow_provider_firstpromoter.api.transport import Transport

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


class Exchange(NamedTuple):
    """
    A request with all its attempts, and the response to the last one.

    :param response: the response to the last attempt
    :param attempts: how many HTTP requests were made
    :param lost: whether FirstPromoter may have processed an earlier attempt, because that attempt was sent and its
        response never arrived whole (no status, 5xx, 408, or a 200 whose JSON breaks off). A 409, 404 or 204 is then
        ambiguous: it may be a consequence of that earlier attempt.
    """

    response: ApiResponse
    attempts: int
    lost: bool


class Content(TypedDict, total=False):
    """
    What a request carries.

    - ``json``: the body
    - ``params``: the query
    - ``private``: the ids of the customers whom the response can name; None, or left out, if they are not known, and
      the server's own words are not shown
    """

    json: Mapping[str, Any] | None
    params: Mapping[str, Any] | None
    private: tuple[str | None, ...] | None


class Client:
    """
    Makes the requests of one account. Several threads may use it.

    :param account: the account whose key and Account ID the requests carry
    :param cancelled: set to end every wait at once
    """

    def __init__(self, account: Account, cancelled: threading.Event) -> None:
        self.account = account
        self.cancelled = cancelled
        #: The account's rate limit, shared with every other client of this process.
        self.rate_limiter = rate_limiter_for(account)
        #: The number of HTTP requests made so far, retries included.
        self.requests = 0
        self._lock = threading.Lock()

    @cached_property
    def transport(self) -> Transport:
        """The sessions. Imported here, because ``requests`` takes as long as all of the provider's own modules."""
        from airflow_provider_firstpromoter.api.transport import Transport

        return Transport(self.account)

    def request(self, method: str, path: str, **content: Unpack[Content]) -> Exchange:
        """
        Make a request until its response is final or it may not be sent again.

        :param path: what follows the account's base URL
        """
        attempts, lost = 1, False
        retries = Retries(self.account.extra.max_attempts)
        response = self.attempt(method, path, **content)
        while (seconds := retries.seconds_before_next(response)) is not None:
            lost = lost or response.may_be_processed
            try:
                if response.status == 429:
                    self.rate_limiter.pause(seconds)  # for all threads: none takes what another waits for
                else:
                    sleep(seconds, self.cancelled)
                response = self.attempt(method, path, **content)
            except SyncInterruptedError as error:
                error.lost = lost
                raise
            attempts += 1
        if response.status in (401, 403) and response.message:
            refused = AccessRefusedError(
                f"FirstPromoter refused access with connection {self.account.conn_id!r} "
                f"({response.status}{f': {said}' if (said := response.said()) else ''}). Check its password (API key) "
                "and login (Account ID) against Settings > Integrations in FirstPromoter."
            )
            refused.lost = lost
            raise refused
        return Exchange(response, attempts, lost)

    def attempt(self, method: str, path: str, **content: Unpack[Content]) -> ApiResponse:
        """Make a request once, as soon as the account's rate limit allows it."""
        private = content.get("private")
        if private is not None:
            private = (self.account.api_key.get_secret_value(), *private)
        self.rate_limiter.acquire(self.account.extra.requests_per_minute, self.cancelled)
        with self._lock:
            self.requests += 1
        try:
            return self.transport.send(method, path, private, json=content.get("json"), params=content.get("params"))
        finally:
            self.rate_limiter.release()


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
