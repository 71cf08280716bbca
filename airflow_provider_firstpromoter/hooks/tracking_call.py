"""
One tracking call for one row: its requests, and its outcome.

This is the only place where a response becomes an outcome: :func:`outcome_of` says what a response means by itself, and
:func:`_lookup` what is looked up in FirstPromoter's commissions, because the response alone does not prove it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from airflow_provider_firstpromoter.api import (
    ApiResponse,
    Client,
    answered_commissions,
    as_object,
    describe_failure,
    find_commissions,
    recorded_facts,
)
from airflow_provider_firstpromoter.calls import Call, Cancellation, Commission, Identity, Outcome, Result, TrackedEvent
from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    InvalidRowError,
    ReadError,
    SyncInterruptedError,
)


class Lookup(NamedTuple):
    """
    What is looked up in the commissions of a row's event_id.

    :param why: what is ambiguous; None if only the commissions are missing, and the outcome is proved
    :param if_not_found: the outcome if there is no commission; with one the row is recorded
    """

    why: str | None
    if_not_found: Outcome


def outcome_of(call: Call, response: ApiResponse, event_id: str) -> Outcome:
    """
    Return the outcome that a response shows by itself.

    A response that FirstPromoter is not known to give settles nothing: a wrong base URL, a proxy's error page and a
    gateway's ``{"message": "Not Found"}`` must not pass for a customer without a referral.

    :param event_id: the row's own, which a 409 has to name
    """
    if response.status == 409 and response.message:
        # With or without quotation marks: The 'refund' event with the id '...' already exists.
        escaped = re.escape(event_id)
        named = rf"""(?:'{escaped}'|"{escaped}"|{escaped})"""
        words = rf"(?i:\bthe\W{{1,2}}(?P<kind>\w+)\W{{1,2}}event with the id)\s+{named}\s+(?i:already exists)"
        if found := re.search(words, response.message):
            # An event of another kind keeps the id from being used for this one.
            return Outcome.ALREADY_RECORDED if found["kind"].lower() == call.name else Outcome.REJECTED
    return _outcome_of_any(response)


def _outcome_of_any(response: ApiResponse) -> Outcome:
    """Return the outcome that a response shows whatever the call is: all but a 409."""
    payload = as_object(response.payload)
    match response.status:
        case 200 if payload.get("id") is not None:
            return Outcome.RECORDED
        case 204:
            return Outcome.NOT_REFERRED
        case 404 if (message := response.message) and message.strip(" .!").lower() not in (
            "not found",
            "404 not found",
        ):
            return Outcome.NOT_REFERRED
        case 404 if isinstance(payload.get("code"), str) and payload["code"]:
            return Outcome.NOT_REFERRED
        case 400 | 422 if response.payload is not None:
            return Outcome.REJECTED
    return Outcome.FAILED


def _lookup(call: Call, first: Result, *, recover: bool) -> Lookup | None:
    """
    Return what has to be looked up for the result that a response shows by itself; None if it proves its outcome.

    :param recover: whether the commissions are looked up that a 409 does not show
    """
    match first.outcome:
        case Outcome.RECORDED if not first.commissions:
            return Lookup(None, Outcome.RECORDED)
        case Outcome.ALREADY_RECORDED if first.unmatched:
            return Lookup(f"409 after this {call.name}'s own 204 or 404", Outcome.NOT_REFERRED)
        case Outcome.ALREADY_RECORDED if recover or first.lost:
            return Lookup(None, Outcome.ALREADY_RECORDED)
        case Outcome.NOT_REFERRED if first.lost:
            return Lookup(f"{first.http_status} after a lost response", Outcome.NOT_REFERRED)
        case Outcome.FAILED if first.http_status == 409:
            return Lookup(f"answered 409, but not that this {call.name} exists", Outcome.FAILED)
    return None


def track_event(
    client: Client,
    call: Call,
    events: Sequence[TrackedEvent],
    identify_by: Sequence[Identity],
    *,
    recover_rewards: bool,
    log: logging.Logger,
    unmatched: bool = False,
    lost: bool = False,
) -> Result:
    """
    Send one event of a call and return its result; the parameters are those of the hook's ``track_refund``.

    :param events: the event, then the same one with other ids of the customer
    """
    private = tuple({value for event in events for value in (event.uid, event.email)})
    result = None
    try:
        for event, identity in _requests(events, identify_by):
            body = event.body(identity)
            response, attempts, lost_now = client.request("POST", call.path, json=body, private=private)
            lost = lost or lost_now
            result = result_from(call, response, events, identity, attempts, unmatched=unmatched, lost=lost)
            unmatched, lost = unmatched or result.outcome is Outcome.NOT_REFERRED, result.lost
            if result.outcome is not Outcome.NOT_REFERRED:
                break
        if result is None:
            raise InvalidRowError(events[0].event_id, f"has none of {' or '.join(identify_by)}", call.name)
        if lookup := _lookup(call, result, recover=recover_rewards):
            result = _looked_up(client, call, result, lookup, events, log)
    except (AccessRefusedError, SyncInterruptedError) as error:
        error.lost, error.unmatched = error.lost or lost, unmatched
        raise
    # A 200 proves itself; what a 204 or 404 said counts until the row is settled.
    return result.model_copy(
        update={
            "unmatched": unmatched and result.outcome in (Outcome.FAILED, Outcome.REJECTED),
            "lost": result.lost and result.outcome is not Outcome.RECORDED,
        }
    )


def track_lead(client: Client, lead: Cancellation, identify_by: Sequence[Identity]) -> Result:
    """Send a signup or a cancellation, and return its result; the parameters are those of the hook's methods."""
    private = (lead.uid, lead.email)
    result = None
    for identity, _ in lead.identities(identify_by):
        body = lead.body(identity)
        response, attempts, _ = client.request("POST", f"/track/{lead.call_name}", json=body, private=private)
        payload = as_object(response.payload)
        outcome = _outcome_of_any(response)
        if response.status == 422 and "already a signup event" in str(payload.get("transaction_id")):
            outcome = Outcome.ALREADY_RECORDED
        is_recorded = outcome is Outcome.RECORDED
        found = as_object(payload.get("lead")) or as_object(payload.get("referral"))
        result = Result(
            event_id=None,
            outcome=outcome,
            sent=True,
            http_status=response.status,
            firstpromoter_id=_whole(payload.get("id")) if is_recorded else None,
            lead_id=_whole(found.get("id")) if is_recorded else None,
            matched_by=identity if is_recorded else None,
            message=None
            if is_recorded
            else describe_failure(response, attempts)
            if outcome is Outcome.FAILED
            else response.said(),
        )
        if outcome is not Outcome.NOT_REFERRED:
            break
    if result is None:
        raise InvalidRowError(None, f"has none of {' or '.join(identify_by)}", lead.call_name, has_id=False)
    return result


def result_from(
    call: Call,
    response: ApiResponse,
    events: Sequence[TrackedEvent],
    identity: Identity,
    attempts: int,
    *,
    unmatched: bool = False,
    lost: bool = False,
) -> Result:
    """Return the result that a response shows by itself, in either shape of a 200, with allow-listed fields only."""
    outcome = outcome_of(call, response, events[0].event_id)
    recorded: dict[str, Any] = {}
    if outcome is Outcome.RECORDED:
        payload = response.payload
        lead = as_object(payload.get("lead")) or as_object(payload.get("referral"))
        commissions = answered_commissions(payload)
        answered = Commission.model_validate({"id": 1, "lead_id": lead.get("id"), "lead_uid": lead.get("uid")})
        recorded = {
            "firstpromoter_id": _whole(payload.get("id")),
            "recorded_amount": _whole(payload.get("amount_cents", payload.get("sale_amount"))),
            "lead_id": answered.lead_id,
            "commissions": commissions,
            "matched_by": identity,
            "lead_differs": identity == "email" and _lead_differs((answered, *commissions), events),
        }
    return Result(
        event_id=events[0].event_id,
        outcome=outcome,
        sent=True,
        http_status=response.status,
        message=_message(call, response, outcome, attempts),
        unmatched=unmatched,
        lost=lost or (outcome is Outcome.FAILED and response.may_be_processed),
        **recorded,
    )


def _looked_up(
    client: Client, call: Call, result: Result, lookup: Lookup, events: Sequence[TrackedEvent], log: logging.Logger
) -> Result:
    """Return the result after its commissions were looked up."""
    why, message = lookup.why, result.message
    update: dict[str, Any] = {}
    try:
        found = find_commissions(client, str(result.event_id), call, log)
    except (AccessRefusedError, ReadError) as error:  # the key may lack the permission to read commissions
        if why:  # the next run believes neither a 404 nor a 409
            ambiguous = message if result.outcome is Outcome.FAILED else why
            update = {"outcome": Outcome.FAILED, "message": f"{ambiguous}, and {error}", "lost": True}
        else:
            log.warning("The commissions of %s %r are not known. %s", call.name, result.event_id, error)
        return result.model_copy(update=update)
    if found:
        update = {**recorded_facts(found), "lead_differs": _lead_differs(found, events)}
        if why:
            update |= {"outcome": Outcome.ALREADY_RECORDED, "message": f"{why}; its commission was found"}
    elif why:
        # The commissions that FirstPromoter lists can lag: what is known now must not end what was not known before.
        said = f": {message}" if message else ""
        update = {"outcome": lookup.if_not_found, "lost": True}
        if lookup.if_not_found is Outcome.NOT_REFERRED:
            update["message"] = f"{why}, and FirstPromoter lists no commission of it{said}"
    else:
        update = {"message": message or "FirstPromoter lists no commission of it yet"}
    return result.model_copy(update=update)


def _requests(
    events: Sequence[TrackedEvent], identify_by: Sequence[Identity]
) -> Iterator[tuple[TrackedEvent, Identity]]:
    """Yield the event and the id to send in each request, in order; each id of the customer once."""
    tried: set[tuple[Identity, str]] = set()
    for event in events:
        for identity, value in event.identities(identify_by):
            if (identity, value) not in tried:
                tried.add((identity, value))
                yield event, identity


def _lead_differs(commissions: Sequence[Commission], events: Sequence[TrackedEvent]) -> bool:
    """Whether FirstPromoter's lead has another uid than the event: two customers can share an e-mail address."""
    uids = {event.uid for event in events if event.uid is not None}
    return bool(uids) and any(one.lead_uid is not None and one.lead_uid not in uids for one in commissions)


def _message(call: Call, response: ApiResponse, outcome: Outcome, attempts: int) -> str | None:
    said = response.said()
    if outcome is Outcome.FAILED:
        if response.status == 409 and said:
            return f"answered 409, but not that this {call.name} exists: {said}"
        return describe_failure(response, attempts)
    if said is None and outcome is Outcome.REJECTED:
        return f"answered {response.status} without a message"
    return None if outcome is Outcome.RECORDED else said


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
