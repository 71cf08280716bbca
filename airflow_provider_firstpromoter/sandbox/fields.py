"""The fields of the tracking calls' bodies, each validated: an invalid one raises the 400 of the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_firstpromoter.sandbox.errors import ApiError
from airflow_provider_firstpromoter.sandbox.money import DOLLARS_PER_UNIT
from airflow_provider_firstpromoter.sandbox.settings import Account

#: The most digits that an amount may have, so that it fits SQLite's 64-bit integers in every currency.
MAX_DIGITS = 15


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that is the body of a request."""
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        raise ApiError(400, "Error. The body is not JSON.") from None
    if not isinstance(data, dict):
        raise ApiError(400, "Error. The body is not a JSON object.")
    return data


def text_field(data: Mapping[str, Any], name: str) -> str:
    """Return a field that must be a text which is not blank."""
    value = data.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ApiError(400, f"Error. {name.capitalize()} blank or invalid.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ApiError(400, f"Error. {name.capitalize()} is not valid text.") from None
    return value


def whole_number_field(data: Mapping[str, Any], name: str) -> int:
    """Return a field that must be a positive whole number, given as text."""
    value = data.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS and int(value):
        return int(value)
    raise ApiError(400, f"Error. {name.capitalize()} blank or invalid.")


def currency_field(data: Mapping[str, Any], account: Account) -> str:
    """Return the currency, by default that of the account."""
    value = data.get("currency", account.currency)
    if not isinstance(value, str) or value.upper() not in DOLLARS_PER_UNIT:
        raise ApiError(400, "Error. Currency blank or invalid.")
    return value.upper()


def refund_amount_and_quantity(data: Mapping[str, Any]) -> tuple[int, int]:
    """Require all that a refund needs, and return its amount and quantity; the currency is read by itself."""
    # The contract's oneOf lists required fields, so that a field counts as given even if its value is null.
    if ("email" in data) == ("uid" in data):
        raise ApiError(400, "Error. Exactly one of email and uid is required.")
    for name in ("event_id", "email", "uid", "sale_event_id"):
        if name in data or name == "event_id":
            text_field(data, name)
    amount = whole_number_field(data, "amount")
    quantity = whole_number_field(data, "quantity") if "quantity" in data else 1
    if not isinstance(data.get("skip_email_notification", False), bool):
        raise ApiError(400, "Error. Skip_email_notification must be a boolean.")
    return amount, quantity


def check_identity(data: Mapping[str, Any]) -> None:
    """Require an e-mail address, a uid or both, as every call but the refund does."""
    present = [name for name in ("email", "uid") if name in data]
    if not present:
        raise ApiError(400, "Error. Email or uid is required.")
    for name in present:
        text_field(data, name)


def referral_id(data: Mapping[str, Any]) -> str:
    """Return the referral id of the promoter, or an empty text if the request names none."""
    present = [text_field(data, name) for name in ("ref_id", "tid") if name in data]
    return present[0] if present else ""
