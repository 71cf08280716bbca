"""The tracking calls: what each requires, and what it writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_firstpromoter.sandbox.errors import ApiError
from airflow_provider_firstpromoter.sandbox.events import record_event
from airflow_provider_firstpromoter.sandbox.fields import (
    MAX_DIGITS,
    check_identity,
    currency_field,
    parse_object,
    referral_id,
    refund_amount_and_quantity,
    text_field,
)
from airflow_provider_firstpromoter.sandbox.serializers import lead_body
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings
from airflow_provider_firstpromoter.sandbox.store import Row, Store, timestamp


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
        data = parse_object(raw)
        amount, quantity = refund_amount_and_quantity(data)
        currency = currency_field(data, account)
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
            return record_event(
                self.store,
                "refund",
                account,
                lead,
                event_id,
                -amount,
                currency,
                settings=settings,
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
        data = parse_object(raw)
        check_identity(data)
        event_id = text_field(data, "event_id")
        amount = data.get("amount")
        if type(amount) is not int or not 0 < amount < 10**MAX_DIGITS:
            raise ApiError(400, "Error. Amount blank or invalid.")
        currency = currency_field(data, account)
        plan = text_field(data, "plan") if "plan" in data else None
        if "promo_code" in data:
            text_field(data, "promo_code")
        for name in ("quantity", "mrr"):
            if type(data.get(name, 0)) is not int:
                raise ApiError(400, f"Error. {name.capitalize()} must be a whole number.")
        with self.store.transaction():
            self._reject_duplicate("sale", account, event_id)
            if referral_id(data) and not self.store.find_lead(account.id, email=data.get("email"), uid=data.get("uid")):
                self._create_lead(account, data)
            lead = self._require_lead(account, data)
            self.store.execute(
                "UPDATE leads SET customer_since = coalesce(customer_since, ?), plan_name = coalesce(?, plan_name) "
                "WHERE id = ?",
                (timestamp(), plan, lead["id"]),
            )
            return record_event(
                self.store,
                "sale",
                account,
                self._require_lead(account, data),
                event_id,
                amount,
                currency,
                settings=self.settings(),
            )

    def signup(self, account: Account, raw: bytes) -> dict[str, Any]:
        """
        Create a lead, unless the customer is a lead already.

        :param raw: the body of the request
        :return: the body of the 200 response: the lead
        :raises ApiError: 400, 404 if the promoter is banned, or 422 if the request names no promoter
        """
        data = parse_object(raw)
        check_identity(data)
        if not referral_id(data):
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
        data = parse_object(raw)
        check_identity(data)
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
        promoter = self.store.get_or_create_promoter(account.id, referral_id(data))
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
