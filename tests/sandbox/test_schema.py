"""Tests of the published OpenAPI document against the contract, whose fields are repeated here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.client import Client

TEXT = {"type": "string"}
TEXT_OR_NULL = {"type": "string", "nullable": True}
WHOLE = {"type": "integer"}
MOMENT = {"type": "string", "format": "date-time"}
CASH = {"type": "object", "properties": {"cash": WHOLE}}
LEAD_REF = {"$ref": "#/components/schemas/Lead"}

BODY = {
    "email": TEXT,
    "uid": TEXT,
    "event_id": TEXT,
    "amount": TEXT,
    "currency": TEXT,
    "quantity": TEXT,
    "sale_event_id": TEXT,
    "skip_email_notification": {"type": "boolean"},
}
REWARD = {
    "id": WHOLE,
    "status": TEXT,
    "amount": WHOLE,
    "unit": TEXT,
    "created_at": MOMENT,
    "lead": LEAD_REF,
    "event_id": TEXT,
    "conversion_amount": WHOLE,
    "tier_level": WHOLE,
    "split_type": TEXT_OR_NULL,
}
LEAD: dict[str, Any] = {
    "id": WHOLE,
    "state": TEXT,
    "email": TEXT,
    "uid": TEXT_OR_NULL,
    "customer_since": MOMENT,
    "cancelled_at": MOMENT,
    "plan_name": TEXT_OR_NULL,
    "suspicion": TEXT,
    "username": TEXT_OR_NULL,
    "website": TEXT_OR_NULL,
    "created_at": MOMENT,
    "split_promotion_id": TEXT_OR_NULL,
    "custom_fields": TEXT_OR_NULL,
    "split_percentage_value": TEXT_OR_NULL,
    "visitor_sub_id": TEXT_OR_NULL,
}
PROMOTER: dict[str, Any] = {
    "id": WHOLE,
    "status": TEXT,
    "cust_id": TEXT,
    "email": TEXT,
    "created_at": MOMENT,
    "temp_password": TEXT_OR_NULL,
    "default_promotion_id": WHOLE,
    "pref": TEXT,
    "default_ref_id": TEXT,
    "note": TEXT_OR_NULL,
    "w8_form_url": TEXT_OR_NULL,
    "w9_form_url": TEXT_OR_NULL,
    "parent_promoter_id": WHOLE,
    "earnings_balance": CASH,
    "current_balance": CASH,
    "paid_balance": CASH,
    "auth_token": TEXT,
}


@pytest.fixture
def document(client: Client) -> Any:
    return client.session.get(f"{client.root}/openapi.json", timeout=5).json()


@pytest.fixture
def refund(document: dict[str, Any]) -> Any:
    return document["paths"]["/track/refund"]["post"]


def bare(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in schema.items() if key != "description"}
        for name, schema in properties.items()
    }


def test_schema_of_refund_request_body_equals_contract(refund: dict[str, Any]) -> None:
    assert refund["requestBody"]["required"] is True
    schema = refund["requestBody"]["content"]["application/json"]["schema"]
    assert schema["type"] == "object"
    assert schema["required"] == ["event_id", "amount"]
    assert schema["oneOf"] == [{"required": ["email"]}, {"required": ["uid"]}]
    assert bare(schema["properties"]) == BODY
    assert set(schema) == {"type", "properties", "required", "oneOf"}


def test_schema_of_refund_responses_equals_contract(document: dict[str, Any], refund: dict[str, Any]) -> None:
    responses = refund["responses"]
    assert set(responses) == {"200", "204", "400", "401", "403", "404", "409", "429"}
    assert responses["204"] == {"description": "No Content"}
    for status in ("400", "409"):
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema == {"type": "object", "properties": {"message": TEXT}}
    assert set(responses["404"]["content"]["application/json"]["schema"]["properties"]) == {"message", "code"}
    event = document["components"]["schemas"]["Event"]["properties"]
    assert {name: event[name] for name in ("id", "type", "amount_cents")} == {
        "id": WHOLE,
        "type": TEXT,
        "amount_cents": WHOLE,
    }
    assert event["reward"]["properties"] == REWARD
    assert event["lead"] == LEAD_REF
    assert event["promoter"] == {"$ref": "#/components/schemas/Promoter"}
    assert len(event) == 6


def test_schema_of_lead_and_promoter_equals_contract(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["Lead"]["properties"] == LEAD
    assert document["components"]["schemas"]["Promoter"]["properties"] == PROMOTER


def test_schema_of_authentication_equals_contract(document: dict[str, Any], refund: dict[str, Any]) -> None:
    assert document["security"] == [{"BearerAuth": []}]
    assert document["components"]["securitySchemes"]["BearerAuth"] == {"type": "http", "scheme": "bearer"}
    assert refund["parameters"] == [{"$ref": "#/components/parameters/AccountId"}]
    assert document["components"]["parameters"]["AccountId"] == {
        "name": "Account-ID",
        "in": "header",
        "required": True,
        "schema": TEXT,
    }


def test_schema_paths_are_served_and_exclude_control_endpoints(client: Client, document: dict[str, Any]) -> None:
    assert document["servers"] == [{"url": "/api/v2"}]
    assert len(document["paths"]) == 10
    for path, methods in document["paths"].items():
        for method in methods:
            response = client(method.upper(), path.replace("{id}", "1"), headers={"Authorization": None})
            assert response.status_code == 401


def test_schema_of_commission_changes_has_documented_fields_and_statuses(client: Client, document: Any) -> None:
    for path, method in (("approve", "post"), ("deny", "post"), ("destroy", "delete")):
        call = document["paths"][f"/company/commissions/{path}"][method]
        assert call["requestBody"]["content"]["application/json"]["schema"]["required"] == ["ids"]
        assert set(call["responses"]) == {"200", "202", "401", "403", "422", "429"}
    batch = document["components"]["schemas"]["BatchProcess"]["properties"]
    assert batch["status"]["enum"] == ["pending", "in_progress", "completed", "failed", "stopped"]
    number = client.refund().json()["reward"]["id"]
    assert set(batch) == set(client("POST", "/company/commissions/deny", json={"ids": [number]}).json())


def test_schema_references_all_resolve(document: Any) -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from ([node["$ref"]] if "$ref" in node else [])
            node = list(node.values())
        if isinstance(node, list):
            for each in node:
                yield from references(each)

    for reference in references(document):
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_refund_response_has_fields_and_types_of_schema(client: Client) -> None:
    """Compares the response with this file's fields, which the other tests compare with the published schema."""
    kinds: dict[str, Any] = {"string": str, "integer": int, "object": dict}

    def check(value: dict[str, Any], properties: dict[str, Any]) -> None:
        for name, each in value.items():
            schema = properties[name]
            if "$ref" in schema:
                check(each, LEAD if schema == LEAD_REF else PROMOTER)
            elif each is None:
                assert schema.get("nullable"), name
            else:
                assert type(each) is kinds[schema["type"]], name
                if schema["type"] == "object":
                    check(each, schema["properties"])

    event: dict[str, Any] = {
        "id": WHOLE,
        "type": TEXT,
        "amount_cents": WHOLE,
        "reward": {"type": "object", "properties": REWARD},
        "lead": LEAD_REF,
        "promoter": {"$ref": "#/components/schemas/Promoter"},
    }
    check(client.refund("r1").json(), event)
    client("POST", "/track/cancellation", json={"uid": "u1"})
    check(client.refund("r2").json(), event)
