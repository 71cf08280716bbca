"""Tests of ``POST /track/refund`` against each row of the contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_firstpromoter.sandbox import SECRET, Sandbox, Settings, running_sandbox

if TYPE_CHECKING:
    from tests.sandbox.client import Client

LEAD = set(
    "id state email uid customer_since plan_name suspicion username website created_at split_promotion_id "
    "custom_fields split_percentage_value visitor_sub_id".split()
)
PROMOTER = set(
    "id status cust_id email created_at temp_password default_promotion_id pref default_ref_id note w8_form_url "
    "w9_form_url parent_promoter_id earnings_balance current_balance paid_balance auth_token".split()
)
REWARD = set("id status amount unit created_at lead event_id conversion_amount tier_level split_type".split())


def test_refund_of_customer_returns_every_field_of_contract(client: Client) -> None:
    response = client.refund("r1", "1000")
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"id", "type", "amount_cents", "reward", "lead", "promoter"}
    assert (body["type"], body["amount_cents"]) == ("refund", -1000)
    assert set(body["reward"]) == REWARD
    assert {name: body["reward"][name] for name in ("amount", "unit", "event_id", "conversion_amount", "status")} == {
        "amount": -200,
        "unit": "cash",
        "event_id": "r1",
        "conversion_amount": -1000,
        "status": "approved",
    }
    assert set(body["lead"]) == LEAD
    assert (body["lead"]["uid"], body["lead"]["email"]) == ("u1", "one@example.com")
    assert body["reward"]["lead"] == body["lead"]
    assert set(body["promoter"]) == PROMOTER
    assert body["promoter"]["earnings_balance"] == {"cash": -200}


def test_refund_response_marks_promoter_credentials_as_secret(client: Client) -> None:
    promoter = client.refund().json()["promoter"]
    secrets = [promoter[name] for name in ("temp_password", "auth_token", "w8_form_url", "w9_form_url")]
    assert all(SECRET in secret for secret in secrets)
    assert len(set(secrets)) == 4


def test_refund_with_email_or_uid_finds_lead(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_lead(email="two@example.com")
    assert client.refund("r1", email="ONE@example.com").json()["lead"]["uid"] == "u1"
    by_mail_only = client.refund("r2", email="two@example.com").json()["lead"]
    assert by_mail_only["uid"] is None
    assert client.refund("r3", uid="two@example.com").status_code == 404


@pytest.mark.parametrize(
    "amount", [1000, 10.0, None, True, "", " ", "0", "-5", "+5", "10.0", "1e3", "abc", "٣", "1" * 16, ["1"], {}]
)
def test_refund_with_invalid_amount_returns_400(client: Client, sandbox: Sandbox, amount: Any) -> None:
    response = client.refund(amount=amount)
    assert (response.status_code, response.json()) == (400, {"message": "Error. Amount blank or invalid."})
    assert sandbox.recorded() == []


@pytest.mark.parametrize("quantity", [2, None, "0", "", "two"])
def test_refund_with_invalid_quantity_returns_400(client: Client, quantity: Any) -> None:
    response = client.refund(quantity=quantity)
    assert response.status_code == 400
    assert "Quantity" in response.json()["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"event_id": "r1", "amount": "1000"},
        {"event_id": "r1", "amount": "1000", "email": "one@example.com", "uid": "u1"},
        {"event_id": "r1", "amount": "1000", "email": None, "uid": "u1"},
        {"event_id": "r1", "amount": "1000", "email": "", "uid": "u1"},
        {"event_id": "r1", "amount": "1000", "uid": None},
        {"event_id": "r1", "amount": "1000", "uid": ""},
        {"event_id": "r1", "amount": "1000", "uid": 7},
        {"event_id": "r1", "uid": "u1"},
        {"amount": "1000", "uid": "u1"},
        {"event_id": "", "amount": "1000", "uid": "u1"},
        {"event_id": None, "amount": "1000", "uid": "u1"},
        {"event_id": 7, "amount": "1000", "uid": "u1"},
        {"event_id": "\ud800", "amount": "1000", "uid": "u1"},
        {"event_id": "r1", "amount": "1000", "uid": "u1", "currency": None},
        {"event_id": "r1", "amount": "1000", "uid": "u1", "currency": "XYZ"},
        {"event_id": "r1", "amount": "1000", "uid": "u1", "sale_event_id": 3},
        {"event_id": "r1", "amount": "1000", "uid": "u1", "skip_email_notification": "true"},
        [],
        None,
        "text",
    ],
)
def test_refund_with_body_against_schema_returns_400(sandbox: Sandbox, client: Client, body: Any) -> None:
    response = client("POST", "/track/refund", json=body)
    assert response.status_code == 400
    assert list(response.json()) == ["message"]
    assert sandbox.recorded() == []


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"amount": ' + b"1" * 5000 + b"}"])
def test_refund_with_invalid_json_returns_400(client: Client, raw: bytes) -> None:
    response = client("POST", "/track/refund", data=raw, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert list(response.json()) == ["message"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (None, 400),
        ("text/plain", 400),
        ("application/x-www-form-urlencoded", 400),
        ("application/json-patch", 400),
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
    ],
)
def test_refund_is_accepted_only_with_json_content_type(
    sandbox: Sandbox, client: Client, kind: str, status: int
) -> None:
    raw = json.dumps({"event_id": "r1", "amount": "1000", "uid": "u1"}).encode()
    assert client("POST", "/track/refund", data=raw, headers={"Content-Type": kind}).status_code == status
    assert len(sandbox.recorded()) == (status == 200)


def test_refund_with_optional_and_unknown_fields_is_recorded(sandbox: Sandbox, client: Client) -> None:
    response = client.refund(
        "r1", "1000", quantity="3", sale_event_id="s1", currency="usd", skip_email_notification=True, extra={"a": 1}
    )
    assert response.status_code == 200
    [refund] = sandbox.recorded()
    assert (refund.quantity, refund.sale_event_id, refund.currency) == (3, "s1", "USD")
    assert sandbox.refund_requests()[0].body["extra"] == {"a": 1}


@pytest.mark.parametrize("event_id", ["r1", "x" * 300, " spaced ", "🧾", "R'; DROP TABLE refunds; --", "{{ x }}"])
def test_refund_with_used_event_id_returns_409_and_keeps_event_id_unchanged(
    sandbox: Sandbox, client: Client, event_id: str
) -> None:
    assert client.refund(event_id).json()["reward"]["event_id"] == event_id
    again = client.refund(event_id, "1", email="nobody@example.com")
    assert again.status_code == 409
    assert again.json() == {"message": f"The 'refund' event with the id '{event_id}' already exists."}
    assert [refund.event_id for refund in sandbox.recorded()] == [event_id]


def test_refunds_with_event_ids_of_different_case_are_distinct(client: Client) -> None:
    assert [client.refund(event_id).status_code for event_id in ("r1", "R1", "r1 ")] == [200, 200, 200]


def test_refund_with_event_id_of_sale_is_recorded(client: Client) -> None:
    sale = client("POST", "/track/sale", json={"event_id": "e1", "amount": 1000, "uid": "u1"})
    assert (sale.status_code, client.refund("e1").status_code) == (200, 200)


def test_refund_of_unknown_lead_returns_404_and_leaves_event_id_unused(sandbox: Sandbox, client: Client) -> None:
    response = client.refund("r1", uid="u2")
    assert response.status_code == 404
    assert set(response.json()) == {"message", "code"}
    assert response.json()["code"] == "not_found"
    sandbox.add_lead(uid="u2")
    assert client.refund("r1", uid="u2").status_code == 200


def test_refund_of_lead_of_banned_promoter_returns_404(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_lead(uid="u2", promoter="crook")
    sandbox.ban("crook")
    assert client.refund(uid="u2").json()["code"] == "not_found"
    assert client.refund(uid="u1").status_code == 200


def test_refund_of_lead_without_sale_returns_204_and_leaves_event_id_unused(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_lead(uid="u2", bought=False)
    response = client.refund("r1", uid="u2")
    assert (response.status_code, response.content) == (204, b"")
    assert sandbox.recorded() == []
    assert client.refund("r1", uid="u1").status_code == 200


def test_refund_of_lead_without_sale_with_consume_event_id_on_204_uses_event_id(
    client_of: Callable[..., Client],
) -> None:
    with running_sandbox(Settings(requests_per_minute=0, consume_event_id_on_204=True)) as sandbox:
        sandbox.add_lead(uid="u2", bought=False)
        client = client_of(sandbox)
        assert [client.refund("r1", uid="u2").status_code for _ in range(2)] == [204, 409]


def test_refund_with_promoter_paid_in_credits_returns_reward_in_credits(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_lead(uid="u2", promoter="saver", unit="credits")
    body = client.refund(uid="u2", amount="505").json()
    assert (body["reward"]["amount"], body["reward"]["unit"]) == (-101, "credits")
    assert body["promoter"]["earnings_balance"] == {"cash": 0}


@pytest.mark.parametrize(
    ("amount", "currency", "cents"),
    [
        ("1000", "USD", -1000),
        ("1000", "EUR", -1250),  # 10.00 euros at 1.25 dollars
        ("1000", "JPY", -1000),  # 1000 yen at 1 cent each, because yen have no decimals
        ("1000", "ISK", -1000),
        ("1000", "KWD", -3000),  # 10 dinars at 3 dollars: FirstPromoter counts hundredths, ISO 4217 thousandths
        ("1", "SEK", 0),  # a tenth of a cent
    ],
)
def test_refund_in_other_currency_is_converted(
    sandbox: Sandbox, client: Client, amount: Any, currency: str, cents: int
) -> None:
    assert client.refund("r1", amount, currency=currency).json()["amount_cents"] == cents
    [refund] = sandbox.recorded()
    assert (refund.original_amount, refund.currency) == (-int(amount), currency)


def test_refunds_of_two_accounts_are_kept_apart(
    sandbox: Sandbox, client: Client, client_of: Callable[..., Client]
) -> None:
    other = client_of(sandbox, sandbox.settings.accounts[1])
    assert other.refund("r1", uid="u1").status_code == 404
    sandbox.add_lead(uid="u1", account="other-account")
    assert client.refund("r1").json()["amount_cents"] == -1000
    assert other.refund("r1").json()["amount_cents"] == -1000
    assert other.refund("r2", currency="USD").json()["amount_cents"] == -800
    assert [refund.event_id for refund in sandbox.recorded(account="other-account")] == ["r1", "r2"]
    assert len(sandbox.recorded()) == 3


def test_refund_response_is_uncompressed_json(client: Client) -> None:
    response = client.refund()
    assert response.headers["content-type"].startswith("application/json")
    assert int(response.headers["content-length"]) == len(response.content)
    assert json.loads(response.content)["type"] == "refund"


def test_refund_with_newer_shape_returns_its_commissions_as_they_are_listed(sandbox: Sandbox, client: Client) -> None:
    sandbox.change_settings(shape="newer")
    body = client.refund("r1", "1000", currency="EUR").json()
    fields = "id etype sale_amount original_sale_amount original_sale_currency event_id plan_id billing_period"
    assert set(body) == {*fields.split(), "created_at", "referral", "commissions"}
    assert (body["etype"], body["sale_amount"], body["original_sale_amount"]) == ("refund", -1250, -1000)
    assert (body["referral"]["uid"], body["referral"]["email"]) == ("u1", "one@example.com")
    assert body["commissions"] == client("GET", "/company/commissions", params={"q": "r1"}).json()
    assert [each["amount"] for each in body["commissions"]] == [-250]


@pytest.mark.parametrize("shape", ["older", "newer"])
def test_fault_without_commissions_leaves_them_out_of_the_200_and_keeps_them(
    sandbox: Sandbox, client: Client, shape: Any
) -> None:
    sandbox.change_settings(shape=shape)
    sandbox.fault("no_commissions", event_id="r1")
    sandbox.fault("empty_commissions", event_id="r2")
    neither, empty = (client.refund(event_id).json() for event_id in ("r1", "r2"))
    assert not {"reward", "commissions"} & set(neither)
    assert ("reward" in empty, empty["commissions"]) == (False, [])
    assert all(type(body["id"]) is int for body in (neither, empty))
    assert [each["event_id"] for each in client("GET", "/company/commissions").json()] == ["r2", "r1"]
