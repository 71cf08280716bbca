"""
The OpenAPI document that the sandbox publishes, made of the models of its request and response bodies.

The refund call has the fields of FirstPromoter's contract, and the responses that the contract leaves open (401, 403,
404, 429). For the other calls it describes what the sandbox accepts and returns.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from airflow_provider_firstpromoter.sandbox import bodies, read_api, responses
from airflow_provider_firstpromoter.sandbox.batches import DenyBody

Schema = dict[str, Any]


class _Generator(GenerateJsonSchema):
    """Leaves out titles, and the defaults that stand for a field which is not in the body."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        return super().default_schema(schema) if schema.get("default") else self.generate_inner(schema["schema"])


_MODELS: list[type[BaseModel]] = [
    bodies.Refund,
    bodies.Sale,
    bodies.Signup,
    bodies.Cancellation,
    responses.OlderEvent,
    responses.NewerEvent,
    responses.Commission,
    responses.Promoter,
    responses.BatchProcess,
    responses.Message,
    responses.CodedMessage,
    responses.FieldErrors,
    responses.SignupExists,
    DenyBody,
]
_SCHEMAS: Schema = models_json_schema(
    [(model, "validation") for model in _MODELS],
    ref_template="#/components/schemas/{model}",
    schema_generator=_Generator,
)[1]["$defs"]
for _schema in _SCHEMAS.values():
    _schema.pop("title", None)
    _schema.pop("description", None)


def _ref(model: type[BaseModel]) -> Schema:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _call(summary: str, parameters: list[Schema], answers: dict[int, Schema], body: Schema | None = None) -> Schema:
    coded = _json(_ref(responses.CodedMessage))
    all_answers = {401: coded, 403: coded, 429: _json(_ref(responses.Message))} | answers
    return {
        "summary": summary,
        "parameters": [{"$ref": "#/components/parameters/AccountId"}, *parameters],
        "responses": {str(status): {"description": summary} | answer for status, answer in all_answers.items()},
        **({"requestBody": {"required": True, **body}} if body else {}),
    }


def _track(body: type[BaseModel], *shapes: type[BaseModel], **others: Schema) -> Schema:
    """
    Return a tracking call.

    :param shapes: the shapes of its 200
    :param others: its further responses, by ``status_`` and the status
    """
    answers = {int(name.removeprefix("status_")): answer for name, answer in others.items()}
    success = _ref(shapes[0]) if len(shapes) == 1 else {"anyOf": [_ref(shape) for shape in shapes]}
    common = {200: _json(success), 204: {}, 400: _json(_ref(responses.Message))}
    name = body.__name__.lower()
    return {"post": _call(f"Track a {name}", [], common | answers, _json(_ref(body)))}


def _list(item: type[BaseModel], query: type[BaseModel]) -> Schema:
    fields = query.model_json_schema(schema_generator=_Generator)["properties"]
    parameters = [{"name": name, "in": "query", "schema": _without_null(schema)} for name, schema in fields.items()]
    answers = {200: _json({"type": "array", "items": _ref(item)}), 422: _json(_ref(responses.FieldErrors))}
    return {"get": _call(f"List {item.__name__.lower()}s", parameters, answers)}


def _without_null(schema: Schema) -> Schema:
    """Return the schema of a parameter, which is never null, only absent."""
    return next((each for each in schema.get("anyOf", ()) if each != {"type": "null"}), schema)


_CONFLICT = _json(_ref(responses.Message))
_NOT_FOUND = _json(_ref(responses.CodedMessage))
_BATCH = _json(_ref(responses.BatchProcess))
_BATCH_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "maximum": 2**53}}

DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {"title": "FirstPromoter sandbox", "version": "2"},
    "servers": [{"url": "/api/v2"}],
    "security": [{"BearerAuth": []}],
    "paths": {
        "/track/refund": _track(
            bodies.Refund,
            responses.OlderEvent,
            responses.NewerEvent,
            status_404=_NOT_FOUND,
            status_409=_CONFLICT,
        ),
        "/track/sale": _track(bodies.Sale, responses.NewerEvent, status_404=_NOT_FOUND, status_409=_CONFLICT),
        "/track/signup": _track(
            bodies.Signup,
            responses.NewerEvent,
            status_404=_json(_ref(responses.Message)),
            status_422=_json(_ref(responses.SignupExists)),
        ),
        "/track/cancellation": _track(bodies.Cancellation, responses.OlderEvent, status_404=_NOT_FOUND),
        "/company/commissions": _list(responses.Commission, read_api.CommissionQuery),
        "/company/commissions/deny": {
            "post": _call(
                "Deny commissions: up to five at once, or more as a batch",
                [],
                {200: _BATCH, 202: _BATCH, 422: _NOT_FOUND},
                _json(_ref(DenyBody)),
            )
        },
        "/company/batch_processes/{id}": {
            "get": _call(
                "Show a batch", [_BATCH_ID], {200: _BATCH, 404: _NOT_FOUND, 422: _json(_ref(responses.FieldErrors))}
            )
        },
        "/company/promoters": _list(responses.Promoter, read_api.Page),
    },
    "components": {
        "parameters": {
            "AccountId": {"name": "Account-ID", "in": "header", "required": True, "schema": {"type": "string"}}
        },
        "schemas": _SCHEMAS,
        "securitySchemes": {"BearerAuth": {"type": "http", "scheme": "bearer"}},
    },
}
