"""Tests of the sale, signup and cancellation calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox

if TYPE_CHECKING:
    from tests.sandbox.client import Client


def test_lead_from_signup_to_refund_passes_through_every_state(client: Client) -> None:
    signup = client("POST", "/track/signup", json={"email": "new@example.com", "uid": "n1", "ref_id": "anna"})
    assert signup.status_code == 200
    assert (signup.json()["state"], signup.json()["email"]) == ("signup", "new@example.com")
    assert client.refund("r1", uid="n1").status_code == 204

    sale = client("POST", "/track/sale", json={"event_id": "s1", "amount": 5000, "uid": "n1", "plan": "pro"})
    assert sale.status_code == 200
    body = sale.json()
    assert (body["type"], body["amount_cents"], body["reward"]["amount"]) == ("sale", 5000, 1000)
    assert (body["lead"]["state"], body["lead"]["plan_name"]) == ("active", "pro")
    assert body["promoter"]["default_ref_id"] == "anna"

    cancelled = client("POST", "/track/cancellation", json={"email": "new@example.com"})
    assert cancelled.json()["state"] == "cancelled"

    refund = client.refund("r1", "5000", uid="n1").json()
    assert refund["reward"]["amount"] == -1000
    assert refund["lead"]["state"] == "cancelled"
    assert refund["promoter"]["earnings_balance"] == {"cash": 0}


def test_sale_with_referral_of_new_customer_creates_lead(client: Client) -> None:
    sale = client("POST", "/track/sale", json={"event_id": "s1", "amount": 100, "email": "x@example.com", "tid": "t1"})
    assert sale.status_code == 200
    assert client.refund(email="x@example.com").json()["promoter"]["id"] == sale.json()["promoter"]["id"]


def test_sale_with_used_event_id_returns_409(client: Client) -> None:
    sale = {"event_id": "s1", "amount": 100, "uid": "u1"}
    assert client("POST", "/track/sale", json=sale).status_code == 200
    again = client("POST", "/track/sale", json=sale)
    assert (again.status_code, again.json()["message"]) == (409, "The 'sale' event with the id 's1' already exists.")


def test_signup_sent_twice_returns_same_lead(client: Client) -> None:
    signup = {"email": "new@example.com", "ref_id": "anna"}
    first, second = (client("POST", "/track/signup", json=signup) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("sale", {"event_id": "s1", "amount": "100", "uid": "u1"}, 400),
        ("sale", {"event_id": "s1", "amount": 0, "uid": "u1"}, 400),
        ("sale", {"event_id": "s1", "amount": True, "uid": "u1"}, 400),
        ("sale", {"event_id": "s1", "amount": 10**30, "uid": "u1"}, 400),
        ("sale", {"amount": 100, "uid": "u1"}, 400),
        ("sale", {"event_id": "s1", "amount": 100}, 400),
        ("sale", {"event_id": "s1", "amount": 100, "uid": "u1", "plan": 7}, 400),
        ("sale", {"event_id": "s1", "amount": 100, "uid": "u1", "promo_code": ["x"]}, 400),
        ("sale", {"event_id": "s1", "amount": 100, "uid": "u1", "quantity": "2"}, 400),
        ("sale", {"event_id": "s1", "amount": 100, "uid": "u1", "mrr": 1.5}, 400),
        ("sale", {"event_id": "s1", "amount": 100, "uid": "nobody"}, 404),
        ("signup", {"ref_id": "anna"}, 400),
        ("signup", {"uid": "n1", "ref_id": 7}, 400),
        ("signup", {"uid": "n1", "ref_id": "anna", "tid": []}, 400),
        ("signup", {"uid": "n1", "email": None, "ref_id": "anna"}, 400),
        ("signup", {"uid": "n1"}, 422),
        ("cancellation", {}, 400),
        ("cancellation", {"uid": "nobody"}, 404),
    ],
)
def test_tracking_call_with_invalid_body_is_rejected(client: Client, path: str, body: Any, status: int) -> None:
    response = client("POST", f"/track/{path}", json=body)
    assert response.status_code == status
    assert response.json()["message"]


def test_signup_without_referral_names_the_field(client: Client) -> None:
    assert list(client("POST", "/track/signup", json={"uid": "n1"}).json()["errors"]) == ["tid"]


def test_signup_with_banned_promoter_returns_404(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_lead(uid="u2", promoter="crook")
    sandbox.ban("crook")
    for uid, ref_id in (("n1", "crook"), ("u2", "anna")):
        assert client("POST", "/track/signup", json={"uid": uid, "ref_id": ref_id}).status_code == 404


def test_request_with_wrong_path_or_method_is_rejected(client: Client) -> None:
    assert client("GET", "/track/refund").status_code == 405
    assert client("POST", "/track/refunds").status_code == 404
