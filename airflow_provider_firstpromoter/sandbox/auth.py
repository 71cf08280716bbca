"""Authentication of API requests, and the rate limit per account."""

from __future__ import annotations

import secrets

from fastapi import Request

from airflow_provider_firstpromoter.sandbox.errors import ApiError, TooManyRequests
from airflow_provider_firstpromoter.sandbox.limits import RateLimit
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings


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
        key_is_known = any(_equal(key, account.api_key) for account in self._accounts.values())
        if scheme.lower() != "bearer" or not key_is_known:
            raise ApiError(401, "Unauthorized", code="unauthorized")
        account = self._accounts.get(request.headers.get("account-id", ""))
        if account is None or not _equal(key, account.api_key):
            raise ApiError(403, "Forbidden", code="forbidden")
        if wait := self._limit.acquire(account.id):
            raise TooManyRequests(wait, self._retry_after)
        return account


def _equal(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())
