"""The tracking calls: validation, and the leads, commissions and refunds that they write."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_firstpromoter.sandbox.errors import ApiError
from airflow_provider_firstpromoter.sandbox.money import DOLLARS_PER_UNIT, convert, percentage_of
from airflow_provider_firstpromoter.sandbox.serializers import event_body, lead_body
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings
from airflow_provider_firstpromoter.sandbox.store import Row, Store, timestamp

#: The most digits that an amount may have, so that it fits SQLite's 64-bit integers in every currency.
MAX_DIGITS = 15


class Tracking:
    """
    Carries out the calls under ``/track``.

    :param store: stores what the calls create
    :param settings: returns the sandbox's settings, some of which can change while it runs
    """

    def __init__(self, store: Store, settings: Callable[[], Settings]) -> None:
        self.store = store
        self.settings = settings

    def refund(self, account: Account, raw: bytes) -> dict[str, Any] | None:
        """
        Record a refund, which creates a negative commission.

        :param raw: the body of the request
        :return: the body of the 200 response, or None for a 204 if the lead has no sale
        :raises ApiError: 400, 404 or 409 as in the contract
        """
        data = _parse_object(raw)
        # The contract's oneOf lists required fields, so that a field counts as given even if its value is null.
        if ("email" in data) == ("uid" in data):
            raise ApiError(400, "Error. Exactly one of email and uid is required.")
        for name in ("event_id", "email", "uid", "sale_event_id"):
            if name in data or name == "event_id":
                _text_field(data, name)
        amount = _whole_number_field(data, "amount")
        quantity = _whole_number_field(data, "quantity") if "quantity" in data else 1
        if not isinstance(data.get("skip_email_notification", False), bool):
            raise ApiError(400, "Error. Skip_email_notification must be a boolean.")
        currency = _currency_field(data, account)
        event_id, settings = data["event_id"], self.settings()
        with self.store.transaction():
            if not settings.lead_first:
                self._reject_duplicate("refund", account, event_id)
            lead = self._require_lead(account, data)
            if lead["customer_since"] is None:
                if settings.consume_event_id_on_204:
                    self.store.reserve_event_id(account.id, "refund", event_id)
                return None
            self._reject_duplicate("refund", account, event_id)
            return self._record_event(
                "refund",
                account,
                lead,
                event_id,
                -amount,
                currency,
                quantity=quantity,
                sale_event_id=data.get("sale_event_id"),
            )

    def sale(self, account: Account, raw: bytes) -> dict[str, Any]:
        """
        Record a sale, which creates a commission.

        :param raw: the body of the request
        :return: the body of the 200 response, with the fields of a refund's response
        :raises ApiError: 400, 404 or 409
        """
        data = _parse_object(raw)
        _check_identity(data)
        event_id = _text_field(data, "event_id")
        amount = data.get("amount")
        if type(amount) is not int or not 0 < amount < 10**MAX_DIGITS:
            raise ApiError(400, "Error. Amount blank or invalid.")
        currency = _currency_field(data, account)
        plan = _text_field(data, "plan") if "plan" in data else None
        if "promo_code" in data:
            _text_field(data, "promo_code")
        for name in ("quantity", "mrr"):
            if type(data.get(name, 0)) is not int:
                raise ApiError(400, f"Error. {name.capitalize()} must be a whole number.")
        with self.store.transaction():
            self._reject_duplicate("sale", account, event_id)
            if _referral_id(data) and not self.store.find_lead(
                account.id, email=data.get("email"), uid=data.get("uid")
            ):
                self._create_lead(account, data)
            lead = self._require_lead(account, data)
            self.store.execute(
                "UPDATE leads SET customer_since = coalesce(customer_since, ?), plan_name = coalesce(?, plan_name) "
                "WHERE id = ?",
                (timestamp(), plan, lead["id"]),
            )
            return self._record_event("sale", account, self._require_lead(account, data), event_id, amount, currency)

    def signup(self, account: Account, raw: bytes) -> dict[str, Any]:
        """
        Create a lead, unless the customer is a lead already.

        :param raw: the body of the request
        :return: the body of the 200 response: the lead
        :raises ApiError: 400, 404 if the promoter is banned, or 422 if the request names no promoter
        """
        data = _parse_object(raw)
        _check_identity(data)
        if not _referral_id(data):
            raise ApiError(
                422,
                "Validation failed",
                code="unprocessable_entity",
                errors={"tid": ["tid or ref_id can't be blank"]},
            )
        with self.store.transaction():
            if not self.store.find_lead(account.id, email=data.get("email"), uid=data.get("uid")):
                self._create_lead(account, data)
            return lead_body(self._require_lead(account, data))

    def cancellation(self, account: Account, raw: bytes) -> dict[str, Any]:
        """
        Mark a lead as cancelled.

        :param raw: the body of the request
        :return: the body of the 200 response: the lead
        :raises ApiError: 400 or 404
        """
        data = _parse_object(raw)
        _check_identity(data)
        with self.store.transaction():
            lead = self._require_lead(account, data)
            self.store.execute("UPDATE leads SET cancelled_at = ? WHERE id = ?", (timestamp(), lead["id"]))
            return lead_body(self._require_lead(account, data))

    def _reject_duplicate(self, kind: str, account: Account, event_id: str) -> None:
        if self.store.has_event_id(account.id, kind, event_id):
            raise ApiError(409, f"The '{kind}' event with the id '{event_id}' already exists.")

    def _require_lead(self, account: Account, data: Mapping[str, Any]) -> Row:
        lead = self.store.find_lead(account.id, email=data.get("email"), uid=data.get("uid"))
        if lead is None:
            raise ApiError(404, "Referral not found", code="not_found")
        return lead

    def _create_lead(self, account: Account, data: Mapping[str, Any]) -> None:
        promoter = self.store.get_or_create_promoter(account.id, _referral_id(data))
        if promoter["status"] == "banned":
            raise ApiError(404, "Promoter not found", code="not_found")
        try:
            self.store.insert(
                "leads",
                account=account.id,
                email=data.get("email"),
                uid=data.get("uid"),
                promoter_id=promoter["id"],
                created_at=timestamp(),
            )
        except sqlite3.IntegrityError:
            # The lead exists, but the API treats it as unknown because its promoter is banned.
            raise ApiError(404, "Referral not found", code="not_found") from None

    def _record_event(
        self, kind: str, account: Account, lead: Row, event_id: str, amount: int, currency: str, **refund_fields: Any
    ) -> dict[str, Any]:
        sale_amount = convert(amount, currency, account.currency)
        self.store.reserve_event_id(account.id, kind, event_id)
        promoter = self.store.fetch_one("SELECT * FROM promoters WHERE id = ?", (lead["promoter_id"],))
        assert promoter
        moment = timestamp()
        commission: Row = {
            "account": account.id,
            "event_id": event_id,
            "lead_id": lead["id"],
            "promoter_id": promoter["id"],
            "status": "approved",
            "commission_type": "sale",
            "sale_amount": sale_amount,
            "original_sale_amount": amount,
            "original_sale_currency": currency,
            "amount": percentage_of(sale_amount, self.settings().commission_percent),
            "unit": promoter["unit"],
            "tier": 1,
            "created_at": moment,
            "status_updated_at": moment,
            "after_request": self.store.latest_request(),
        }
        event_number = commission["id"] = self.store.insert("commissions", **commission)
        if promoter["unit"] == "cash":
            promoter["balance"] += commission["amount"]
            self.store.execute("UPDATE promoters SET balance = ? WHERE id = ?", (promoter["balance"], promoter["id"]))
        if kind == "refund":
            event_number = self.store.insert(
                "refunds",
                account=account.id,
                event_id=event_id,
                amount_cents=sale_amount,
                original_amount=amount,
                currency=currency,
                lead_id=lead["id"],
                commission_id=commission["id"],
                recorded_at=moment,
                **refund_fields,
            )
        return event_body(kind, event_number, commission, lead, promoter)


def _parse_object(raw: bytes) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        raise ApiError(400, "Error. The body is not JSON.") from None
    if not isinstance(data, dict):
        raise ApiError(400, "Error. The body is not a JSON object.")
    return data


def _text_field(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ApiError(400, f"Error. {name.capitalize()} blank or invalid.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ApiError(400, f"Error. {name.capitalize()} is not valid text.") from None
    return value


def _whole_number_field(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS and int(value):
        return int(value)
    raise ApiError(400, f"Error. {name.capitalize()} blank or invalid.")


def _currency_field(data: Mapping[str, Any], account: Account) -> str:
    value = data.get("currency", account.currency)
    if not isinstance(value, str) or value.upper() not in DOLLARS_PER_UNIT:
        raise ApiError(400, "Error. Currency blank or invalid.")
    return value.upper()


def _check_identity(data: Mapping[str, Any]) -> None:
    """Require an e-mail address, a uid or both, as every call but the refund does."""
    present = [name for name in ("email", "uid") if name in data]
    if not present:
        raise ApiError(400, "Error. Email or uid is required.")
    for name in present:
        _text_field(data, name)


def _referral_id(data: Mapping[str, Any]) -> str:
    """Return the referral id of the promoter, or an empty text if the request names none."""
    present = [_text_field(data, name) for name in ("ref_id", "tid") if name in data]
    return present[0] if present else ""
