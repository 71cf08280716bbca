"""The request bodies of the tracking calls: the fields of the contract, with their types on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from airflow_provider_firstpromoter.sandbox.errors import ApiError
from airflow_provider_firstpromoter.sandbox.money import DOLLARS_PER_UNIT

#: The most digits that an amount may have, so that it fits SQLite's 64-bit integers in every currency.
MAX_DIGITS = 15


def _require_text(value: str) -> str:
    if not value.strip():
        raise ValueError("blank")
    return value


def _require_digits(value: str) -> str:
    if not (value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS):
        raise ValueError("no whole number")
    return value


def _require_positive(value: str) -> str:
    if not int(_require_digits(value)):
        raise ValueError("not positive")
    return value


def _known_currency(value: str) -> str:
    if value.upper() not in DOLLARS_PER_UNIT:
        raise ValueError("unknown")
    return value.upper()


def _require_date(value: str) -> str:
    datetime.fromisoformat(value)
    return value


# A field that is not in the body has an empty text; null is as wrong as any other type.
Text = Annotated[str, AfterValidator(_require_text)]
Digits = Annotated[str, AfterValidator(_require_digits)]
PositiveDigits = Annotated[str, AfterValidator(_require_positive)]
PositiveInteger = Annotated[int, Field(gt=0, lt=10**MAX_DIGITS)]


class Cancellation(BaseModel):
    """The body of ``POST /track/cancellation``: the customer, as every tracking call names them."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"oneOf": [{"required": ["email"]}, {"required": ["uid"]}]}
    )

    email: Text = ""
    uid: Text = ""

    @model_validator(mode="after")
    def _require_one_identity(self) -> Self:
        if len(self.model_fields_set & {"email", "uid"}) != 1:
            raise ValueError("Exactly one of email and uid is required.")
        return self


class Signup(Cancellation):
    """The body of ``POST /track/signup``; a ``tid`` or a ``ref_id`` is required too."""

    tid: Text = ""
    ref_id: Text = ""
    ip: Text = ""
    created_at: Annotated[str, AfterValidator(_require_date)] = ""
    skip_email_notification: bool = False

    @model_validator(mode="after")
    def _require_promoter(self) -> Self:
        if not (self.tid or self.ref_id):
            raise ValueError("Tid or ref_id is required.")
        return self


class Refund(Cancellation):
    """The body of ``POST /track/refund``, whose numbers are texts."""

    event_id: Text
    amount: PositiveDigits
    currency: Annotated[str, AfterValidator(_known_currency)] = ""
    quantity: PositiveDigits = "1"
    sale_event_id: Text = ""
    skip_email_notification: bool = False


class Sale(Cancellation):
    """The body of ``POST /track/sale``, whose amount and quantity are numbers, and whose ``mrr`` is a text."""

    event_id: Text
    amount: PositiveInteger
    currency: Annotated[str, AfterValidator(_known_currency)] = ""
    quantity: PositiveInteger = 1
    plan: Text = ""
    mrr: Digits = "0"
    promo_code: Text = ""
    tid: Text = ""
    ref_id: Text = ""
    skip_email_notification: bool = False


Body = TypeVar("Body", bound=BaseModel)


def parse_body(model: type[Body], raw: bytes) -> Body:
    """
    Validate the body of a request.

    :raises ApiError: 400 that names the first invalid field, as FirstPromoter's does
    """
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        problem: Any = error.errors(include_url=False)[0]
    if problem["loc"]:
        raise ApiError(400, f"Error. {str(problem['loc'][0]).capitalize()} blank or invalid.")
    if problem["type"] == "value_error":
        raise ApiError(400, f"Error. {problem['ctx']['error']}")
    raise ApiError(400, "Error. The body is not a JSON object.")
