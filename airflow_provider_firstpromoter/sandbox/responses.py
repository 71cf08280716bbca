"""The bodies of the API's responses: the fields of the contract, filled from the rows of the store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, WithJsonSchema, model_serializer

from airflow_provider_firstpromoter.sandbox.store import Row

#: Part of every credential and tax form in a response; tests search for it where these must not appear.
SECRET = "sandbox-secret"
#: The id of the campaign of every promoter in the sandbox.
CAMPAIGN_ID = 1

Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Unit = Literal["cash", "credits", "points", "free_months", "mon_discount", "discount_per"]


class Lead(BaseModel):
    """A lead in the older shape; the fields with a default are not nullable, and omitted if they have no value."""

    id: int
    state: str
    email: str = ""
    uid: str | None
    customer_since: Moment = ""
    cancelled_at: Moment = ""
    plan_name: str | None
    suspicion: str = "no_suspicion"
    username: str | None = None
    website: str | None = None
    created_at: Moment
    split_promotion_id: str | None = None
    custom_fields: str | None = None
    split_percentage_value: str | None = None
    visitor_sub_id: str | None = None

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return the lead of a row of the table ``leads``."""
        state = "cancelled" if row["cancelled_at"] else "active" if row["customer_since"] else "signup"
        filled = {name: row[name] or "" for name in ("email", "customer_since", "cancelled_at")}
        copied = {name: row[name] for name in ("id", "uid", "plan_name", "created_at")}
        return cls(state=state, **filled, **copied)

    @model_serializer(mode="wrap")
    def _omit_empty_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value != ""}


class Cash(BaseModel):
    """A balance in cents."""

    cash: int


class Promoter(BaseModel):
    """A promoter in the older shape and in the list of promoters, with credentials and tax forms."""

    id: int
    status: str
    cust_id: str
    email: str
    created_at: Moment
    temp_password: str | None
    default_promotion_id: int
    pref: str
    default_ref_id: str
    note: str | None
    w8_form_url: str | None
    w9_form_url: str | None
    parent_promoter_id: int
    earnings_balance: Cash
    current_balance: Cash
    paid_balance: Cash
    auth_token: str

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return the promoter of a row of the table ``promoters``."""
        number, ref_id, balance = row["id"], row["ref_id"], Cash(cash=row["balance"])
        return cls(
            id=number,
            status=row["status"],
            cust_id="",
            email=_email(number),
            created_at=row["created_at"],
            temp_password=f"{SECRET}-temp-password-{number}",
            default_promotion_id=number,
            pref=ref_id,
            default_ref_id=ref_id,
            note=None,
            w8_form_url=f"https://sandbox.example/{SECRET}-w8-{number}.pdf",
            w9_form_url=f"https://sandbox.example/{SECRET}-w9-{number}.pdf",
            parent_promoter_id=row["parent_id"] or 0,
            earnings_balance=balance,
            current_balance=balance,
            paid_balance=Cash(cash=0),
            auth_token=f"{SECRET}-auth-token-{number}",
        )


class Reward(BaseModel):
    """The first commission of an event in the older shape, which names no other."""

    id: int
    status: str
    amount: int
    unit: str
    created_at: Moment
    lead: Lead
    event_id: str
    conversion_amount: int
    tier_level: int
    split_type: str | None


class OlderEvent(BaseModel):
    """A 200 in the older shape: of a cancellation, and of a refund as its page documents it."""

    id: int
    type: str
    amount_cents: int | None
    reward: Reward | None
    lead: Lead
    promoter: Promoter

    @classmethod
    def of(cls, kind: str, event: int, commission: Row | None, lead_row: Row, promoter: Row) -> Self:
        """
        Return the response for an event.

        :param commission: the first commission, as :meth:`Store.fetch_commissions` returns it; None for a cancellation
        """
        lead = Lead.of(lead_row)
        reward = commission and Reward(
            lead=lead,
            conversion_amount=commission["sale_amount"],
            tier_level=commission["tier"],
            split_type="percentage" if commission["is_split"] else None,
            **{name: commission[name] for name in "id status amount unit created_at event_id".split()},
        )
        return cls(
            id=event,
            type=kind,
            amount_cents=commission and commission["sale_amount"],
            reward=reward or None,
            lead=lead,
            promoter=Promoter.of(promoter),
        )


class Referral(BaseModel):
    """A lead in the newer shape and in the list of commissions."""

    id: int | None
    email: str | None
    uid: str | None


class RewardRule(BaseModel):
    """What ``reward`` is in the newer shape: the rule, without the amount."""

    id: int = 1
    name: str = "Sandbox reward"


class CommissionPromoter(BaseModel):
    """The promoter of a commission."""

    id: int
    email: str
    name: str


class Campaign(BaseModel):
    """The campaign of a commission."""

    id: int = CAMPAIGN_ID
    name: str = "Sandbox campaign"


class PromoterCampaign(BaseModel):
    """The promoter of a commission in its campaign."""

    id: int
    campaign_id: int
    promoter_id: int
    promoter: CommissionPromoter
    campaign: Campaign


class Commission(BaseModel):
    """A commission, as the newer shape and the list of commissions have it."""

    id: int
    status: Literal["pending", "approved", "denied"]
    commission_type: Literal["sale", "custom"]
    event_id: str | None
    sale_amount: int
    original_sale_amount: int
    original_sale_currency: str | None
    amount: int
    unit: Unit
    is_paid: bool
    is_split: bool
    is_self_referral: bool = False
    fraud_check: str = "no_suspicion"
    tier: int
    created_at: Moment
    status_updated_at: Moment
    referral: Referral
    reward: RewardRule = RewardRule()
    promoter_campaign: PromoterCampaign

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return the commission of a row of :meth:`Store.fetch_commissions`."""
        number = row["promoter_id"]
        return cls(
            referral=Referral(id=row["lead_id"], email=row["email"], uid=row["uid"]),
            promoter_campaign=PromoterCampaign(
                id=number,
                campaign_id=CAMPAIGN_ID,
                promoter_id=number,
                promoter=CommissionPromoter(id=number, email=_email(number), name=row["ref_id"]),
                campaign=Campaign(),
            ),
            **{name: row[name] for name in cls.model_fields if name in row},
        )


class NewerEvent(BaseModel):
    """A 200 in the newer shape: of a sign-up, a sale, and of a refund if the setting ``shape`` says so."""

    id: int
    etype: str
    sale_amount: int | None
    original_sale_amount: int | None
    original_sale_currency: str | None
    event_id: str | None
    plan_id: str | None
    billing_period: str | None = None
    created_at: Moment
    referral: Referral
    commissions: list[Commission]

    @classmethod
    def of(cls, event: Row, lead: Row, commissions: Sequence[Row]) -> Self:
        """
        Return the response for an event.

        :param event: a row of the table ``events``
        :param commissions: as :meth:`Store.fetch_commissions` returns them
        """
        return cls(
            id=event["id"],
            etype=event["kind"],
            sale_amount=event["amount_cents"],
            original_sale_amount=event["original_amount"],
            original_sale_currency=event["currency"],
            event_id=event["event_id"],
            plan_id=event["plan"],
            created_at=event["recorded_at"],
            referral=Referral(id=lead["id"], email=lead["email"], uid=lead["uid"]),
            commissions=[Commission.of(row) for row in commissions],
        )


class BatchProcess(BaseModel):
    """A batch that denies commissions."""

    id: int
    status: Literal["pending", "in_progress", "completed", "failed", "stopped"]
    total: int
    selected_total: int
    processed_count: int
    failed_count: int
    action_label: str = "commission/deny"
    created_at: Moment
    updated_at: Moment
    meta: dict[str, Any] = {}
    progress: Annotated[int, Field(ge=0, le=100)]
    processing_errors: list[str]

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return the batch of a row of the table ``batches``."""
        total = len(json.loads(row["ids"]))
        return cls(
            total=total,
            selected_total=total,
            progress=100 * (row["processed_count"] + row["failed_count"]) // total,
            processing_errors=json.loads(row["processing_errors"]),
            **{name: row[name] for name in "id status processed_count failed_count created_at updated_at".split()},
        )


class Message(BaseModel):
    """An error of a tracking call."""

    message: str


class CodedMessage(Message):
    """An error with a code."""

    code: str


class FieldErrors(CodedMessage):
    """An error in the parameters of a request."""

    errors: dict[str, list[str]]


class SignupExists(BaseModel):
    """A second sign-up of a lead."""

    transaction_id: str


def _email(promoter_id: int) -> str:
    return f"promoter-{promoter_id}@sandbox.example"
