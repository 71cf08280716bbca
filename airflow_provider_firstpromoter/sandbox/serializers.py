"""The JSON bodies of the API's responses, with the fields of the contract."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from airflow_provider_firstpromoter.sandbox.store import Row

#: Part of every credential and tax form in a response; tests search for it where these must not appear.
SECRET = "sandbox-secret"
#: The campaign of every promoter in the sandbox.
CAMPAIGN = {"id": 1, "name": "Sandbox campaign"}


def lead_body(lead: Row) -> dict[str, Any]:
    """Return the contract's ``Lead``; fields that are not nullable are omitted if they have no value."""
    body = {
        "id": lead["id"],
        "state": "cancelled" if lead["cancelled_at"] else "active" if lead["customer_since"] else "signup",
        "email": lead["email"],
        "uid": lead["uid"],
        "customer_since": lead["customer_since"],
        "cancelled_at": lead["cancelled_at"],
        "plan_name": lead["plan_name"],
        "suspicion": "no_suspicion",
        "username": None,
        "website": None,
        "created_at": lead["created_at"],
        "split_promotion_id": None,
        "custom_fields": None,
        "split_percentage_value": None,
        "visitor_sub_id": None,
    }
    for name in ("email", "customer_since", "cancelled_at"):
        if body[name] is None:
            del body[name]
    return body


def promoter_body(promoter: Row) -> dict[str, Any]:
    """Return the contract's ``Promoter``, including credentials and tax forms."""
    promoter_id, ref_id = promoter["id"], promoter["ref_id"]
    return {
        "id": promoter_id,
        "status": promoter["status"],
        "cust_id": "",
        "email": _email(promoter_id),
        "created_at": promoter["created_at"],
        "temp_password": f"{SECRET}-temp-password-{promoter_id}",
        "default_promotion_id": promoter_id,
        "pref": ref_id,
        "default_ref_id": ref_id,
        "note": None,
        "w8_form_url": f"https://sandbox.example/{SECRET}-w8-{promoter_id}.pdf",
        "w9_form_url": f"https://sandbox.example/{SECRET}-w9-{promoter_id}.pdf",
        "parent_promoter_id": 0,
        "earnings_balance": {"cash": promoter["balance"]},
        "current_balance": {"cash": promoter["balance"]},
        "paid_balance": {"cash": 0},
        "auth_token": f"{SECRET}-auth-token-{promoter_id}",
    }


def older_event_body(kind: str, event_number: int, commission: Row, lead: Row, promoter: Row) -> dict[str, Any]:
    """
    Return the response to a refund in the shape that its page documents, with one reward.

    :param kind: ``refund`` or ``sale``
    :param event_number: the id of the event
    """
    lead_json = lead_body(lead)
    return {
        "id": event_number,
        "type": kind,
        "amount_cents": commission["sale_amount"],
        "reward": {
            "id": commission["id"],
            "status": commission["status"],
            "amount": commission["amount"],
            "unit": commission["unit"],
            "created_at": commission["created_at"],
            "lead": lead_json,
            "event_id": commission["event_id"],
            "conversion_amount": commission["sale_amount"],
            "tier_level": commission["tier"],
            "split_type": None,
        },
        "lead": lead_json,
        "promoter": promoter_body(promoter),
    }


def newer_event_body(kind: str, event_number: int, commissions: Sequence[Row]) -> dict[str, Any]:
    """
    Return the response to a sale or a refund in the newer shape, with the commissions as the read API lists them.

    :param kind: ``refund`` or ``sale``
    :param event_number: the id of the event
    :param commissions: the commissions of the event, as :meth:`Store.fetch_commissions` returns them
    """
    first = commission_body(commissions[0])
    copied = "sale_amount original_sale_amount original_sale_currency event_id created_at referral"
    return {
        "id": event_number,
        "etype": kind,
        **{name: first[name] for name in copied.split()},
        "plan_id": None,
        "billing_period": None,
        "commissions": [commission_body(commission) for commission in commissions],
    }


def commission_body(commission: Row) -> dict[str, Any]:
    """
    Return a commission as the read API lists it.

    :param commission: a row of :meth:`Store.fetch_commissions`
    """
    copied = (
        "id status commission_type event_id sale_amount original_sale_amount original_sale_currency amount unit "
        "is_paid tier created_at status_updated_at"
    )
    promoter_id = commission["promoter_id"]
    return {
        **{name: commission[name] for name in copied.split()},
        "is_paid": bool(commission["is_paid"]),
        "is_split": False,
        "is_self_referral": False,
        "fraud_check": "no_suspicion",
        "referral": {"id": commission["lead_id"], "email": commission["email"], "uid": commission["uid"]},
        "reward": {"id": 1, "name": "Sandbox reward"},
        "promoter_campaign": {
            "id": promoter_id,
            "campaign_id": CAMPAIGN["id"],
            "promoter_id": promoter_id,
            "promoter": {"id": promoter_id, "email": _email(promoter_id), "name": commission["ref_id"]},
            "campaign": CAMPAIGN,
        },
    }


def batch_body(batch: Row) -> dict[str, Any]:
    """Return the documented fields of a batch that approves, denies or deletes commissions."""
    total = len(json.loads(batch["ids"]))
    return {
        "id": batch["id"],
        "status": batch["status"],
        "total": total,
        "selected_total": total,
        "processed_count": batch["processed_count"],
        "failed_count": batch["failed_count"],
        "action_label": f"commission/{batch['action']}",
        "created_at": batch["created_at"],
        "updated_at": batch["updated_at"],
        "meta": {},
        "progress": 100 * (batch["processed_count"] + batch["failed_count"]) // total,
        "processing_errors": json.loads(batch["processing_errors"]),
    }


def _email(promoter_id: int) -> str:
    return f"promoter-{promoter_id}@sandbox.example"
