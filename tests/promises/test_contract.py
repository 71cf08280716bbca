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
    sandbox.batches.start(sandbox.account_id, "deny", b'{"ids": [1]}')
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


# --- what the page of the refund call does not describe: reading commissions, and the calls that create leads ---

TEXT = {"type": "string"}
TEXT_OR_NULL = {"type": "string", "nullable": True}
WHOLE = {"type": "integer"}
MOMENT = {"type": "string", "format": "date-time"}
DAY = {"type": "string", "format": "date"}
YES_OR_NO = {"type": "boolean"}


def one_of(words: str) -> dict[str, Any]:
    return {"type": "string", "enum": words.split()}


def record(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


COMMISSION = {
    "id": WHOLE,
    "status": one_of("pending approved denied"),
    "commission_type": one_of("sale custom"),
    "event_id": TEXT_OR_NULL,
    "sale_amount": WHOLE,
    "original_sale_amount": WHOLE,
    "original_sale_currency": TEXT,
    "amount": WHOLE,
    "unit": one_of("cash credits points free_months mon_discount discount_per"),
    "is_paid": YES_OR_NO,
    "tier": WHOLE,
    "created_at": MOMENT,
    "status_updated_at": MOMENT,
    "referral": record(id=WHOLE, email=TEXT_OR_NULL, uid=TEXT_OR_NULL),
    "is_split": YES_OR_NO,
    "is_self_referral": YES_OR_NO,
    "fraud_check": TEXT,
    "reward": record(id=WHOLE, name=TEXT),
    "promoter_campaign": record(
        id=WHOLE,
        campaign_id=WHOLE,
        promoter_id=WHOLE,
        promoter=record(id=WHOLE, email=TEXT, name=TEXT),
        campaign=record(id=WHOLE, name=TEXT),
    ),
}
FILTERS = {
    "q": TEXT,
    "ids[]": {"type": "array"},
    "filters[status]": one_of("pending approved denied"),
    "filters[created_at][from]": DAY,
    "filters[created_at][to]": DAY,
    "filters[sale_amount][from]": WHOLE,
    "filters[sale_amount][to]": WHOLE,
    "filters[amount][from]": WHOLE,
    "filters[amount][to]": WHOLE,
    "filters[refunded]": YES_OR_NO,
    "filters[promoter_id]": WHOLE,
    "filters[campaign_id]": WHOLE,
    "sorting[created_at]": one_of("asc desc"),
}
PAGE = {"page": WHOLE, "per_page": WHOLE}
SALE = {
    "event_id": TEXT,
    "amount": WHOLE,  # a number here, where the refund call wants a text
    "email": TEXT,
    "uid": TEXT,
    "currency": TEXT,
    "plan": TEXT,
    "quantity": WHOLE,
    "mrr": WHOLE,
    "promo_code": TEXT,
    "tid": TEXT,
    "ref_id": TEXT,
}


def operation_of(path: str) -> dict[str, Any]:
    (operation,) = DOCUMENT["paths"][path].values()
    return operation


def kind(schema: dict[str, Any]) -> dict[str, Any]:
    """What sort of value it is, without bounds, defaults and words: the contract has none of those."""
    return {name: value for name, value in schema.items() if name in ("type", "format", "enum")}


def test_commission_has_the_published_fields() -> None:
    assert DOCUMENT["components"]["schemas"]["Commission"] == record(**COMMISSION)


@pytest.mark.parametrize(
    ("path", "item", "parameters"),
    [
        ("/company/commissions", "Commission", FILTERS | PAGE),
        ("/company/promoters", "Promoter", PAGE),
    ],
)
def test_commissions_are_a_paginated_bare_list(path: str, item: str, parameters: dict[str, Any]) -> None:
    operation = operation_of(path)
    documented = {one["name"]: one for one in operation["parameters"] if "name" in one}
    assert {name: kind(one["schema"]) for name, one in documented.items()} == parameters
    assert all(one["in"] == "query" and not one.get("required") for one in documented.values())
    assert documented["per_page"]["schema"]["default"] == 20
    listed = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert listed == {"type": "array", "items": {"$ref": f"#/components/schemas/{item}"}}


@pytest.mark.parametrize(
    ("path", "fields", "required", "statuses"),
    [
        ("/track/sale", SALE, {"event_id", "amount"}, {"200", "400", "404", "409"}),
        ("/track/signup", dict.fromkeys(("email", "uid", "tid", "ref_id"), TEXT), set(), {"200", "400", "404", "422"}),
        ("/track/cancellation", dict.fromkeys(("email", "uid"), TEXT), set(), {"200", "400", "404"}),
    ],
)
def test_lead_calls_take_email_or_uid_or_both(
    path: str, fields: dict[str, Any], required: set[str], statuses: set[str]
) -> None:
    operation = operation_of(path)
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert {name: kind(schema) for name, schema in body["properties"].items()} == fields
    assert set(body.get("required", ())) == required
    assert body["anyOf"] == [{"required": ["email"]}, {"required": ["uid"]}]
    assert "oneOf" not in body
    assert set(operation["responses"]) == statuses | {"401", "403", "429"}
    assert {"$ref": "#/components/parameters/AccountId"} in operation["parameters"]
