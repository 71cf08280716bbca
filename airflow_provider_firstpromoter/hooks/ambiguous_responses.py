"""Decides what the responses mean that do not say on their own whether FirstPromoter recorded a refund."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from airflow_provider_firstpromoter.api import ApiResponse
from airflow_provider_firstpromoter.calls import Outcome, Result
from airflow_provider_firstpromoter.exceptions import ReadError

#: Looks up what FirstPromoter reversed for an event_id, as
#: :meth:`~airflow_provider_firstpromoter.hooks.firstpromoter.FirstPromoterHook.find_reversal` does.
FindReversal = Callable[[str], dict[str, Any] | None]


def resolve_409(
    result: Result, find_reversal: FindReversal, *, unmatched: bool, recover: bool, log: logging.Logger
) -> Result:
    """
    Decide what a 409 means: that the refund is recorded, or that its own 204 used up the event_id.

    :param unmatched: whether this refund was sent before and got a 204 or 404
    :param recover: whether the reward is looked up even if the 409 proves that the refund is recorded
    """
    if not unmatched and not recover:
        return result
    try:
        reversal = find_reversal(str(result.event_id))
    except ReadError as error:
        if unmatched:
            return _unresolved(result, f"409 after this refund's own 204 or 404, and {error}")
        log.warning("The reward of refund %r is not known. %s", result.event_id, error)
        return result
    if reversal is not None:
        return result.model_copy(update=reversal)
    if not unmatched:
        return result
    message = f"409 after this refund's own 204 or 404, and no commission was reversed: {result.message}"
    return result.model_copy(update={"outcome": Outcome.NOT_REFERRED, "message": message})


def resolve_unmatched(result: Result, find_reversal: FindReversal) -> Result:
    """Decide what a 204 or 404 means after a lost response, which may have been that of a recorded refund."""
    try:
        reversal = find_reversal(str(result.event_id))
    except ReadError as error:
        return _unresolved(result, f"{result.http_status} after a lost response, and {error}")
    if reversal is not None:
        message = f"{result.http_status} after a lost response; its reversed commission was found"
        return result.model_copy(
            update={**reversal, "outcome": Outcome.ALREADY_RECORDED, "message": message, "lost": True}
        )
    reason = f": {result.message}" if result.message else ""
    message = f"{result.http_status} after a lost response, and no commission was reversed{reason}"
    # The commissions that FirstPromoter lists can lag: what is known now must not end what was not known before.
    return result.model_copy(update={"message": message, "lost": True})


def may_be_recorded(response: ApiResponse) -> bool:
    """Return whether FirstPromoter may have recorded a refund although its response cannot be used."""
    if response.status is None or 200 <= response.status < 300:
        return True
    return response.transient and response.status != 429


def _unresolved(result: Result, message: str) -> Result:
    """Return the result of a refund that has to be sent again, because its commissions cannot be read."""
    return result.model_copy(update={"outcome": Outcome.FAILED, "message": message, "unmatched": True, "lost": True})
