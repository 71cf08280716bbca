"""
The OpenAPI document that the sandbox publishes.

The refund call is the contract's, field by field; answers that the contract leaves open (401, 403, 404, 429) are
added. Of the other calls it says what the sandbox takes and answers.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def _a(kind: str, **more: Any) -> Schema:
    return {"type": kind, **more}


def _json(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_text = _a("string")
_text_or_null = _a("string", nullable=True)
_integer = _a("integer")
_moment = _a("string", format="date-time")
_cash = _object(cash=_integer)
_message = _object(message=_text)
_coded = _object(message=_text, code=_text)
_lead = {"$ref": "#/components/schemas/Lead"}

_SCHEMAS = {
    "Lead": _object(
        id=_integer,
        state=_text,
        email=_text,
        uid=_text_or_null,
        customer_since=_moment,
        cancelled_at=_moment,
        plan_name=_text_or_null,
        suspicion=_text,
        username=_text_or_null,
        website=_text_or_null,
        created_at=_moment,
        split_promotion_id=_text_or_null,
        custom_fields=_text_or_null,
        split_percentage_value=_text_or_null,
        visitor_sub_id=_text_or_null,
    ),
    "Promoter": _object(
        id=_integer,
        status=_text,
        cust_id=_text,
        email=_text,
        created_at=_moment,
        temp_password=_text_or_null,
        default_promotion_id=_integer,
        pref=_text,
        default_ref_id=_text,
        note=_text_or_null,
        w8_form_url=_text_or_null,
        w9_form_url=_text_or_null,
        parent_promoter_id=_integer,
        earnings_balance=_cash,
        current_balance=_cash,
        paid_balance=_cash,
        auth_token=_text,
    ),
    "Event": _object(
        id=_integer,
        type=_text,
        amount_cents=_integer,
        reward=_object(
            id=_integer,
            status=_text,
            amount=_integer,
            unit=_text,
            created_at=_moment,
            lead=_lead,
            event_id=_text,
            conversion_amount=_integer,
            tier_level=_integer,
            split_type=_text_or_null,
        ),
        lead=_lead,
        promoter={"$ref": "#/components/schemas/Promoter"},
    ),
    "Commission": _object(
        id=_integer,
        status=_a("string", enum=["pending", "approved", "denied"]),
        commission_type=_a("string", enum=["sale", "custom"]),
        event_id=_text_or_null,
        sale_amount=_integer,
        original_sale_amount=_integer,
        original_sale_currency=_text,
        amount=_integer,
        unit=_a("string", enum="cash credits points free_months mon_discount discount_per".split()),
        is_paid=_a("boolean"),
        tier=_integer,
        created_at=_moment,
        status_updated_at=_moment,
        referral=_object(id=_integer, email=_text_or_null, uid=_text_or_null),
        reward=_object(id=_integer, name=_text),
        promoter_campaign=_object(
            promoter_id=_integer,
            promoter=_object(id=_integer, email=_text, name=_text),
            campaign=_object(id=_integer, name=_text),
        ),
    ),
}
_EVENT = _json({"$ref": "#/components/schemas/Event"}, "Success response")
_REFUSALS = {
    "401": _json(_coded, "The API key is refused"),
    "403": _json(_coded, "The account id is refused"),
    "429": _json(_message, "The account is over its limit"),
}
_BAD = {"400": _json(_message, "Bad Request")}
_UNKNOWN = {"404": _json(_coded, "No such referral")}
_TAKEN = {"409": _json(_message, "Conflict")}
_INVALID = {
    "422": _json(
        _object(message=_text, code=_text, errors=_a("object", additionalProperties=_a("array", items=_text))),
        "Unprocessable",
    )
}


def _post(summary: str, body: Schema, answers: Schema) -> Schema:
    return {
        "post": {
            "summary": summary,
            "parameters": [{"$ref": "#/components/parameters/AccountId"}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": answers | _REFUSALS,
        }
    }


def _get(summary: str, item: str, parameters: dict[str, Schema]) -> Schema:
    listed = _a("array", items={"$ref": f"#/components/schemas/{item}"})
    return {
        "get": {
            "summary": summary,
            "parameters": [
                {"$ref": "#/components/parameters/AccountId"},
                *({"name": name, "in": "query", "schema": schema} for name, schema in parameters.items()),
            ],
            "responses": {"200": _json(listed, "One page")} | _INVALID | _REFUSALS,
        }
    }


_SOMEBODY = [{"required": ["email"]}, {"required": ["uid"]}]
_REFUND = _object(
    email=_a("string", description="Of the lead. Required if uid is not provided."),
    uid=_a("string", description="Of the lead. Required if email is not provided."),
    event_id=_a("string", description="Of the transaction or refund; what makes a duplicate known."),
    amount=_a("string", description="The refund in cents."),
    currency=_a("string", description="Only if it is not the account's own; the amount is then converted."),
    quantity=_a("string", description="How many items are refunded; optional if one."),
    sale_event_id=_a("string", description="The event_id of the sale that is refunded."),
    skip_email_notification=_a("boolean", description="Default is false."),
) | {"required": ["event_id", "amount"], "oneOf": _SOMEBODY}
_SALE = _object(
    email=_text,
    uid=_text,
    event_id=_text,
    amount=_a("integer", minimum=1),
    currency=_text,
    plan=_text,
    quantity=_integer,
    mrr=_integer,
    promo_code=_text,
    tid=_text,
    ref_id=_text,
) | {"required": ["event_id", "amount"], "anyOf": _SOMEBODY}
_SIGNUP = _object(email=_text, uid=_text, tid=_text, ref_id=_text) | {"anyOf": _SOMEBODY}
_CANCELLATION = _object(email=_text, uid=_text) | {"anyOf": _SOMEBODY}
_LEAD = _json(_lead, "Success response")
_PAGE = {
    "page": _a("integer", minimum=1, maximum=10**9, default=1),
    "per_page": _a(
        "integer", minimum=1, maximum=10**9, default=20, description="At most 100; more is cut down to that."
    ),
}
_WHOLE = _a("integer", minimum=-(2**53), maximum=2**53)
_FILTERS = {
    "q": _text,
    "ids[]": _a("array", items=_WHOLE),
    "filters[status]": _a("string", enum=["pending", "approved", "denied"]),
    "filters[created_at][from]": _a("string", format="date"),
    "filters[created_at][to]": _a("string", format="date"),
    "filters[sale_amount][from]": _WHOLE,
    "filters[sale_amount][to]": _WHOLE,
    "filters[amount][from]": _WHOLE,
    "filters[amount][to]": _WHOLE,
    "filters[refunded]": _a("boolean"),
    "filters[promoter_id]": _WHOLE,
    "filters[campaign_id]": _WHOLE,
    "sorting[created_at]": _a("string", enum=["asc", "desc"]),
}

DOCUMENT: Schema = {
    "openapi": "3.0.1",
    "info": {"title": "FirstPromoter sandbox", "version": "2"},
    "servers": [{"url": "/api/v2"}],
    "security": [{"BearerAuth": []}],
    "paths": {
        "/track/refund": _post(
            "Take back the commission of a refunded sale",
            _REFUND,
            {"200": _EVENT, "204": {"description": "No Content"}} | _BAD | _UNKNOWN | _TAKEN,
        ),
        "/track/sale": _post("Track a sale", _SALE, {"200": _EVENT} | _BAD | _UNKNOWN | _TAKEN),
        "/track/signup": _post("Track a sign-up", _SIGNUP, {"200": _LEAD} | _BAD | _UNKNOWN | _INVALID),
        "/track/cancellation": _post("Track a cancellation", _CANCELLATION, {"200": _LEAD} | _BAD | _UNKNOWN),
        "/company/commissions": _get("List commissions", "Commission", _FILTERS | _PAGE),
        "/company/promoters": _get("List promoters", "Promoter", _PAGE),
    },
    "components": {
        "parameters": {"AccountId": {"name": "Account-ID", "in": "header", "required": True, "schema": _text}},
        "schemas": _SCHEMAS,
        "securitySchemes": {"BearerAuth": {"type": "http", "scheme": "bearer"}},
    },
}
