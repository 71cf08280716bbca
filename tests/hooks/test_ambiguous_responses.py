"""FirstPromoterHook.track_refund: what a response alone does not prove is looked up in the commissions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter import calls
from airflow_provider_firstpromoter.calls import Call, Refund, Result
from airflow_provider_firstpromoter.hooks import FirstPromoterHook, track_event
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import EMAIL, REFUND, Server, bodies, listing
from tests.support import BOTH_CALLS, BOTH_SHAPES, tracker

LISTING = "/company/commissions"
#: Ways in which the commissions cannot be read.
UNREADABLE: dict[str, dict[str, Any]] = {
    "503": {"kind": "status", "status": 503},
    "403": {"kind": "status", "status": 403},
    "401": {"kind": "status", "status": 401},
    "html-403": {"kind": "html", "status": 403},
    "html-200": {"kind": "html", "status": 200},
    "redirect": {"kind": "redirect", "location": "https://example.com/"},
    "broken-off": {"kind": "truncated"},
    "null-id": {"kind": "changed_item", "item": {"id": None}},
}

unreadable = pytest.mark.parametrize("fault", UNREADABLE.values(), ids=UNREADABLE)


@pytest.fixture
def hook(connect: Callable[..., str], impatient: None) -> FirstPromoterHook:
    """On the sandbox; a request is tried at most twice."""
    connect(max_attempts=2)
    return FirstPromoterHook()


def not_found(sandbox: Sandbox, **fault: Any) -> None:
    """Let the next request find no lead, as a server does that looks for the lead before the event_id."""
    sandbox.fault("status", status=404, message="Referral not found", code="not_found", **fault)


def lookups(sandbox: Sandbox) -> int:
    return sum(sandbox.request_counts().get(f"GET /api/v2{LISTING}", {}).values())


# --- a 409 after the refund's own 204 or 404 ---


@BOTH_SHAPES
def test_409_for_the_second_id_is_recorded_if_its_commission_is_found(sandbox: Sandbox, hook: Any) -> None:
    """The worker was killed after the 200 for the e-mail; the uid finds no sale again."""
    sandbox.change_settings(lead_first=True)
    sandbox.add_lead(uid="cus_1", bought=False)
    sandbox.add_lead(email=EMAIL)
    hook.track_refund({**REFUND, "uid": None, "email": EMAIL})

    result = hook.track_refund({**REFUND, "email": EMAIL}, recover_rewards=False)

    assert [request.status for request in sandbox.refund_requests()] == [200, 204, 409]
    assert (result.outcome, result.http_status) == ("already_recorded", 409)
    assert result.rewards == {"cash": sandbox.recorded()[0].reward_amount}


def test_409_for_the_second_id_is_the_echo_of_the_204_if_there_is_no_commission(sandbox: Sandbox, hook: Any) -> None:
    sandbox.change_settings(consume_event_id_on_204=True)
    sandbox.add_lead(uid="cus_1", bought=False)
    sandbox.add_lead(email=EMAIL)

    result = hook.track_refund({**REFUND, "email": EMAIL}, recover_rewards=False)

    assert [request.status for request in sandbox.refund_requests()] == [204, 409]
    assert (result.outcome, result.http_status) == ("not_referred", 409)
    assert result.message.startswith(
        "409 after this refund's own 204 or 404, and FirstPromoter lists no commission of it: The "
    )
    assert lookups(sandbox) > 0


@unreadable
def test_409_for_the_second_id_fails_if_the_commissions_cannot_be_read(
    fault: dict[str, Any], sandbox: Sandbox, hook: Any
) -> None:
    sandbox.change_settings(lead_first=True)
    sandbox.add_lead(uid="cus_1", bought=False)
    sandbox.add_lead(email=EMAIL)
    hook.track_refund({**REFUND, "uid": None, "email": EMAIL})
    sandbox.fault(**fault, path=LISTING, times=None)

    result = hook.track_refund({**REFUND, "email": EMAIL})

    assert (result.outcome, result.http_status, result.commissions) == ("failed", 409, ())
    assert result.message.startswith("409 after this refund's own 204 or 404, and ")
    assert result.unmatched, "the next run must not believe a 409 either"


@pytest.mark.parametrize("recorded", [True, False])
def test_409_after_an_earlier_runs_204_or_404_is_looked_up(recorded: bool, sandbox: Sandbox, hook: Any) -> None:
    sandbox.change_settings(consume_event_id_on_204=True)
    sandbox.add_lead(uid="cus_1", bought=recorded)
    hook.track_refund(REFUND)

    result = hook.track_refund(REFUND, recover_rewards=False, unmatched=True)

    assert [request.status for request in sandbox.refund_requests()] == [200 if recorded else 204, 409]
    assert result.outcome == ("already_recorded" if recorded else "not_referred")
    assert bool(result.commissions) is recorded


@unreadable
def test_409_on_a_first_ask_is_recorded_even_if_its_reward_cannot_be_read(
    fault: dict[str, Any], sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1")
    hook.track_refund(REFUND)
    sandbox.fault(**fault, path=LISTING, times=None)

    result = hook.track_refund(REFUND)

    assert (result.outcome, result.commissions) == ("already_recorded", ())


# --- a 204 or 404 after a lost response ---


@BOTH_CALLS
@pytest.mark.parametrize("lost", ["reset_after", "truncated", "500"])
@pytest.mark.parametrize("status", [404, 204])
def test_204_or_404_after_a_lost_response_is_recorded_if_its_commission_is_found(
    lost: Any, status: int, call: Call, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1")
    if lost == "500":
        sandbox.fault("status", status=500, recorded=True)
    else:
        sandbox.fault(lost)
    if status == 404:
        not_found(sandbox)
    else:
        sandbox.fault("status", status=204)

    result = tracker(hook, call)(REFUND, recover_rewards=False)

    assert (result.outcome, result.http_status) == ("already_recorded", status)
    assert result.message == f"{status} after a lost response; its commission was found"
    assert result.rewards == {"cash": sandbox.recorded(call.name)[0].reward_amount}


@BOTH_CALLS
def test_404_after_a_lost_response_that_recorded_nothing_is_not_referred(
    call: Call, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.fault("reset_after")  # the API's 404 is lost

    result = tracker(hook, call)(REFUND)

    assert (result.outcome, result.http_status) == ("not_referred", 404)
    assert (
        result.message == "404 after a lost response, and FirstPromoter lists no commission of it: Referral not found"
    )
    assert result.lost, "the commissions can lag: a later 404 is looked up again"


@BOTH_CALLS
@unreadable
def test_404_after_a_lost_response_fails_if_the_commissions_cannot_be_read(
    fault: dict[str, Any], call: Call, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.fault("reset_after", path=call.path)
    sandbox.add_lead(uid="cus_1")
    not_found(sandbox, path=call.path)
    sandbox.fault(**fault, path=LISTING, times=None)

    result = tracker(hook, call)(REFUND)

    assert (result.outcome, result.http_status) == ("failed", 404)
    assert result.message.startswith("404 after a lost response, and ")
    assert (result.lost, result.unmatched) == (True, True), "the next run must believe neither 404 nor 409"


@BOTH_CALLS
@pytest.mark.parametrize("recorded", [True, False])
def test_404_after_an_earlier_runs_lost_response_is_looked_up(
    recorded: bool, call: Call, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1")
    if recorded:
        tracker(hook, call)(REFUND)
    not_found(sandbox, path=call.path)

    result = tracker(hook, call)(REFUND, lost=True)

    assert result.outcome == ("already_recorded" if recorded else "not_referred")


def test_404_for_the_uid_is_believed_only_after_the_email_if_the_response_for_the_uid_was_lost(
    sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1", email=EMAIL)
    sandbox.fault("reset_after")
    not_found(sandbox)
    not_found(sandbox)

    result = hook.track_refund({**REFUND, "email": EMAIL})

    assert [request.status for request in sandbox.refund_requests()] == [None, 404, 404]
    assert result.outcome == "already_recorded"


def test_404_without_a_lost_response_needs_no_lookup(sandbox: Sandbox, hook: Any) -> None:
    result = hook.track_refund({**REFUND, "email": EMAIL})

    assert (result.outcome, result.lost) == ("not_referred", False)
    assert lookups(sandbox) == 0


@pytest.mark.parametrize("fault", [{"kind": "reset_before"}, {"kind": "status", "status": 429, "retry_after": "1"}])
def test_404_after_a_request_that_was_not_processed_needs_no_lookup(
    fault: dict[str, Any], sandbox: Sandbox, hook: Any
) -> None:
    """A 429 was refused unread. A connection that broke before the response may have been processed."""
    sandbox.fault(**fault)

    result = hook.track_refund(REFUND)

    assert result.outcome == "not_referred"
    assert (lookups(sandbox) > 0) is (fault["kind"] == "reset_before")


# --- the reward of a lost response ---


@BOTH_CALLS
@pytest.mark.parametrize("when", ["in-this-run", "in-an-earlier-run"])
def test_reward_of_a_lost_response_is_looked_up_whatever_recover_rewards_says(
    when: str, call: Call, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1")
    if when == "in-this-run":
        sandbox.fault("reset_after")
    else:
        tracker(hook, call)(REFUND)

    result = tracker(hook, call)(REFUND, recover_rewards=False, lost=when == "in-an-earlier-run")

    assert (result.outcome, result.http_status) == ("already_recorded", 409)
    assert result.rewards == {"cash": sandbox.recorded(call.name)[0].reward_amount}


# --- alternatives ---


def alternatives(*emails: str) -> list[Refund]:
    return [Refund.from_row({**REFUND, "uid": None, "email": email}) for email in emails]


def track_with(hook: FirstPromoterHook, refund: dict[str, Any], others: list[Refund]) -> Result:
    rows = [calls.REFUND.read(refund), *others]
    log = logging.getLogger(__name__)
    return track_event(hook.client, calls.REFUND, rows, ("uid", "email"), recover_rewards=True, log=log)


def test_each_distinct_id_of_the_alternatives_is_tried_in_turn(sandbox: Sandbox, hook: Any) -> None:
    sandbox.add_lead(email="third@example.com")
    others = alternatives(EMAIL, "second@example.com", "third@example.com", "fourth@example.com")

    result = track_with(hook, {**REFUND, "email": EMAIL}, others)

    assert [body.get("uid") or body["email"] for body in bodies(sandbox)] == [
        "cus_1",
        EMAIL,
        "second@example.com",
        "third@example.com",
    ]
    assert result.outcome == "recorded"


def test_refund_is_not_referred_only_if_no_alternative_is_found(sandbox: Sandbox, hook: Any) -> None:
    result = track_with(hook, REFUND, alternatives(EMAIL, "second@example.com"))
    assert (result.outcome, len(bodies(sandbox))) == ("not_referred", 3)


# --- a 409 in other words ---


@BOTH_CALLS
@pytest.mark.parametrize("message", ["Conflict", "The event with the id 're_1' already exists."])
@pytest.mark.parametrize("recorded", [True, False])
def test_409_in_other_words_is_settled_by_its_commission_alone(
    recorded: bool, message: str, call: Call, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1")
    if recorded:
        tracker(hook, call)(REFUND)
    sandbox.fault("status", status=409, message=message, path=call.path)

    result = tracker(hook, call)(REFUND, recover_rewards=False)

    assert (result.outcome, result.http_status) == ("already_recorded" if recorded else "failed", 409)
    assert [one.amount for one in result.commissions] == ([call.sign * 400] if recorded else [])
    assert result.lost is not recorded, "a later 404 is looked up"
    assert "409, but not" in result.message


@unreadable
def test_409_in_other_words_fails_if_the_commissions_cannot_be_read(
    fault: dict[str, Any], sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1")
    hook.track_refund(REFUND)
    sandbox.fault("status", status=409, message="Conflict", path="/track/refund")
    sandbox.fault(**fault, path=LISTING, times=None)

    result = hook.track_refund(REFUND)

    assert (result.outcome, result.http_status) == ("failed", 409)
    assert result.message.startswith("answered 409, but not that this refund exists: Conflict, and ")


def test_409_of_another_kind_of_event_is_rejected_without_a_lookup(sandbox: Sandbox, hook: Any) -> None:
    sandbox.fault("status", status=409, message="The 'sale' event with the id 're_1' already exists.")

    assert hook.track_refund(REFUND).outcome == "rejected"
    assert lookups(sandbox) == 0


# --- two shapes of a 200 ---

COMMISSION = {"event_id": "re_1", "unit": "cash", "status": "approved", "is_paid": False, "sale_amount": -1999}
NEWER = {
    "id": 7,
    "etype": "refund",
    "sale_amount": -1999,
    "original_sale_amount": -1999,
    "event_id": "re_1",
    "referral": {"id": 3, "email": EMAIL, "uid": "cus_1"},
    "commissions": [
        {**COMMISSION, "id": 70, "amount": -400, "tier": 1, "promoter_campaign": {"promoter_id": 7}},
        {**COMMISSION, "id": 71, "amount": -50, "tier": 2, "promoter_campaign": {"promoter_id": 8}},
    ],
}
OLDER = {
    "id": 7,
    "type": "refund",
    "amount_cents": -1999,
    "reward": {"id": 70, "amount": -400, "unit": "cash", "status": "approved", "event_id": "re_1", "tier_level": 1},
    "lead": {"id": 3, "email": EMAIL, "uid": "cus_1"},
    "promoter": {"id": 7, "auth_token": "sandbox-secret"},
}


@pytest.mark.parametrize(
    ("body", "commissions"), [(OLDER, [(70, 7, 1, -400)]), (NEWER, [(70, 7, 1, -400), (71, 8, 2, -50)])]
)
def test_200_in_either_shape_has_its_commissions_without_a_lookup(
    body: dict[str, Any],
    commissions: list[Any],
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
) -> None:
    server = serve(body=json.dumps(body).encode())

    result = hook_on(server).track_refund(REFUND)

    assert (result.outcome, result.recorded_amount, result.lead_id) == ("recorded", -1999, 3)
    assert [(one.id, one.promoter_id, one.tier, one.amount) for one in result.commissions] == commissions
    assert (result.firstpromoter_id, result.matched_by, result.lead_differs) == (7, "uid", False)
    assert "sandbox-secret" not in repr(result)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        {**NEWER, "commissions": []},
        {**NEWER, "commissions": None},
        {**NEWER, "commissions": [{"id": None}, "x"]},
        {**OLDER, "reward": None},
        {**OLDER, "reward": {}},
        {**OLDER, "reward": {**OLDER["reward"], "id": None}},  # type: ignore[dict-item]
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_200_without_commissions_is_recorded_with_those_that_are_listed(
    listed: bool, body: dict[str, Any], serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    listing_of = listing(*(NEWER["commissions"] if listed else []))  # type: ignore[misc]
    server = serve(body=lambda path: listing_of(path) if "commissions" in path else json.dumps(body).encode())

    result = hook_on(server).track_refund(REFUND, recover_rewards=False)

    assert (result.outcome, result.http_status, result.recorded_amount) == ("recorded", 200, -1999)
    assert [one.id for one in result.commissions] == ([70, 71] if listed else [])
    assert result.lost is False


@unreadable
def test_200_without_commissions_is_recorded_even_if_they_cannot_be_read(
    fault: dict[str, Any], sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1")
    sandbox.fault("empty_commissions", path="/track/refund")
    sandbox.fault(**fault, path=LISTING, times=None)

    result = hook.track_refund(REFUND)

    assert (result.outcome, result.commissions) == ("recorded", ())


# --- whose lead it is ---


@pytest.mark.parametrize("shape", ["older", "newer"])
@pytest.mark.parametrize(
    ("lead_uid", "row_uid", "differs"), [("cus_2", "cus_1", True), (None, "cus_1", False), ("cus_2", None, False)]
)
def test_match_by_email_with_a_lead_of_another_uid_is_said(
    lead_uid: str | None, row_uid: str | None, differs: bool, shape: Any, sandbox: Sandbox, hook: Any
) -> None:
    """Two customers can share an address: the commission of the other one was reversed."""
    sandbox.change_settings(shape=shape)
    sandbox.add_lead(uid=lead_uid, email=EMAIL)

    result = hook.track_refund({**REFUND, "uid": row_uid, "email": EMAIL})

    assert [next(iter({"uid", "email"} & set(body))) for body in bodies(sandbox)] == ["uid", "email"][row_uid is None :]
    assert (result.outcome, result.matched_by, result.lead_differs) == ("recorded", "email", differs)

    again = hook.track_refund({**REFUND, "uid": row_uid, "email": EMAIL})
    assert (again.outcome, again.lead_differs) == ("already_recorded", differs)
