"""The sandbox against the schema that it publishes, by fuzzing; and the read side of that schema against the facts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sandbox.schema import DOCUMENT

API = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [operation.ok() for operation in API.get_all_operations()]  # type: ignore[union-attr]  # none is invalid
#: Whether valid data is accepted depends on what is recorded: an unknown lead is a 404, a known event_id a 409.
DEPENDS_ON_DATA = CHECKS.get_by_names(["positive_data_acceptance"])
#: Texts that mean something to the sandbox: random ones would be no known lead and no amount.
KNOWN = {
    "uid": "cus_1",
    "email": "jane@example.com",
    "event_id": "re_1",
    "ref_id": "anna",
    "amount": "1999",
    "quantity": "2",
    "currency": "EUR",
}


def made_known(case: Any, names: set[str]) -> Any:
    """The same request with texts that mean something in the place of some that do not."""
    if isinstance(case.body, dict):
        case.body.update({name: KNOWN[name] for name in names if isinstance(case.body.get(name), str)})
    if "id" in case.path_parameters and "event_id" in names:
        case.path_parameters["id"] = 1  # the only batch
    return case


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
def test_sandbox_responses_satisfy_its_published_schema(operation: Any, mode: GenerationMode, sandbox: Sandbox) -> None:
    """No 5xx, no status, content type or body that the schema does not name, and nothing taken that it forbids."""
    sandbox.add_lead(uid=KNOWN["uid"], email=KNOWN["email"], promoter=KNOWN["ref_id"])
    headers = {"Account-ID": sandbox.account_id, "Authorization": f"Bearer {sandbox.api_key}"}
    sandbox.batches.start(sandbox.account_id, b'{"ids": [1]}')
    # Invalid data must be refused for being invalid, not because the lead is unknown or the event_id known.
    names = {
        GenerationMode.POSITIVE: st.sets(st.sampled_from(sorted(KNOWN)), min_size=4),
        GenerationMode.NEGATIVE: st.just(KNOWN.keys() - {"event_id"}),
    }
    cases = st.builds(made_known, operation.as_strategy(mode, headers=headers), names[mode])

    @settings(max_examples=settings().max_examples * 3 // 10)
    @given(cases)
    def exchange(case: Any) -> None:
        case.call_and_validate(base_url=sandbox.base_url, excluded_checks=DEPENDS_ON_DATA, timeout=10)

    exchange()
    path = f"{operation.method.upper()} /api/v2{operation.path}".partition("{")[0]
    answered = Counter(
        status for call, statuses in sandbox.request_counts().items() if call.startswith(path) for status in statuses
    )
    assert "200" in answered if mode is GenerationMode.POSITIVE else answered.keys() & {"400", "422"}


# --- the schema against the facts, which are repeated here: a misreading must stand in two places to stay unseen ---

TEXT, WHOLE, YES_OR_NO = "string", "integer", "boolean"
BODIES: dict[str, tuple[dict[str, str], set[str]]] = {
    "refund": (
        dict.fromkeys(("event_id", "amount", "currency", "quantity", "sale_event_id"), TEXT)
        | {"skip_email_notification": YES_OR_NO},
        {"event_id", "amount"},
    ),
    "sale": (
        dict.fromkeys(("event_id", "currency", "plan", "mrr", "promo_code", "tid", "ref_id"), TEXT)
        | {"amount": WHOLE, "quantity": WHOLE, "skip_email_notification": YES_OR_NO},
        {"event_id", "amount"},
    ),
    "signup": (
        dict.fromkeys(("tid", "ref_id", "ip", "created_at"), TEXT) | {"skip_email_notification": YES_OR_NO},
        set(),
    ),
    "cancellation": ({}, set()),
}
STATUSES = {
    "refund": {"200", "204", "400", "404", "409"},
    "sale": {"200", "204", "400", "404", "409"},
    "signup": {"200", "204", "400", "404", "422"},
    "cancellation": {"200", "204", "400", "404"},
}
COMMISSION = set(
    "id status commission_type event_id sale_amount original_sale_amount original_sale_currency amount unit is_paid "
    "is_split is_self_referral fraud_check tier created_at status_updated_at referral reward promoter_campaign".split()
)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").removeprefix("#/components/schemas/")
    return DOCUMENT["components"]["schemas"][name] if name else schema


@pytest.mark.parametrize("call", BODIES)
def test_tracking_call_has_the_published_fields_types_and_statuses(call: str) -> None:
    operation = DOCUMENT["paths"][f"/track/{call}"]["post"]
    body = resolved(operation["requestBody"]["content"]["application/json"]["schema"])
    fields, required = BODIES[call]
    assert {name: schema["type"] for name, schema in body["properties"].items()} == {
        "email": TEXT,
        "uid": TEXT,
        **fields,
    }
    assert set(body.get("required", ())) == required
    assert body["oneOf"] == [{"required": ["email"]}, {"required": ["uid"]}]
    assert set(operation["responses"]) == STATUSES[call] | {"401", "403", "429"}
    assert {"$ref": "#/components/parameters/AccountId"} in operation["parameters"]


def test_commission_has_the_published_fields() -> None:
    assert set(DOCUMENT["components"]["schemas"]["Commission"]["properties"]) == COMMISSION


@pytest.mark.parametrize(("path", "item"), [("commissions", "Commission"), ("promoters", "Promoter")])
def test_lists_are_paginated_and_bare(path: str, item: str) -> None:
    operation = DOCUMENT["paths"][f"/company/{path}"]["get"]
    documented = {one["name"]: one for one in operation["parameters"] if "name" in one}
    assert all(one["in"] == "query" and not one.get("required") for one in documented.values())
    assert documented["per_page"]["schema"]["default"] == 20
    listed = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert listed == {"type": "array", "items": {"$ref": f"#/components/schemas/{item}"}}
