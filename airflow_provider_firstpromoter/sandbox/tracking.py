"""The tracking calls: what each writes and answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from pydantic import BaseModel

from airflow_provider_firstpromoter.sandbox.bodies import Cancellation, Refund, Sale, Signup, parse_body
from airflow_provider_firstpromoter.sandbox.errors import ApiError
from airflow_provider_firstpromoter.sandbox.money import convert, percentage_of
from airflow_provider_firstpromoter.sandbox.responses import NewerEvent, OlderEvent
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings
from airflow_provider_firstpromoter.sandbox.store import Row, Store, timestamp

#: The sandbox knows the visitor with a ``tid`` of this prefix and the referral id of a promoter, and no other.
VISITOR = "visitor-"
#: So many promoters earn from a sale, even where the parents form a circle.
MOST_TIERS = 9


class Tracking:
    """
    Carries out the calls under ``/track``.

    Each call returns the body of the 200, or None for a 204, and raises an :class:`ApiError` for everything else.

    :param store: stores what the calls create
    :param settings: returns the sandbox's settings, some of which can change while it runs
    """

    def __init__(self, store: Store, settings: Callable[[], Settings]) -> None:
        self.store = store
        self.settings = settings

    def refund(self, account: Account, raw: bytes) -> BaseModel | None:
        """Record a refund, which creates negative commissions; a lead without a sale is answered with 204."""
        body, settings = parse_body(Refund, raw), self.settings()
        with self.store.transaction():
            if not settings.lead_first:
                self._reject_duplicate("refund", account, body.event_id)
            lead = self._find_lead(account, body)
            if lead is None:
                return None
            if lead["customer_since"] is None:
                if settings.consume_event_id_on_204:
                    self.store.reserve_event_id(account.id, "refund", body.event_id)
                return None
            self._reject_duplicate("refund", account, body.event_id)
            event = self._record(
                "refund",
                account,
                lead,
                event_id=body.event_id,
                original_amount=-int(body.amount),
                currency=body.currency or account.currency,
                quantity=int(body.quantity),
                sale_event_id=body.sale_event_id or None,
            )
            return self._event_body(event, lead, settings.shape)

    def sale(self, account: Account, raw: bytes) -> BaseModel | None:
        """Record a sale, which creates commissions, and its lead if the sale names a promoter."""
        body = parse_body(Sale, raw)
        with self.store.transaction():
            self._reject_duplicate("sale", account, body.event_id)
            if not self.store.find_lead(account.id, email=body.email, uid=body.uid):
                self._create_lead(account, body)
            lead = self._find_lead(account, body)
            if lead is None:
                return None
            self.store.execute(
                "UPDATE leads SET customer_since = coalesce(customer_since, ?), plan_name = coalesce(?, plan_name) "
                "WHERE id = ?",
                (timestamp(), body.plan or None, lead["id"]),
            )
            event = self._record(
                "sale",
                account,
                lead,
                event_id=body.event_id,
                original_amount=body.amount,
                currency=body.currency or account.currency,
                quantity=body.quantity,
                plan=body.plan or None,
            )
            return self._event_body(event, lead, "newer")

    def signup(self, account: Account, raw: bytes) -> BaseModel:
        """Create a lead; an unknown visitor is answered with 404, and a customer who is a lead with 422."""
        body = parse_body(Signup, raw)
        with self.store.transaction():
            if self.store.find_lead(account.id, email=body.email, uid=body.uid):
                raise ApiError(422, transaction_id="there is already a signup event registered on this lead")
            if not self._create_lead(account, body):
                raise ApiError(404, "Visitor or promoter not found")
            lead = self.store.find_lead(account.id, email=body.email, uid=body.uid)
            assert lead
            return NewerEvent.of(self._insert_event("signup", account, lead), lead, [])

    def cancellation(self, account: Account, raw: bytes) -> BaseModel | None:
        """Mark a lead as cancelled; it does no harm to do so again."""
        body = parse_body(Cancellation, raw)
        with self.store.transaction():
            found = self._find_lead(account, body)
            if found is None:
                return None
            self.store.execute("UPDATE leads SET cancelled_at = ? WHERE id = ?", (timestamp(), found["id"]))
            event = self._insert_event("cancellation", account, found)
            return self._event_body(event, found, "older")

    # --- what they have in common ---

    def _reject_duplicate(self, kind: str, account: Account, event_id: str) -> None:
        if self.store.has_event_id(account.id, kind, event_id):
            message = self.settings().conflict_message.replace("{kind}", kind).replace("{event_id}", event_id)
            raise ApiError(409, message)

    def _find_lead(self, account: Account, body: Cancellation) -> Row | None:
        """Return the lead; None if there is none and the settings say that this is a 204."""
        lead = self.store.find_lead(account.id, email=body.email, uid=body.uid)
        if lead is None and self.settings().unreferred_status == 404:
            raise ApiError(404, "Referral not found", code="not_found")
        return lead

    def _create_lead(self, account: Account, body: Sale | Signup) -> bool:
        """Create a lead of the promoter that the body names; return False if it names none, or one who is banned."""
        visited = body.tid.removeprefix(VISITOR) if body.tid.startswith(VISITOR) else ""
        ref_id = body.ref_id or visited
        if not ref_id:
            return False
        promoter = self.store.get_or_create_promoter(account.id, ref_id)
        if promoter["status"] == "banned":
            return False
        try:
            self.store.insert(
                "leads",
                account=account.id,
                email=body.email or None,
                uid=body.uid or None,
                promoter_id=promoter["id"],
                created_at=timestamp(),
            )
        except sqlite3.IntegrityError:
            return False  # The lead exists, but the API treats it as unknown because its promoter is banned.
        return True

    def _insert_event(self, kind: str, account: Account, lead: Row, **values: Any) -> Row:
        number = self.store.insert(
            "events", account=account.id, kind=kind, lead_id=lead["id"], recorded_at=timestamp(), **values
        )
        event = self.store.fetch_one("SELECT * FROM events WHERE id = ?", (number,))
        assert event
        return event

    def _record(
        self, kind: str, account: Account, lead: Row, *, original_amount: int, currency: str, **values: Any
    ) -> Row:
        """Create the event and the commissions of a sale or of a refund, whose amount is negative."""
        settings = self.settings()
        sale_amount = convert(original_amount, currency, account.currency)
        event = self._insert_event(
            kind, account, lead, amount_cents=sale_amount, original_amount=original_amount, currency=currency, **values
        )
        for promoter, share in self._shares(lead, sale_amount, settings):
            commission: Row = {
                "account": account.id,
                "event": event["id"],
                "event_id": event["event_id"],
                "lead_id": lead["id"],
                "promoter_id": promoter["id"],
                "status": "approved",
                "commission_type": "sale",
                "sale_amount": sale_amount,
                "original_sale_amount": original_amount,
                "original_sale_currency": currency,
                "unit": promoter["unit"],
                "created_at": event["recorded_at"],
                "status_updated_at": event["recorded_at"],
                "after_request": self.store.latest_request(),
                **share,
            }
            delay = settings.tier_delay_seconds, settings.tier_delay_requests
            if share["tier"] > 1 and any(delay):
                self.store.insert_commission_later(commission, *delay)
            else:
                self.store.insert_commission(commission)
        return event

    def _shares(self, lead: Row, sale_amount: int, settings: Settings) -> Iterator[tuple[Row, Row]]:
        """Return each promoter who earns from a sale of the lead, with ``amount``, ``tier`` and ``is_split``."""
        promoter = self._promoter(lead["promoter_id"])
        earned = percentage_of(sale_amount, settings.commission_percent)
        if lead["split_promoter_id"] is None:
            yield promoter, {"amount": earned, "tier": 1, "is_split": False}
        else:
            half = int(Fraction(earned, 2))
            yield promoter, {"amount": earned - half, "tier": 1, "is_split": True}
            yield self._promoter(lead["split_promoter_id"]), {"amount": half, "tier": 1, "is_split": True}
        tier = 1
        while promoter["parent_id"] is not None and tier < MOST_TIERS:
            promoter, tier = self._promoter(promoter["parent_id"]), tier + 1
            yield (
                promoter,
                {
                    "amount": percentage_of(sale_amount, settings.tier_percent),
                    "tier": tier,
                    "is_split": False,
                },
            )

    def _promoter(self, promoter_id: int) -> Row:
        promoter = self.store.fetch_one("SELECT * FROM promoters WHERE id = ?", (promoter_id,))
        assert promoter
        return promoter

    def _event_body(self, event: Row, lead: Row, shape: str) -> BaseModel:
        """Return the 200 of an event that has been recorded."""
        commissions = self.store.fetch_commissions("c.event = ?", event["id"])
        lead = self.store.fetch_one("SELECT * FROM leads WHERE id = ?", (lead["id"],)) or lead
        if shape == "newer":
            return NewerEvent.of(event, lead, commissions)
        first = commissions[0] if commissions else None
        return OlderEvent.of(event["kind"], event["id"], first, lead, self._promoter(lead["promoter_id"]))
