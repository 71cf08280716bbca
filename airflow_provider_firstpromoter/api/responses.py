"""
Decides what an HTTP response means for a refund: its outcome, or another attempt.

What a response alone does not prove, such as a 409 after a lost response, is looked up by
:meth:`~airflow_provider_firstpromoter.hooks.firstpromoter.FirstPromoterHook.track_refund`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from airflow_provider_firstpromoter.calls import Commission, Outcome, Refund, Result, masked


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """
    A parsed HTTP response, or the reason why there is none.

    :param status: None where no whole response came: refused, reset, timed out, broken off
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
        """Whether the same request may succeed a moment later."""
        if self.status is None or self.status in (408, 429) or self.status >= 500:
            return True
        return self.status == 200 and self.problem == BROKEN_JSON

    @property
    def message(self) -> str | None:
        """The ``message`` of FirstPromoter's JSON."""
        message = self.payload.get("message") if isinstance(self.payload, dict) else None
        return message if isinstance(message, str) and message.strip() else None


#: The problem of a 200 whose JSON is cut off: the refund was recorded, and FirstPromoter answers a retry with 409.
BROKEN_JSON = "the response is not whole JSON"
NO_JSON = "the response is not JSON"


def outcome_from(response: ApiResponse, event_id: str) -> Outcome:
    """
    Return the outcome of a refund that this response shows.

    A response that FirstPromoter is not known to give settles nothing: a wrong base URL, a proxy's error page and a
    gateway's ``{"message": "Not Found"}`` must not pass for a customer without a referral.

    :param event_id: the refund's own, which a 409 has to name
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
            return _outcome_of_conflict(response.message, event_id)
        case 400 | 422 if response.payload is not None:
            return Outcome.REJECTED
    return Outcome.FAILED


def _outcome_of_conflict(message: str, event_id: str) -> Outcome:
    """
    Return the outcome that the message of a 409 shows.

    Only a *refund* event with this id proves that the refund is recorded. An event of another type keeps the id from
    being used for a refund; any other message proves nothing.
    """
    # The contract's words, with or without quotation marks: The 'refund' event with the id '...' already exists.
    escaped = re.escape(event_id)
    named = rf"""(?:'{escaped}'|"{escaped}"|{escaped})"""
    words = rf"(?i:\bthe\W{{1,2}}(?P<type>\w+)\W{{1,2}}event with the id)\s+{named}\s+(?i:already exists)"
    found = re.search(words, message)
    if found is None:
        return Outcome.FAILED
    return Outcome.ALREADY_RECORDED if found["type"].lower() == "refund" else Outcome.REJECTED


def _says_only_not_found(message: str) -> bool:
    return message.strip(" .!").lower() in ("not found", "404 not found")


def result_from(response: ApiResponse, refund: Refund, attempts: int, secret: str | None = None) -> Result:
    """
    Return the result of a refund from its last response, with allow-listed fields only.

    :param attempts: how many times the request was made
    :param secret: the API key, which is masked if a response repeats it
    """
    outcome = outcome_from(response, refund.event_id)
    recorded = _recorded(response.payload) if outcome is Outcome.RECORDED else {}
    return Result(
        event_id=refund.event_id,
        outcome=outcome,
        sent=True,
        http_status=response.status,
        message=_message(response, outcome, attempts, refund.email, refund.uid, secret),
        **recorded,
    )


def _message(response: ApiResponse, outcome: Outcome, attempts: int, *private: str | None) -> str | None:
    if outcome is not Outcome.FAILED:
        return _reason(response, *private)
    if response.status == 409 and response.message:
        return f"answered 409, but not that this refund exists: {_reason(response, *private)}"
    return describe_failure(response, attempts)


def _reason(response: ApiResponse, *private: str | None) -> str | None:
    """Return the server's message, with the fields that a 422 names."""
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
    """Return why a response is unusable, in words for the person on call."""
    tries = "1 try" if attempts == 1 else f"{attempts} tries"
    if response.status is None:
        return f"no response in {tries}: {response.problem}"
    if response.transient:
        return f"answered {response.status} in {tries}" + (f": {response.problem}" if response.status == 200 else "")
    return f"answered {response.status}, but not as FirstPromoter does; is the connection's host right?"


def _recorded(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a 200 in the older shape says about the refund: its reward is one commission."""
    reward, lead, promoter = (_dict(payload.get(name)) for name in ("reward", "lead", "promoter"))
    commissions: tuple[Commission, ...] = ()
    if reward:
        try:
            commission = Commission.model_validate(
                {
                    **reward,
                    "event_id": payload.get("event_id") or reward.get("event_id"),
                    "tier": reward.get("tier_level"),
                    "sale_amount": reward.get("conversion_amount"),
                    "promoter_id": promoter.get("id"),
                    "promoter_ref": promoter.get("default_ref_id"),
                    "lead_id": lead.get("id"),
                    "lead_uid": lead.get("uid"),
                    "lead_email": lead.get("email"),
                }
            )
            commissions = (commission,)
        except ValidationError:
            pass  # without a usable id it cannot be told from others: the next reconciliation finds it
    return {
        "firstpromoter_id": _whole_or_none(payload.get("id")),
        "recorded_amount": _whole_or_none(payload.get("amount_cents")),
        "lead_id": _whole_or_none(lead.get("id")),
        "commissions": commissions,
    }


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole_or_none(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
