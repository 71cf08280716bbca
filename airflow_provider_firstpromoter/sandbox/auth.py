"""Authentication of API requests, and the rate limit per account."""

from __future__ import annotations

import math
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from fastapi import Request

from airflow_provider_firstpromoter.sandbox.errors import ApiError
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings


class RateLimit:
    """
    Counts the accepted requests of each account over a sliding window.

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


class Authenticator:
    """
    Checks the credentials and the rate limit of each request.

    :param settings: the accounts, and the form of ``Retry-After``
    :param limit: the rate limit of each account
    """

    def __init__(self, settings: Settings, limit: RateLimit) -> None:
        self._accounts = {account.id: account for account in settings.accounts}
        self._retry_after = settings.retry_after
        self._limit = limit

    async def authenticate(self, request: Request) -> Account:
        """
        Find the account that a request belongs to, and count the request towards its rate limit.

        :return: the account
        :raises ApiError: 401 if the API key is missing or unknown, 403 if the key belongs to another account,
            429 if the account is over its rate limit
        """
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not _has_key(self._accounts.values(), key):
            raise ApiError(401, "Unauthorized", code="unauthorized")
        account = self._accounts.get(request.headers.get("account-id", ""))
        if account is None or not _has_key([account], key):
            raise ApiError(403, "Forbidden", code="forbidden")
        if wait := self._limit.acquire(account.id):
            raise ApiError(429, "Too many requests", headers=self._retry_after_header(wait))
        return account

    def _retry_after_header(self, wait: float) -> dict[str, str]:
        seconds = math.ceil(wait)
        if self._retry_after == "none":
            return {}
        if self._retry_after == "seconds":
            return {"Retry-After": str(seconds)}
        # An HTTP date has no fractions of a second; without the extra second the client could return too early.
        return {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=seconds + 1), usegmt=True)}


def _has_key(accounts: Iterable[Account], key: str) -> bool:
    """Return whether one of the accounts has the API key."""
    keys = (each for account in accounts for each in (account.api_key, *account.further_keys))
    return any(secrets.compare_digest(key.encode(), each.encode()) for each in keys)
