"""Signups and cancellations by the hook."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import InvalidRowError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox

SIGNED_UP = datetime(2026, 1, 2, tzinfo=UTC)
SIGNUP = {"uid": "cus_new", "email": "new@example.com", "ref_id": "ref7", "created_at": SIGNED_UP}


@pytest.fixture
def hook(sandbox: Sandbox, connect: Callable[..., str]) -> FirstPromoterHook:
    connect(max_attempts=1)
    return FirstPromoterHook()


def test_signup_makes_a_lead_and_a_second_one_is_already_recorded(hook: FirstPromoterHook, sandbox: Sandbox) -> None:
    first, second = hook.track_signup(SIGNUP), hook.track_signup(SIGNUP)

    assert (first.outcome, second.outcome) == ("recorded", "already_recorded")
    assert first.lead_id is not None
    body = {"uid": "cus_new", "ref_id": "ref7", "created_at": "2026-01-02T00:00:00+00:00"}
    assert [one.body for one in sandbox.tracking_requests("signup")] == [body, body]
    assert hook.track_sale({"event_id": "ch_1", "amount": 1000, "uid": "cus_new"}).outcome == "recorded"


def test_signup_of_an_unknown_visitor_is_not_referred(hook: FirstPromoterHook) -> None:
    assert hook.track_signup({"uid": "cus_new", "tid": "nobody"}).outcome == "not_referred"


def test_cancellation_tries_the_ids_in_order(hook: FirstPromoterHook, sandbox: Sandbox) -> None:
    sandbox.add_leads([{"email": "jane@example.com"}])

    result = hook.track_cancellation({"uid": "cus_1", "email": "jane@example.com"})

    assert (result.outcome, result.matched_by) == ("recorded", "email")
    assert hook.track_cancellation({"uid": "cus_1"}).outcome == "not_referred"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"uid": "cus_1"}, "signup: neither tid nor ref_id has a value"),
        ({"tid": "t"}, "signup: neither uid nor email has a value"),
        ({"uid": "cus_1", "tid": "t", "created_at": "soon"}, "signup: created_at is not a time"),
        ({"uid": "undefined", "tid": "t"}, "signup: uid "),
    ],
)
def test_signup_that_cannot_be_sent_is_refused_before_the_request(
    hook: FirstPromoterHook, sandbox: Sandbox, given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidRowError, match=reason):
        hook.track_signup(given)
    assert sandbox.tracking_requests("signup") == []
