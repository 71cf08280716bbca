"""The error responses of the API, as exceptions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any


class ApiError(Exception):
    """
    A request that the API answers with an error.

    :param status: the HTTP status of the response
    :param message: the ``message`` in the response
    :param extra: further fields of the response
    """

    def __init__(self, status: int, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.body = {"message": message} | extra


class TooManyRequests(ApiError):
    """
    A request of an account that is over its rate limit.

    :param wait: the seconds until the next request is accepted
    :param retry_after: the form of the ``Retry-After`` header: ``none``, ``seconds`` or ``date``
    """

    def __init__(self, wait: float, retry_after: str) -> None:
        super().__init__(429, "Too many requests")
        seconds = math.ceil(wait)
        if retry_after == "seconds":
            self.headers = {"Retry-After": str(seconds)}
        elif retry_after == "date":
            # An HTTP date has no fractions of a second; without the extra second the client could return too early.
            date = datetime.now(UTC) + timedelta(seconds=seconds + 1)
            self.headers = {"Retry-After": format_datetime(date, usegmt=True)}
