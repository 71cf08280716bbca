"""Tests of the sale, signup and cancellation calls, and of the commissions that one event makes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_firstpromoter.sandbox import Balance, Sandbox

if TYPE_CHECKING:
    from tests.sandbox.client import Client

NEWER = set(
    "id etype sale_amount original_sale_amount original_sale_currency event_id plan_id billing_period created_at "
    "referral commissions".split()
)


def sale(client: Client, event_id: str = "s1", amount: Any = 1000, **body: Any) -> Any:
    body = body if {"email", "uid"} & set(body) else {"uid": "u1", **body}
    return client("POST", "/track/sale", json={"event_id": event_id, "amount": amount, **body})


def commissions(client: Client) -> list[tuple[str, str, int, int, bool]]:
    """Return event_id, promoter, tier, amount and whether it is split, oldest commission first."""
    listed = client("GET", "/company/commissions", params={"sorting[created_at]": "asc", "per_page": 100}).json()
    return [
        (
            each["event_id"],
            each["promoter_campaign"]["promoter"]["name"],
            each["tier"],
            each["amount"],
            each["is_split"],
        )
        for each in listed
    ]


def test_lead_from_signup_to_refund_passes_through_every_state(client: Client) -> None:
    signup = client("POST", "/track/signup", json={"uid": "n1", "ref_id": "anna", "created_at": "2026-01-31T10:00:00Z"})
    assert signup.status_code == 200
    assert set(signup.json()) == NEWER
    assert {name: signup.json()[name] for name in ("etype", "event_id", "sale_amount", "commissions")} == {
        "etype": "signup",
        "event_id": None,
        "sale_amount": None,
        "commissions": [],
    }
    assert client.refund("r1", uid="n1").status_code == 204

    sold = sale(client, "s1", 5000, uid="n1", plan="pro", mrr="0", quantity=2, promo_code="SPRING", currency="EUR")
    assert sold.status_code == 200
    body = sold.json()
    assert set(body) == NEWER
    assert (body["etype"], body["sale_amount"], body["original_sale_amount"], body["plan_id"]) == (
        "sale",
        6250,
        5000,
        "pro",
    )
    assert body["referral"] == {"id": signup.json()["referral"]["id"], "email": None, "uid": "n1"}
    assert body["commissions"] == client("GET", "/company/commissions").json()

    for _ in range(2):
        cancelled = client("POST", "/track/cancellation", json={"uid": "n1"}).json()
        assert (cancelled["type"], cancelled["amount_cents"], cancelled["reward"]) == ("cancellation", None, None)
        assert (cancelled["lead"]["state"], cancelled["lead"]["plan_name"]) == ("cancelled", "pro")

    refund = client.refund("r1", "5000", uid="n1", currency="EUR").json()
    assert refund["reward"]["amount"] == -1250
    assert refund["promoter"]["earnings_balance"] == {"cash": 0}


@pytest.mark.parametrize("referral", [{"tid": "visitor-anna"}, {"ref_id": "anna"}])
def test_sale_or_signup_with_referral_of_new_customer_creates_lead(client: Client, referral: dict[str, str]) -> None:
    assert sale(client, email="x@example.com", **referral).status_code == 200
    assert client("POST", "/track/signup", json={"uid": "n1", **referral}).status_code == 200
    assert client.refund(email="x@example.com").json()["promoter"]["default_ref_id"] == "anna"
    assert sale(client, "s2", uid="n1").json()["commissions"][0]["promoter_campaign"]["promoter"]["name"] == "anna"


def test_sale_without_lead_returns_404_with_code_and_leaves_event_id_unused(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_lead(uid="u2", promoter="crook")
    sandbox.ban("crook")
    for unknown in ({"uid": "nobody"}, {"uid": "u2"}, {"uid": "u2", "ref_id": "anna"}, {"uid": "x", "tid": "unknown"}):
        response = sale(client, **unknown)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert sale(client).status_code == 200


def test_calls_with_unreferred_status_204_answer_unknown_customers_with_it(sandbox: Sandbox, client: Client) -> None:
    sandbox.change_settings(unreferred_status=204)
    cancelled = client("POST", "/track/cancellation", json={"uid": "nobody"})
    responses = [sale(client, uid="nobody"), client.refund(uid="nobody"), cancelled]
    assert [(response.status_code, response.content) for response in responses] == [(204, b"")] * 3
    assert sale(client).status_code == 200


def test_event_with_used_event_id_returns_409_that_names_its_kind(sandbox: Sandbox, client: Client) -> None:
    assert [sale(client, "e1").status_code, client.refund("e1").status_code] == [200, 200]
    duplicates = [sale(client, "e1", 5), client.refund("e1")]
    assert [each.status_code for each in duplicates] == [409, 409]
    assert [each.json()["message"] for each in duplicates] == [
        "The 'sale' event with the id 'e1' already exists.",
        "The 'refund' event with the id 'e1' already exists.",
    ]
    sandbox.change_settings(conflict_message="Duplicate {kind} ({event_id})")
    assert sale(client, "e1").json() == {"message": "Duplicate sale (e1)"}


def test_signup_of_a_lead_returns_422_without_a_message(client: Client) -> None:
    again = client("POST", "/track/signup", json={"uid": "u1", "ref_id": "anna"})
    assert again.status_code == 422
    assert again.json() == {"transaction_id": "there is already a signup event registered on this lead"}


def test_signup_of_unknown_visitor_or_banned_promoter_returns_404(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_lead(uid="u2", promoter="crook")
    sandbox.ban("crook")
    for body in ({"uid": "n1", "tid": "unknown"}, {"uid": "n1", "ref_id": "crook"}, {"uid": "u2", "ref_id": "anna"}):
        response = client("POST", "/track/signup", json=body)
        assert (response.status_code, list(response.json())) == (404, ["message"])


# --- tiers and splits ---


@pytest.fixture
def family(sandbox: Sandbox) -> None:
    """Lead ``u2`` of anna, whose parent is ben, whose parent is cleo; and ``u3`` of anna and dora together."""
    sandbox.add_lead(uid="u2", promoter="anna", parent="ben")
    sandbox.add_lead(uid="u3", promoter="anna", split="dora")
    sandbox.add_lead(uid="u4", promoter="ben", parent="cleo")


@pytest.mark.usefixtures("family")
def test_sale_and_refund_with_parents_make_a_commission_for_each_tier(sandbox: Sandbox, client: Client) -> None:
    assert len(sale(client, "s1", 1000, uid="u2").json()["commissions"]) == 3
    assert client.refund("r1", "1000", uid="u2").json()["reward"]["amount"] == -200
    assert commissions(client) == [
        ("s1", "anna", 1, 200, False),
        ("s1", "ben", 2, 50, False),
        ("s1", "cleo", 3, 50, False),
        ("r1", "anna", 1, -200, False),
        ("r1", "ben", 2, -50, False),
        ("r1", "cleo", 3, -50, False),
    ]
    assert [(each.promoter_ref_id, each.amount) for each in sandbox.balances()] == [
        ("anna", 0),
        ("ben", 0),
        ("cleo", 0),
    ]
    (recorded,) = sandbox.recorded()
    assert recorded.reward_amount == -300
    assert [(each.promoter_ref_id, each.tier, each.amount) for each in recorded.commissions] == [
        ("anna", 1, -200),
        ("ben", 2, -50),
        ("cleo", 3, -50),
    ]


@pytest.mark.usefixtures("family")
def test_sale_with_split_shares_the_first_tier(client: Client) -> None:
    sale(client, "s1", 1005, uid="u3")
    client.refund("r1", "1005", uid="u3")
    assert commissions(client) == [
        ("s1", "anna", 1, 101, True),
        ("s1", "dora", 1, 100, True),
        ("s1", "ben", 2, 50, False),
        ("s1", "cleo", 3, 50, False),
        ("r1", "anna", 1, -101, True),
        ("r1", "dora", 1, -100, True),
        ("r1", "ben", 2, -50, False),
        ("r1", "cleo", 3, -50, False),
    ]


@pytest.mark.usefixtures("family")
def test_later_tiers_with_delay_are_made_after_requests_or_time(sandbox: Sandbox, client: Client) -> None:
    sandbox.change_settings(tier_delay_requests=1)
    assert len(sale(client, "s1", uid="u2").json()["commissions"]) == 1
    assert [len(commissions(client)) for _ in range(2)] == [1, 3]
    sandbox.change_settings(tier_delay_requests=0, tier_delay_seconds=0.2)
    client.refund("r1", uid="u2")
    assert len(sandbox.recorded()[0].commissions) == 1
    time.sleep(0.2)
    assert len(sandbox.recorded()[0].commissions) == 3
    assert [each.amount for each in sandbox.balances()] == [0, 0, 0]


def test_balances_after_sales_and_refunds_are_net_by_promoter_and_unit(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_lead(uid="u5", promoter="anna", parent="saver")
    for number in range(3):
        sale(client, f"s{number}", 1000 + number, uid="u5")
    client.refund("r0", "1000", uid="u5")
    assert sandbox.balances() == [
        Balance("sandbox-account", 2, "anna", "cash", 400),
        Balance("sandbox-account", 3, "saver", "cash", 100),
    ]
    assert [(event.event_id, event.kind) for event in sandbox.recorded(None)] == [
        ("s0", "sale"),
        ("s1", "sale"),
        ("s2", "sale"),
        ("r0", "refund"),
    ]
    assert client.control("GET", "/recorded", params={"kind": "sale"}).json()[0]["event_id"] == "s0"
    assert [request.body["event_id"] for request in sandbox.sale_requests()] == ["s0", "s1", "s2"]


def test_two_leads_with_one_address_are_told_apart_by_uid(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_leads([{"uid": uid, "email": "shared@example.com", "promoter": uid} for uid in ("a", "b")])
    by_uid = [client.refund(f"r_{uid}", uid=uid).json()["lead"]["uid"] for uid in ("a", "b")]
    assert by_uid == ["a", "b"]
    assert client.refund("r3", email="shared@example.com").json()["lead"]["uid"] == "a"


def test_list_with_page_size_gives_shorter_pages_than_asked_and_all_commissions(
    sandbox: Sandbox, client: Client
) -> None:
    sandbox.change_settings(listing_page_size=2)
    sandbox.add_commissions({"uid": "u1", "event_id": f"r{number}", "sale_amount": -1} for number in range(5))
    pages = [
        client("GET", "/company/commissions", params={"per_page": 100, "page": page}).json() for page in range(1, 5)
    ]
    assert [[each["event_id"] for each in page] for page in pages] == [["r4", "r3"], ["r2", "r1"], ["r0"], []]


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
        ("sale", {"event_id": "s1", "amount": 100, "uid": "u1", "email": "one@example.com"}, 400),
        ("sale", {"event_id": "s1", "amount": 100, "uid": "u1", "mrr": 100}, 400),
        ("sale", {"event_id": "s1", "amount": 100, "uid": "u1", "quantity": 0}, 400),
        ("sale", {"event_id": "s1", "amount": 100, "uid": "u1", "currency": "XYZ"}, 400),
        ("signup", {"uid": "n1"}, 400),
        ("signup", {"uid": "n1", "email": "n@example.com", "ref_id": "anna"}, 400),
        ("signup", {"uid": "n1", "ref_id": "anna", "created_at": "yesterday"}, 400),
        ("cancellation", {}, 400),
        ("cancellation", {"uid": "nobody"}, 404),
    ],
)
def test_tracking_call_with_invalid_body_is_rejected(client: Client, path: str, body: Any, status: int) -> None:
    response = client("POST", f"/track/{path}", json=body)
    assert response.status_code == status
    assert response.json()["message"]


def test_request_with_wrong_path_or_method_is_rejected(client: Client) -> None:
    assert client("GET", "/track/refund").status_code == 405
    assert client("POST", "/track/refunds").status_code == 404
