"""The errors that the API answers with."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any


class ApiError(Exception):
    """
    The API says no.

    :param status: of the answer
    :param message: in the answer
    :param extra: further fields of the answer
    """

    def __init__(self, status: int, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.body = {"message": message} | extra


class TooManyRequests(ApiError):
    """
    The account is over its limit.

    :param wait: seconds until the next request may pass
    :param retry_after: of the ``Retry-After`` header: ``none``, ``seconds`` or ``date``
    """

    def __init__(self, wait: float, retry_after: str) -> None:
        super().__init__(429, "Too many requests")
        seconds = math.ceil(wait)
        if retry_after == "seconds":
            self.headers = {"Retry-After": str(seconds)}
        elif retry_after == "date":
            # A date has no fractions of a second: one second more, lest it be over too early.
            date = datetime.now(UTC) + timedelta(seconds=seconds + 1)
            self.headers = {"Retry-After": format_datetime(date, usegmt=True)}
