"""What an HTTP answer means for a refund: the one place that decides an outcome, or another try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_firstpromoter.refunds import Outcome, Refund, Result, masked


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """
    What came back for one request.

    :param status: None where no whole answer came: refused, reset, timed out, broken off
    :param payload: the JSON body; None where there is none
    :param problem: why there is no status, or no JSON
    :param retry_after: seconds that the server asked to wait
    """

    status: int | None = None
    payload: Any = None
    problem: str | None = None
    retry_after: float | None = None

    @property
    def transient(self) -> bool:
        """Whether the same request may well succeed in a moment."""
        if self.status is None or self.status in (408, 429) or self.status >= 500:
            return True
        return self.status == 200 and self.problem == BROKEN_JSON

    @property
    def message(self) -> str | None:
        """FirstPromoter's own word on it."""
        message = self.payload.get("message") if isinstance(self.payload, dict) else None
        return message if isinstance(message, str) and message.strip() else None


#: A 200 whose JSON broke off: the refund was recorded, and a retry will be told so.
BROKEN_JSON = "the answer is not whole JSON"
NO_JSON = "the answer is not JSON"


def outcome_from(response: ApiResponse) -> Outcome:
    """
    The outcome of a refund, by its answer.

    Anything that FirstPromoter is not known to say settles nothing: a wrong base URL, a proxy's error page and a
    gateway's ``{"message": "Not Found"}`` must not pass for "nobody referred this customer".
    """
    payload = response.payload if isinstance(response.payload, dict) else None
    match response.status:
        case 200 if payload and payload.get("id") is not None:
            return Outcome.RECORDED
        case 204:
            return Outcome.NOT_REFERRED
        case 404 if payload and response.message and ("code" in payload or not _says_only_not_found(response.message)):
            return Outcome.NOT_REFERRED
        case 409 if response.message:
            return Outcome.ALREADY_RECORDED
        case 400 | 422 if response.payload is not None:
            return Outcome.REJECTED
    return Outcome.FAILED


def _says_only_not_found(message: str) -> bool:
    return message.strip(" .!").lower() in ("not found", "404 not found")


def result_from(response: ApiResponse, refund: Refund, attempts: int, secret: str | None = None) -> Result:
    """
    The result of a refund, by its last answer; only allow-listed fields of it.

    :param attempts: how often the request was made
    :param secret: the key, lest an answer repeats it
    """
    outcome = outcome_from(response)
    recorded: dict[str, Any] = {}
    if outcome is Outcome.RECORDED:
        recorded = {name: _dict_or_none(response.payload.get(name)) for name in ("reward", "lead", "promoter")}
        recorded["refund_id"] = _whole_or_none(response.payload.get("id"))
        recorded["recorded_amount"] = _whole_or_none(response.payload.get("amount_cents"))
    return Result(
        event_id=refund.event_id,
        outcome=outcome,
        sent=True,
        http_status=response.status,
        message=describe_failure(response, attempts)
        if outcome is Outcome.FAILED
        else _reason(response, refund.email, refund.uid, secret),
        **recorded,
    )


def _reason(response: ApiResponse, *private: str | None) -> str | None:
    """The server's message, with the fields that a 422 names."""
    message = response.message
    errors = response.payload.get("errors") if isinstance(response.payload, dict) else None
    if isinstance(errors, dict):
        fields = ", ".join(
            f"{field}: {' '.join(map(str, texts if isinstance(texts, list) else [texts]))}"
            for field, texts in list(errors.items())[:10]
        )
        message = f"{message} ({fields})" if message else fields
    if message is None and response.status in (400, 422):
        message = f"answered {response.status} without a message"
    return masked(message, *private)


def describe_failure(response: ApiResponse, attempts: int) -> str:
    """Why an answer is none, in words for the person on call."""
    tries = "1 try" if attempts == 1 else f"{attempts} tries"
    if response.status is None:
        return f"no answer in {tries}: {response.problem}"
    if response.transient:
        return f"answered {response.status} in {tries}" + (f": {response.problem}" if response.status == 200 else "")
    return f"answered {response.status}, but not as FirstPromoter does; is the connection's host right?"


def _dict_or_none(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _whole_or_none(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
