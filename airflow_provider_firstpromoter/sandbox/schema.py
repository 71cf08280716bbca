"""
The OpenAPI document that the sandbox publishes.

Its refund call has the fields of FirstPromoter's contract, and the responses that the contract leaves open (401, 403,
404, 429). For the other calls it describes what the sandbox accepts and returns.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def _type(name: str, **keywords: Any) -> Schema:
    return {"type": name, **keywords}


def _json(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_text = _type("string")
_text_or_null = _type("string", nullable=True)
_integer = _type("integer")
_datetime = _type("string", format="date-time")
_cash = _object(cash=_integer)
_message = _object(message=_text)
_message_and_code = _object(message=_text, code=_text)
_lead = {"$ref": "#/components/schemas/Lead"}

_SCHEMAS = {
    "Lead": _object(
        id=_integer,
        state=_text,
        email=_text,
        uid=_text_or_null,
        customer_since=_datetime,
        cancelled_at=_datetime,
        plan_name=_text_or_null,
        suspicion=_text,
        username=_text_or_null,
        website=_text_or_null,
        created_at=_datetime,
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
        created_at=_datetime,
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
            created_at=_datetime,
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
        status=_type("string", enum=["pending", "approved", "denied"]),
        commission_type=_type("string", enum=["sale", "custom"]),
        event_id=_text_or_null,
        sale_amount=_integer,
        original_sale_amount=_integer,
        original_sale_currency=_text,
        amount=_integer,
        unit=_type("string", enum="cash credits points free_months mon_discount discount_per".split()),
        is_paid=_type("boolean"),
        tier=_integer,
        created_at=_datetime,
        status_updated_at=_datetime,
        referral=_object(id=_integer, email=_text_or_null, uid=_text_or_null),
        is_split=_type("boolean"),
        is_self_referral=_type("boolean"),
        fraud_check=_text,
        reward=_object(id=_integer, name=_text),
        promoter_campaign=_object(
            id=_integer,
            campaign_id=_integer,
            promoter_id=_integer,
            promoter=_object(id=_integer, email=_text, name=_text),
            campaign=_object(id=_integer, name=_text),
        ),
    ),
    "NewerEvent": _object(
        id=_integer,
        etype=_text,
        sale_amount=_integer,
        original_sale_amount=_integer,
        original_sale_currency=_text_or_null,
        event_id=_text_or_null,
        plan_id=_text_or_null,
        billing_period=_text_or_null,
        created_at=_datetime,
        referral=_object(id=_integer, email=_text_or_null, uid=_text_or_null),
        commissions=_type("array", items={"$ref": "#/components/schemas/Commission"}),
    ),
    "BatchProcess": _object(
        id=_integer,
        status=_type("string", enum="pending in_progress completed failed stopped".split()),
        total=_integer,
        selected_total=_integer,
        processed_count=_integer,
        failed_count=_integer,
        action_label=_text,
        created_at=_datetime,
        updated_at=_datetime,
        meta=_type("object"),
        progress=_type("integer", minimum=0, maximum=100),
        processing_errors=_type("array", items=_text),
    ),
}
_EVENT = _json(
    {"anyOf": [{"$ref": f"#/components/schemas/{shape}"} for shape in ("Event", "NewerEvent")]}, "Success response"
)
_COMMON_ERRORS = {
    "401": _json(_message_and_code, "The API key is missing or unknown"),
    "403": _json(_message_and_code, "The account id does not match the API key"),
    "429": _json(_message, "The account is over its rate limit"),
}
_BAD_REQUEST = {"400": _json(_message, "Bad Request")}
_BATCH = {"$ref": "#/components/schemas/BatchProcess"}
_SAFE_INTEGER = _type("integer", minimum=-(2**53), maximum=2**53)
_NOT_FOUND = {"404": _json(_message_and_code, "Referral not found")}
_CONFLICT = {"409": _json(_message, "Conflict")}
_UNPROCESSABLE = {
    "422": _json(
        _object(message=_text, code=_text, errors=_type("object", additionalProperties=_type("array", items=_text))),
        "Unprocessable",
    )
}


def _post(summary: str, body: Schema, responses: Schema) -> Schema:
    return {
        "post": {
            "summary": summary,
            "parameters": [{"$ref": "#/components/parameters/AccountId"}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": responses | _COMMON_ERRORS,
        }
    }


def _change_commissions(method: str, summary: str) -> Schema:
    ids = _type("array", items=_SAFE_INTEGER, minItems=1)
    call = _post(
        summary,
        _object(ids=ids) | {"required": ["ids"]},
        {
            "200": _json(_BATCH, "One to five commissions, which are processed"),
            "202": _json(_BATCH, "More than five commissions, which are processed later"),
            "422": _json(_message_and_code, "The body has no list of ids"),
        },
    )
    return {method: call["post"]}


def _get(summary: str, item: str, parameters: dict[str, Schema]) -> Schema:
    page = _type("array", items={"$ref": f"#/components/schemas/{item}"})
    return {
        "get": {
            "summary": summary,
            "parameters": [
                {"$ref": "#/components/parameters/AccountId"},
                *({"name": name, "in": "query", "schema": schema} for name, schema in parameters.items()),
            ],
            "responses": {"200": _json(page, "One page")} | _UNPROCESSABLE | _COMMON_ERRORS,
        }
    }


_EMAIL_OR_UID = [{"required": ["email"]}, {"required": ["uid"]}]
_REFUND = _object(
    email=_type("string", description="The lead's e-mail address. Required if uid is not provided."),
    uid=_type("string", description="The lead's uid. Required if email is not provided."),
    event_id=_type("string", description="The id of the transaction or refund, used to detect duplicates."),
    amount=_type("string", description="The refunded amount in cents."),
    currency=_type(
        "string",
        description="The currency of the amount, if it is not the account's.",
    ),
    quantity=_type("string", description="The number of refunded items. Default is 1."),
    sale_event_id=_type("string", description="The event_id of the refunded sale."),
    skip_email_notification=_type("boolean", description="Default is false."),
) | {"required": ["event_id", "amount"], "oneOf": _EMAIL_OR_UID}
_SALE = _object(
    email=_text,
    uid=_text,
    event_id=_text,
    amount=_type("integer", minimum=1),
    currency=_text,
    plan=_text,
    quantity=_integer,
    mrr=_integer,
    promo_code=_text,
    tid=_text,
    ref_id=_text,
) | {"required": ["event_id", "amount"], "anyOf": _EMAIL_OR_UID}
_SIGNUP = _object(email=_text, uid=_text, tid=_text, ref_id=_text) | {"anyOf": _EMAIL_OR_UID}
_CANCELLATION = _object(email=_text, uid=_text) | {"anyOf": _EMAIL_OR_UID}
_LEAD = _json(_lead, "Success response")
_PAGE = {
    "page": _type("integer", minimum=1, maximum=10**9, default=1),
    "per_page": _type("integer", minimum=1, maximum=10**9, default=20, description="Numbers above 100 count as 100."),
}
_FILTERS = {
    "q": _text,
    "ids[]": _type("array", items=_SAFE_INTEGER),
    "filters[status]": _type("string", enum=["pending", "approved", "denied"]),
    "filters[created_at][from]": _type("string", format="date"),
    "filters[created_at][to]": _type("string", format="date"),
    "filters[sale_amount][from]": _SAFE_INTEGER,
    "filters[sale_amount][to]": _SAFE_INTEGER,
    "filters[amount][from]": _SAFE_INTEGER,
    "filters[amount][to]": _SAFE_INTEGER,
    "filters[refunded]": _type("boolean"),
    "filters[promoter_id]": _SAFE_INTEGER,
    "filters[campaign_id]": _SAFE_INTEGER,
    "sorting[created_at]": _type("string", enum=["asc", "desc"]),
}

DOCUMENT: Schema = {
    "openapi": "3.0.1",
    "info": {"title": "FirstPromoter sandbox", "version": "2"},
    "servers": [{"url": "/api/v2"}],
    "security": [{"BearerAuth": []}],
    "paths": {
        "/track/refund": _post(
            "Track a refund: reverse the commission of a refunded sale",
            _REFUND,
            {"200": _EVENT, "204": {"description": "No Content"}} | _BAD_REQUEST | _NOT_FOUND | _CONFLICT,
        ),
        "/track/sale": _post("Track a sale", _SALE, {"200": _EVENT} | _BAD_REQUEST | _NOT_FOUND | _CONFLICT),
        "/track/signup": _post("Track a sign-up", _SIGNUP, {"200": _LEAD} | _BAD_REQUEST | _NOT_FOUND | _UNPROCESSABLE),
        "/track/cancellation": _post("Track a cancellation", _CANCELLATION, {"200": _LEAD} | _BAD_REQUEST | _NOT_FOUND),
        "/company/commissions": _get("List commissions", "Commission", _FILTERS | _PAGE),
        "/company/commissions/approve": _change_commissions("post", "Approve commissions"),
        "/company/commissions/deny": _change_commissions("post", "Deny commissions"),
        "/company/commissions/destroy": _change_commissions("delete", "Delete commissions"),
        "/company/batch_processes/{id}": {
            "get": {
                "summary": "Show a batch",
                "parameters": [
                    {"$ref": "#/components/parameters/AccountId"},
                    {"name": "id", "in": "path", "required": True, "schema": _SAFE_INTEGER},
                ],
                "responses": {"200": _json(_BATCH, "The batch")}
                | {"404": _json(_message_and_code, "Batch process not found")}
                | _UNPROCESSABLE
                | _COMMON_ERRORS,
            }
        },
        "/company/promoters": _get("List promoters", "Promoter", _PAGE),
    },
    "components": {
        "parameters": {"AccountId": {"name": "Account-ID", "in": "header", "required": True, "schema": _text}},
        "schemas": _SCHEMAS,
        "securitySchemes": {"BearerAuth": {"type": "http", "scheme": "bearer"}},
    },
}
