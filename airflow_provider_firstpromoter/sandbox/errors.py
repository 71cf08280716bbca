"""The errors that the API answers with."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any


class Refused(Exception):
    """
    The API says no.

    :param status: of the answer
    :param message: in the answer
    :param more: further fields of the answer
    """

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.body = {"message": message} | more


class TooMany(Refused):
    """
    The account is over its limit.

    :param wait: seconds until the next request may pass
    :param form: of the ``Retry-After`` header: ``none``, ``seconds`` or ``date``
    """

    def __init__(self, wait: float, form: str) -> None:
        super().__init__(429, "Too many requests")
        seconds = math.ceil(wait)
        if form == "seconds":
            self.headers = {"Retry-After": str(seconds)}
        elif form == "date":
            # A date has no fractions of a second: one second more, lest it be over too early.
            date = datetime.now(UTC) + timedelta(seconds=seconds + 1)
            self.headers = {"Retry-After": format_datetime(date, usegmt=True)}
