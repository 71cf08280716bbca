"""The call ``POST /track/refund``, made for one id of the customer after the other until a referral is found."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from airflow_provider_firstpromoter.api import Transport, result_from
from airflow_provider_firstpromoter.calls import Identity, Outcome, Refund, Result
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, SyncInterruptedError
from airflow_provider_firstpromoter.hooks.ambiguous_responses import (
    FindReversal,
    may_be_recorded,
    resolve_409,
    resolve_unmatched,
)


def send_refund(
    transport: Transport,
    refunds: Sequence[Refund],
    identify_by: Sequence[Identity],
    find_reversal: FindReversal,
    *,
    recover_rewards: bool,
    unmatched: bool,
    lost: bool,
    log: logging.Logger,
) -> Result:
    """
    Send one refund and return its result; the parameters and errors are those of the hook's ``track_refund``.

    :param refunds: the refund, then the same refund with other ids of the customer
    :param find_reversal: looks up what FirstPromoter reversed, where a response alone proves nothing
    :param unmatched: whether the refund was sent before and got a 204 or 404
    :param lost: whether the refund was sent before and its response was lost
    """
    secret = transport.account.api_key.get_secret_value()
    result = None
    try:
        for refund, identity in _requests(refunds, identify_by):
            response, attempts, lost_now = transport.request("POST", "/track/refund", json=refund.body(identity))
            lost = lost or lost_now
            result = result_from(response, refund, attempts, secret)
            if result.outcome is Outcome.ALREADY_RECORDED:
                recover = recover_rewards or lost
                resolved = resolve_409(result, find_reversal, unmatched=unmatched, recover=recover, log=log)
                return resolved.model_copy(update={"lost": resolved.lost or lost})
            if result.outcome is Outcome.FAILED:
                lost = lost or may_be_recorded(response)
            if result.outcome in (Outcome.FAILED, Outcome.REJECTED):
                return result.model_copy(update={"unmatched": unmatched, "lost": lost})
            if result.outcome is not Outcome.NOT_REFERRED:
                return result
            unmatched = True
        if result is None:
            raise ValueError(f"Refund {refunds[0].event_id!r} has none of {' or '.join(identify_by)}")
        return resolve_unmatched(result, find_reversal) if lost else result
    except (AccessRefusedError, SyncInterruptedError) as error:
        error.lost, error.unmatched = error.lost or lost, unmatched
        raise


def _requests(refunds: Sequence[Refund], identify_by: Sequence[Identity]) -> Iterator[tuple[Refund, Identity]]:
    """Yield the refund and the id to send in each request, in order; each id of the customer once."""
    tried: set[tuple[Identity, str]] = set()
    for refund in refunds:
        for identity, value in refund.identities(identify_by):
            if (identity, value) not in tried:
                tried.add((identity, value))
                yield refund, identity
