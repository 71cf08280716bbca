"""What a sale or a refund writes: the event_id, a commission, the promoter's balance, and the record of a refund."""

from __future__ import annotations

from typing import Any

from airflow_provider_firstpromoter.sandbox.money import convert, percentage_of
from airflow_provider_firstpromoter.sandbox.serializers import newer_event_body, older_event_body
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings
from airflow_provider_firstpromoter.sandbox.store import Row, Store, timestamp


def record_event(
    store: Store,
    kind: str,
    account: Account,
    lead: Row,
    event_id: str,
    amount: int,
    currency: str,
    *,
    settings: Settings,
    **refund_fields: Any,
) -> dict[str, Any]:
    """
    Create the commission of a sale or refund, in the caller's transaction, and the record of a refund.

    :param kind: ``sale`` or ``refund``
    :param amount: minor units of ``currency``; negative for a refund
    :param settings: which part of the amount the promoter gets, and the shape of the response
    :param refund_fields: further columns of the record of a refund
    :return: the body of the response
    """
    sale_amount = convert(amount, currency, account.currency)
    store.reserve_event_id(account.id, kind, event_id)
    promoter = store.fetch_one("SELECT * FROM promoters WHERE id = ?", (lead["promoter_id"],))
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
        "amount": percentage_of(sale_amount, settings.commission_percent),
        "unit": promoter["unit"],
        "tier": 1,
        "created_at": moment,
        "status_updated_at": moment,
        "after_request": store.latest_request(),
    }
    event_number = commission["id"] = store.insert("commissions", **commission)
    if promoter["unit"] == "cash":
        promoter["balance"] += commission["amount"]
        store.execute("UPDATE promoters SET balance = ? WHERE id = ?", (promoter["balance"], promoter["id"]))
    if kind == "refund":
        event_number = store.insert(
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
    if settings.shape == "newer":
        return newer_event_body(kind, event_number, store.fetch_commissions([commission["id"]]))
    return older_event_body(kind, event_number, commission, lead, promoter)
