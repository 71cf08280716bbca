"""The tracking calls: what each one refuses, and what it does to the books."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from airflow_provider_firstpromoter.sandbox.errors import Refused
from airflow_provider_firstpromoter.sandbox.money import IN_DOLLARS, converted, share
from airflow_provider_firstpromoter.sandbox.serializers import event_body, lead_body
from airflow_provider_firstpromoter.sandbox.settings import Account
from airflow_provider_firstpromoter.sandbox.store import Books, Row, stamp

#: Amounts of more digits than this are no amounts, and would not fit into the books.
MOST_DIGITS = 15


class Tracking:
    """
    :param books: where everything is kept
    :param commission_percent: the share of a sale that its promoter earns
    :param unbought_uses_event_id: whether a refund of a lead that never bought uses up its event_id
    """

    def __init__(self, books: Books, commission_percent: int, unbought_uses_event_id: bool) -> None:
        self.books = books
        self.commission_percent = commission_percent
        self.unbought_uses_event_id = unbought_uses_event_id

    def refund(self, account: Account, raw: bytes) -> dict[str, Any] | None:
        """
        :return: the body of the 200, or None for the 204 of a lead that never bought
        :raises Refused: 400, 404 or 409 as the contract has them
        """
        data = _parsed(raw)
        # The schema is a oneOf over what is required, so it is presence that counts, not the value.
        if ("email" in data) == ("uid" in data):
            raise Refused(400, "Error. Exactly one of email and uid is required.")
        for name in ("event_id", "email", "uid", "sale_event_id"):
            if name in data or name == "event_id":
                _text(data, name)
        amount = _digits(data, "amount")
        quantity = _digits(data, "quantity") if "quantity" in data else 1
        if not isinstance(data.get("skip_email_notification", False), bool):
            raise Refused(400, "Error. Skip_email_notification must be a boolean.")
        currency = _currency(data, account)
        event_id = data["event_id"]
        with self.books.transaction():
            self._new("refund", account, event_id)
            lead = self._known(account, data)
            if lead["customer_since"] is None:
                if self.unbought_uses_event_id:
                    self.books.take(account.id, "refund", event_id)
                return None
            return self._book(
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
        :return: the body of the 200, shaped like a refund's
        :raises Refused: 400, 404 or 409
        """
        data = _parsed(raw)
        _somebody(data)
        event_id = _text(data, "event_id")
        amount = data.get("amount")
        if type(amount) is not int or not 0 < amount < 10**MOST_DIGITS:
            raise Refused(400, "Error. Amount blank or invalid.")
        currency = _currency(data, account)
        plan = _text(data, "plan") if "plan" in data else None
        if "promo_code" in data:
            _text(data, "promo_code")
        for name in ("quantity", "mrr"):
            if type(data.get(name, 0)) is not int:
                raise Refused(400, f"Error. {name.capitalize()} must be a whole number.")
        with self.books.transaction():
            self._new("sale", account, event_id)
            if _referral(data) and not self.books.lead(account.id, email=data.get("email"), uid=data.get("uid")):
                self._sign_up(account, data)
            lead = self._known(account, data)
            self.books.all(
                "UPDATE leads SET customer_since = coalesce(customer_since, ?), plan_name = coalesce(?, plan_name) "
                "WHERE id = ?",
                (stamp(), plan, lead["id"]),
            )
            return self._book("sale", account, self._known(account, data), event_id, amount, currency)

    def signup(self, account: Account, raw: bytes) -> dict[str, Any]:
        """
        :return: the body of the 200: the lead
        :raises Refused: 400, or 422 if nobody referred the customer
        """
        data = _parsed(raw)
        _somebody(data)
        if not _referral(data):
            raise Refused(
                422,
                "Validation failed",
                code="unprocessable_entity",
                errors={"tid": ["tid or ref_id can't be blank"]},
            )
        with self.books.transaction():
            if not self.books.lead(account.id, email=data.get("email"), uid=data.get("uid")):
                self._sign_up(account, data)
            return lead_body(self._known(account, data))

    def cancellation(self, account: Account, raw: bytes) -> dict[str, Any]:
        """
        :return: the body of the 200: the lead
        :raises Refused: 400 or 404
        """
        data = _parsed(raw)
        _somebody(data)
        with self.books.transaction():
            lead = self._known(account, data)
            self.books.all("UPDATE leads SET cancelled_at = ? WHERE id = ?", (stamp(), lead["id"]))
            return lead_body(self._known(account, data))

    def _new(self, kind: str, account: Account, event_id: str) -> None:
        if self.books.taken(account.id, kind, event_id):
            raise Refused(409, f"The '{kind}' event with the id '{event_id}' already exists.")

    def _known(self, account: Account, data: Mapping[str, Any]) -> Row:
        lead = self.books.lead(account.id, email=data.get("email"), uid=data.get("uid"))
        if lead is None:
            raise Refused(404, "Referral not found", code="not_found")
        return lead

    def _sign_up(self, account: Account, data: Mapping[str, Any]) -> None:
        promoter = self.books.promoter(account.id, _referral(data))
        if promoter["status"] == "banned":
            raise Refused(404, "Promoter not found", code="not_found")
        try:
            self.books.insert(
                "leads",
                account=account.id,
                email=data.get("email"),
                uid=data.get("uid"),
                promoter_id=promoter["id"],
                created_at=stamp(),
            )
        except sqlite3.IntegrityError:
            # The customer is there, but unknown: referred by somebody who was banned.
            raise Refused(404, "Referral not found", code="not_found") from None

    def _book(
        self, kind: str, account: Account, lead: Row, event_id: str, amount: int, currency: str, **more: Any
    ) -> dict[str, Any]:
        sale_amount = converted(amount, currency, account.currency)
        self.books.take(account.id, kind, event_id)
        promoter = self.books.one("SELECT * FROM promoters WHERE id = ?", (lead["promoter_id"],))
        assert promoter
        moment = stamp()
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
            "amount": share(sale_amount, self.commission_percent),
            "unit": promoter["unit"],
            "tier": 1,
            "created_at": moment,
            "status_updated_at": moment,
        }
        number = commission["id"] = self.books.insert("commissions", **commission)
        if promoter["unit"] == "cash":
            promoter["balance"] += commission["amount"]
            self.books.all("UPDATE promoters SET balance = ? WHERE id = ?", (promoter["balance"], promoter["id"]))
        if kind == "refund":
            number = self.books.insert(
                "refunds",
                account=account.id,
                event_id=event_id,
                amount_cents=sale_amount,
                original_amount=amount,
                currency=currency,
                lead_id=lead["id"],
                commission_id=commission["id"],
                recorded_at=moment,
                **more,
            )
        return event_body(kind, number, commission, lead, promoter)


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused(400, "Error. The body is not JSON.") from None
    if not isinstance(data, dict):
        raise Refused(400, "Error. The body is not an object.")
    return data


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Refused(400, f"Error. {name.capitalize()} blank or invalid.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refused(400, f"Error. {name.capitalize()} is not valid text.") from None
    return value


def _digits(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS and int(value):
        return int(value)
    raise Refused(400, f"Error. {name.capitalize()} blank or invalid.")


def _currency(data: Mapping[str, Any], account: Account) -> str:
    value = data.get("currency", account.currency)
    if not isinstance(value, str) or value.upper() not in IN_DOLLARS:
        raise Refused(400, "Error. Currency blank or invalid.")
    return value.upper()


def _somebody(data: Mapping[str, Any]) -> None:
    """Of the calls other than the refund, whose contract allows both: at least one of e-mail and uid."""
    given = [name for name in ("email", "uid") if name in data]
    if not given:
        raise Refused(400, "Error. Email or uid is required.")
    for name in given:
        _text(data, name)


def _referral(data: Mapping[str, Any]) -> str:
    """:return: whoever referred the customer, or an empty text"""
    given = [_text(data, name) for name in ("ref_id", "tid") if name in data]
    return given[0] if given else ""
