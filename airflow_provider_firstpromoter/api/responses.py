"""A response of the API: read within bounds, parsed, and quoted without private data."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_firstpromoter.calls import masked

if TYPE_CHECKING:
    import requests

#: The most bytes of a body, once it is unzipped; the response to a refund has about two thousand.
LARGEST_RESPONSE = 1024 * 1024
#: Bytes that are read and unzipped in one go.
_CHUNK = 64 * 1024
#: Seconds to wait after a response whose ``Retry-After`` is longer than this.
LONGEST_RETRY_AFTER = 120.0
#: The problem of a 200 whose JSON is cut off: the event was recorded, and FirstPromoter answers a retry with 409.
BROKEN_JSON = "the response is not whole JSON"
NO_JSON = "the response is not JSON"


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """
    A parsed HTTP response, or the reason why there is none.

    :param status: None where no whole response came: refused, reset, timed out, broken off
    :param payload: the JSON body; None where there is none
    :param problem: why there is no status, or no JSON
    :param retry_after: seconds that the server asked to wait
    :param sent: whether the request may have reached the server
    :param private: what must not be repeated of the server's words; None if that is not known
    """

    status: int | None = None
    payload: Any = None
    problem: str | None = None
    retry_after: float | None = None
    sent: bool = True
    private: tuple[str | None, ...] | None = ()

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed a moment later."""
        if self.status is None or self.status in (408, 429) or self.status >= 500:
            return True
        return self.status == 200 and self.problem == BROKEN_JSON

    @property
    def may_be_processed(self) -> bool:
        """Whether FirstPromoter may have processed the request although its response cannot be used."""
        if self.status is None:
            return self.sent
        return 200 <= self.status < 300 or (self.transient and self.status != 429)

    @property
    def message(self) -> str | None:
        """The ``message`` of FirstPromoter's JSON, which can name a customer: to compare with, never to show."""
        message = self.payload.get("message") if isinstance(self.payload, dict) else None
        return message if isinstance(message, str) and message.strip() else None

    def said(self) -> str | None:
        """Return the server's message and the fields that a 422 names, fit to be shown; None where there is none."""
        message = self.message
        errors = self.payload.get("errors") if isinstance(self.payload, dict) else None
        if isinstance(errors, dict):
            fields = ", ".join(
                f"{field}: {' '.join(map(str, texts if isinstance(texts, list) else [texts]))}"
                for field, texts in list(errors.items())[:10]
            )
            message = f"{message} ({fields})" if message else fields
        return None if self.private is None else masked(message, *self.private)


def describe_failure(response: ApiResponse, attempts: int) -> str:
    """Return why a response is unusable, in words for the person on call."""
    tries = "1 try" if attempts == 1 else f"{attempts} tries"
    if response.status is None:
        return f"no response in {tries}: {response.problem}"
    if response.transient:
        return f"answered {response.status} in {tries}" + (f": {response.problem}" if response.status == 200 else "")
    return f"answered {response.status}, but not as FirstPromoter does; is the connection's host right?"


def read_response(response: requests.Response, private: tuple[str | None, ...] | None = ()) -> ApiResponse:
    """Read a response within bounds; the body of a redirect is not read at all."""
    status, retry_after = response.status_code, parse_retry_after(response.headers.get("Retry-After"))
    payload: Any = None
    problem: str | None = NO_JSON
    body = None if 300 <= status < 400 else _read_body(response)
    if body is not None:
        try:
            payload, problem = json.loads(body), None
        except (ValueError, RecursionError):
            problem = BROKEN_JSON if body.lstrip()[:1] in (b"{", b"[") else NO_JSON
    return ApiResponse(status, payload, problem, retry_after, private=private)


def _read_body(response: requests.Response) -> bytes | None:
    """
    Read a body, and unzip it piece by piece: what 64 kB unzip to has no other bound.

    :returns: None if the body is too large or compressed in a way that was not requested
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        return None
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if "gzip" in encoding else None
    body = bytearray()
    for chunk in response.raw.stream(_CHUNK, decode_content=False):
        body += unzip.decompress(chunk, LARGEST_RESPONSE + 1 - len(body)) if unzip else chunk
        if len(body) > LARGEST_RESPONSE:
            return None
    if unzip and not unzip.eof and (body or unzip.unconsumed_tail):
        raise zlib.error("the body ends before its compressed data")
    return bytes(body)


def parse_retry_after(header: str | None) -> float | None:
    """
    Read a ``Retry-After`` header, in seconds or as a date (RFC 9110, 10.2.3).

    :returns: seconds from now, at least 0 and at most :data:`LONGEST_RETRY_AFTER`; None if there is no readable header
    """
    if not header:
        return None
    header = header.strip()
    try:
        if header.isascii() and header.isdigit():
            seconds = float(header)
        else:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError, LookupError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
