"""The error responses of the API, as exceptions."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """
    A request that the API answers with an error.

    :param status: the HTTP status of the response
    :param message: the ``message`` in the response; None omits it
    :param headers: further headers of the response
    :param extra: further fields of the response
    """

    def __init__(
        self, status: int, message: str | None = None, *, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = ({} if message is None else {"message": message}) | extra
