"""Tests of the audit methods and of the control endpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox

if TYPE_CHECKING:
    from tests.sandbox.client import Client


def test_refund_requests_after_several_calls_hold_body_status_and_headers(sandbox: Sandbox, client: Client) -> None:
    before = time.monotonic()
    client.refund("r1", "1000")
    client.refund("r1", "1000")
    client.refund("r2", 7, uid="u1", email="one@example.com")
    client("POST", "/track/refund", data=b"not json")
    seen = sandbox.refund_requests()
    assert [request.status for request in seen] == [200, 409, 400, 400]
    assert seen[0].body == {"event_id": "r1", "amount": "1000", "uid": "u1"}
    assert seen[2].body == {"event_id": "r2", "amount": 7, "uid": "u1", "email": "one@example.com"}
    assert seen[3].body == "not json"
    assert [request.at for request in seen] == sorted(request.at for request in seen)
    assert before <= seen[0].at <= time.monotonic()
    assert seen[0].account == "sandbox-account"
    assert seen[0].headers["content-type"] == "application/json"
    assert seen[0].headers["authorization"] == "[22 characters]"
    assert sandbox.refund_requests(after=1, limit=1) == seen[1:2]


def test_request_times_after_any_request_hold_its_time_and_can_be_filtered(
    sandbox: Sandbox, client: Client, client_of: Callable[..., Client]
) -> None:
    before = time.monotonic()
    client.refund("r1")
    client("GET", "/company/commissions")
    sandbox.fault("reset_before")
    with pytest.raises(OSError, match="reset"):
        client("GET", "/company/promoters")
    client_of(sandbox, sandbox.settings.accounts[1])("GET", "/company/commissions")
    times = sandbox.request_times()
    assert len(times) == 4
    moments = [before, *times, time.monotonic()]
    assert moments == sorted(moments)
    assert sandbox.request_times(account="sandbox-account") == times[:3]
    assert sandbox.request_times(path="/company/commissions") == [times[1], times[3]]
    assert sandbox.request_times(path="/company/commissions", account="other-account") == times[3:]
    assert client.control("GET", "/request-times", params={"path": "/track/refund"}).json() == times[:1]


def test_refund_requests_of_unauthorized_caller_are_recorded(sandbox: Sandbox, client: Client) -> None:
    client.session.headers.pop("Account-ID")
    client.refund()
    [request] = sandbox.refund_requests()
    assert (request.status, request.account) == (403, None)


def test_recorded_after_refunds_returns_accepted_refunds_only(sandbox: Sandbox, client: Client) -> None:
    client.refund("r1", "1000", sale_event_id="s1")
    client.refund("r2", "500", email="one@example.com")
    client.refund("r3", uid="nobody")
    first, second = sandbox.recorded()
    assert (first.event_id, first.amount_cents, first.reward_amount, first.reward_unit) == ("r1", -1000, -200, "cash")
    assert (first.promoter_id, first.promoter_ref_id, first.sale_event_id) == (1, "ref1", "s1")
    assert (first.lead_uid, first.lead_email) == ("u1", "one@example.com")
    assert second.event_id == "r2"
    assert sandbox.recorded(after=1) == [second]
    assert sandbox.recorded(limit=1) == [first]


def test_request_counts_after_several_calls_are_grouped_by_path_and_status(sandbox: Sandbox, client: Client) -> None:
    client.refund("r1")
    client.refund("r1")
    sandbox.fault("reset_before", path="/company/promoters")
    with pytest.raises(OSError, match="reset"):
        client("GET", "/company/promoters")
    assert sandbox.request_counts() == {
        "POST /api/v2/track/refund": {"200": 1, "409": 1},
        "GET /api/v2/company/promoters": {"none": 1},
    }


def test_audit_endpoint_after_refunds_equals_sandbox_methods(sandbox: Sandbox, client: Client) -> None:
    client.refund("r1")
    client.refund("r2", uid="nobody")
    audit = client.control("GET", "/audit").json()
    assert audit["requests"] == sandbox.request_counts() == client.control("GET", "/requests").json()
    assert [refund["event_id"] for refund in audit["recorded"]] == ["r1"]
    assert [request["status"] for request in audit["refund_requests"]] == [200, 404]
    assert client.control("GET", "/refund-requests?after=1").json() == audit["refund_requests"][1:]
    assert client.control("GET", "/recorded?account=other-account").json() == []
    assert client.control("GET", "/recorded?limit=1").json() == audit["recorded"]


def test_leads_endpoint_with_3000_leads_adds_all(sandbox: Sandbox, client: Client) -> None:
    leads = [{"uid": f"n{i}", "promoter": f"p{i % 3}", "bought": i % 2 == 0} for i in range(3000)]
    assert client.control("POST", "/leads", json=leads).json() == {"added": 3000}
    assert client.refund("r1", uid="n2998").json()["promoter"]["default_ref_id"] == "p1"
    assert client.refund("r2", uid="n2999").status_code == 204


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/leads", [{"uid": "n1"}, {"promoter": "p1"}]),
        ("/leads", [{"uid": "n1"}, {"uid": "u1"}]),
        ("/leads", [{"uid": "n1"}, {"uid": "n2", "bougth": False}]),
        ("/leads?account=nobody", [{"uid": "n1"}]),
    ],
)
def test_leads_endpoint_with_one_invalid_lead_adds_none(client: Client, path: str, leads: Any) -> None:
    assert client.control("POST", path, json=leads).status_code in (400, 422)
    assert client.refund(uid="n1").status_code == 404


def test_commissions_endpoint_with_past_commission_adds_it_with_its_date(client: Client) -> None:
    past = [{"uid": "u1", "event_id": "r1", "sale_amount": -1000, "created_at": "2020-02-03T04:05:06Z"}]
    assert client.control("POST", "/commissions", json=past).json() == {"ids": [1]}
    [commission] = client("GET", "/company/commissions").json()
    assert (commission["created_at"], commission["amount"]) == ("2020-02-03T04:05:06.000Z", -200)
    assert client.control("POST", "/commissions", json=[{"uid": "u1"}]).status_code == 422
    unknown = client.control("POST", "/commissions", json=[{"uid": "nobody", "sale_amount": 1}])
    assert (unknown.status_code, "nobody" in unknown.json()["message"]) == (400, True)


def test_reset_after_refund_and_fault_removes_everything(sandbox: Sandbox, client: Client) -> None:
    client.refund()
    sandbox.fault("status", times=None)
    client.control("POST", "/reset")
    assert client.control("GET", "/audit").json() == {
        "requests": {},
        "recorded": [],
        "balances": [],
        "refund_requests": [],
        "sale_requests": [],
    }
    assert client.refund().status_code == 404


def test_ban_endpoint_with_promoter_hides_its_leads(client: Client) -> None:
    client.control("POST", "/ban/ref1")
    assert client.refund().status_code == 404


def test_request_counts_after_control_request_are_empty(sandbox: Sandbox, client: Client) -> None:
    client.control("GET", "/health")
    assert sandbox.request_counts() == {}
