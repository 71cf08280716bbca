"""FirstPromoterHook.track_refund: the request's body, and the result of every response."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_firstpromoter.exceptions import AccessRefusedError, InvalidRowError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import EMAIL, HTML, KEY, RECORDED, REFUND, Server, bodies, says
from tests.support import BOTH_SHAPES

# --- on the wire ---


@pytest.mark.parametrize(
    ("row", "body"),
    [
        pytest.param({}, {}, id="absent-fields-are-left-out"),
        pytest.param(
            {"quantity": 3, "currency": "eur", "sale_event_id": 55, "skip_email_notification": False, "note": "x"},
            {"quantity": "3", "currency": "EUR", "sale_event_id": "55", "skip_email_notification": False},
            id="numbers-are-strings-and-false-is-said",
        ),
        pytest.param({"quantity": None, "currency": None, "email": None}, {}, id="null-is-absent"),
        pytest.param({"event_id": 4711}, {"event_id": "4711"}, id="a-whole-number-is-its-digits"),
        pytest.param({"event_id": "ré \U0001f4b8 1"}, {"event_id": "ré \U0001f4b8 1"}, id="any-text"),
        pytest.param({"uid": None, "email": EMAIL}, {"uid": ..., "email": EMAIL}, id="email-alone"),
        pytest.param({"email": EMAIL}, {}, id="one-id-of-two"),
    ],
)
def test_request_body_follows_the_contract(
    row: dict[str, Any], body: dict[str, Any], sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1")
    sandbox.add_lead(email=EMAIL)

    result = hook.track_refund({**REFUND, **row})

    expected = {"event_id": "re_1", "amount": "1999", "uid": "cus_1", **body}
    assert bodies(sandbox) == [{name: value for name, value in expected.items() if value is not ...}]
    assert result.outcome == "recorded"
    assert result.event_id == expected["event_id"]


def test_invalid_refund_sends_no_request(sandbox: Sandbox, hook: Any) -> None:
    with pytest.raises(InvalidRowError, match="amount"):
        hook.track_refund({**REFUND, "amount": -5})
    with pytest.raises(ValueError, match="has none of email"):
        hook.track_refund(REFUND, identify_by=("email",))
    assert sandbox.request_counts() == {}


@BOTH_SHAPES
def test_result_has_the_fields_of_the_response_and_no_secret(sandbox: Sandbox, hook: Any) -> None:
    sandbox.add_lead(uid="cus_1", email=EMAIL)

    result = hook.track_refund(REFUND)

    (recorded,) = sandbox.recorded()
    assert (result.http_status, result.recorded_amount) == (200, -1999)
    (commission,) = result.commissions
    assert (commission.id, result.rewards) == (recorded.reward_id, {"cash": -400})
    assert commission.promoter_id == recorded.promoter_id
    assert commission.lead_email == EMAIL, "Python code has it"
    assert EMAIL not in json.dumps(result.to_json()), "what is written has not"
    assert "sandbox-secret" not in repr(result)


# --- the table of answers ---


@pytest.mark.parametrize(
    ("status", "body", "outcome", "requests"),
    [
        (200, RECORDED, "recorded", 1),
        (200, b'{"id": 7}', "recorded", 1),
        (200, b"{}", "failed", 1),
        (200, HTML, "failed", 1),
        (200, b'{"id": 7, "rew', "failed", 2),
        (204, b"", "not_referred", 1),
        (400, says("Invalid currency"), "rejected", 1),
        (400, HTML, "failed", 1),
        (404, says("Lead not found", code="not_found"), "not_referred", 1),
        (404, says("Not Found"), "failed", 1),
        (404, HTML, "failed", 1),
        (404, b"", "failed", 1),
        (405, says("Method not allowed"), "failed", 1),
        (409, says("The 'refund' event with the id 're_1' already exists."), "already_recorded", 1),
        (409, says("The 'sale' event with the id 're_1' already exists."), "rejected", 1),
        (409, says("Try again"), "failed", 1),
        (409, HTML, "failed", 1),
        (422, says("Unprocessable", errors={"amount": ["is odd"]}), "rejected", 1),
        (408, b"", "failed", 2),
        (500, HTML, "failed", 2),
        (502, b"", "failed", 2),
        (503, says("Later"), "failed", 2),
    ],
)
def test_response_decides_the_outcome_and_only_transient_ones_are_retried(
    status: int,
    body: bytes,
    outcome: str,
    requests: int,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    impatient: None,
) -> None:
    server = serve(status=status, body=body)

    result = hook_on(server, max_attempts=2).track_refund(REFUND, recover_rewards=False)

    posts = [method for method, *_ in server.asked if method == "POST"]
    assert (result.outcome, result.http_status, len(posts)) == (outcome, status, requests)
    assert (result.message is None) is (outcome != "failed" and status in (200, 204))


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_api_key_echoed_in_a_response_is_masked(
    status: int, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    hook = hook_on(serve(status=status, body=says(f"Not with {KEY}", errors={"key": [KEY]})))

    result = hook.track_refund(REFUND, recover_rewards=False)

    assert result.message is not None
    assert "Not with ***" in result.message
    assert KEY not in result.model_dump_json()


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_raises_after_one_request_and_airflow_does_not_retry(
    status: int, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    server = serve(status=status, body=says(f"No access with {KEY}"))
    hook = hook_on(server, max_attempts=3)

    # The response to a read could name people that the hook cannot mask: its text is left out.
    for ask, said in ((lambda: hook.track_refund(REFUND), ": No access"), (lambda: list(hook.iter_commissions()), "")):
        before = len(server.asked)
        with pytest.raises(AccessRefusedError, match=rf"'firstpromoter_default' \({status}{said}") as refused:
            ask()
        assert len(server.asked) == before + 1
        assert isinstance(refused.value, AirflowFailException)
        assert "password (API key) and login (Account ID)" in str(refused.value)
        assert KEY not in str(refused.value)


# --- one id after the other ---


@pytest.mark.parametrize(
    ("identify_by", "asked", "outcome"),
    [
        (("uid", "email"), ["uid", "email"], "recorded"),
        (("email", "uid"), ["email"], "recorded"),
        (("uid",), ["uid"], "not_referred"),
        (("email",), ["email"], "recorded"),
    ],
)
def test_second_id_is_sent_only_if_the_first_is_not_found(
    identify_by: Any, asked: list[str], outcome: str, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(email=EMAIL)

    result = hook.track_refund({**REFUND, "email": EMAIL}, identify_by=identify_by)

    assert [name for body in bodies(sandbox) for name in ("uid", "email") if name in body] == asked
    assert {body["event_id"] for body in bodies(sandbox)} == {"re_1"}
    assert result.outcome == outcome


@pytest.mark.parametrize(("bought", "http_status"), [(True, 404), (False, 204)])
def test_refund_is_not_referred_only_if_neither_id_is_found(
    bought: bool, http_status: int, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(email=EMAIL, bought=bought)

    result = hook.track_refund({**REFUND, "email": "someone@else.example" if bought else EMAIL})

    assert len(bodies(sandbox)) == 2
    assert (result.outcome, result.http_status) == ("not_referred", http_status)


def test_rejected_refund_is_not_sent_again_with_the_other_id(sandbox: Sandbox, hook: Any) -> None:
    result = hook.track_refund({**REFUND, "email": EMAIL, "currency": "ZZZ"})

    assert (result.outcome, len(bodies(sandbox))) == ("rejected", 1)


# --- several threads ---


@BOTH_SHAPES
def test_one_hook_serves_eight_threads(sandbox: Sandbox, hook: Any, at_once: Callable[..., list[Any]]) -> None:
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(8))
    _ = hook.account

    def thread(number: int) -> list[Any]:
        return [
            hook.track_refund({"event_id": f"re_{number}_{n}", "amount": 100 + number, "uid": f"cus_{number}"})
            for n in range(20)
        ]

    answers = at_once(*(lambda number=number: thread(number) for number in range(8)))

    for number, results in enumerate(answers):
        assert [result.event_id for result in results] == [f"re_{number}_{n}" for n in range(20)]
        assert {(result.outcome, result.recorded_amount) for result in results} == {("recorded", -100 - number)}
    assert hook.client.requests == 160
    assert len({recorded.event_id for recorded in sandbox.recorded()}) == 160


# --- the reward of a refund that is recorded already ---


@BOTH_SHAPES
@pytest.mark.parametrize(("recover", "found"), [(True, True), (False, False)])
def test_reward_of_an_already_recorded_refund_is_looked_up_with_recover_rewards(
    recover: bool, found: bool, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1")
    first = hook.track_refund(REFUND)

    again = hook.track_refund(REFUND, recover_rewards=recover)

    assert again.outcome == "already_recorded"
    assert bool(again.commissions) is found
    if found:
        assert (again.commissions[0].id, again.rewards) == (first.commissions[0].id, first.rewards)
        assert again.recorded_amount == first.recorded_amount
    assert ("GET /api/v2/company/commissions" in sandbox.request_counts()) is found


def test_refund_is_already_recorded_even_if_commissions_cannot_be_read(
    sandbox: Sandbox, connect: Callable[..., str], logged: Callable[[], str]
) -> None:
    sandbox.add_lead(uid="cus_1")
    connect(max_attempts=1)
    hook = FirstPromoterHook()
    hook.track_refund(REFUND)
    sandbox.fault("status", status=500, path="/company/commissions")

    again = hook.track_refund(REFUND)

    assert (again.outcome, again.commissions) == ("already_recorded", ())
    assert "The commissions of refund 're_1' are not known" in logged()
