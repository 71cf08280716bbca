"""Seed data: leads and commissions that tests add to the store without a call to the API."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, Required, Unpack

from pydantic import with_config
from typing_extensions import TypedDict  # pydantic requires this one below Python 3.12

from airflow_provider_firstpromoter.sandbox.money import percentage_of
from airflow_provider_firstpromoter.sandbox.settings import FORBID_UNKNOWN_FIELDS
from airflow_provider_firstpromoter.sandbox.store import Row, Store, counted_amount, timestamp

Status = Literal["pending", "approved", "denied"]


@with_config(FORBID_UNKNOWN_FIELDS)
class LeadSeed(TypedDict, total=False):
    """
    A referred customer with an e-mail address, a uid or both; several uids can share an address.

    ``promoter`` is the referral id of the promoter (default ``ref1``), who is created if necessary and earns rewards in
    ``unit`` (default ``cash``). ``parent`` is that of the promoter's own promoter, who earns a second tier of a sale,
    and ``split`` that of a promoter with whom the lead's own shares the first tier. ``bought`` says whether the lead
    has a sale (default true); a refund of a lead without a sale is answered with 204.
    """

    email: str | None
    uid: str | None
    promoter: str
    parent: str
    split: str
    bought: bool
    unit: str


@with_config(FORBID_UNKNOWN_FIELDS)
class CommissionSeed(TypedDict, total=False):
    """
    A commission of the lead with this ``uid`` or ``email``; ``sale_amount`` is required, and negative for a refund.

    ``amount`` is the commission (default: the sandbox's percentage of ``sale_amount``) in ``unit`` (default: the
    promoter's unit). Amounts are in cents of the account's currency; ``original_sale_amount`` is in
    ``original_sale_currency``, in which the customer paid. ``created_at`` defaults to now. ``promoter`` is the referral
    id of a promoter other than the lead's own, as in tiers and splits.
    """

    email: str | None
    uid: str | None
    event_id: str | None
    sale_amount: Required[int]
    amount: int
    unit: str
    status: Status
    commission_type: Literal["sale", "custom"]
    is_paid: bool
    is_split: bool
    tier: int
    promoter: str
    created_at: datetime
    original_sale_amount: int
    original_sale_currency: str


def add_leads(store: Store, account: str, leads: Iterable[LeadSeed]) -> int:
    """
    Add leads in one transaction.

    :return: the number of leads added
    :raises ValueError: if a lead has neither an e-mail address nor a uid, or another lead has the same one; then none
        is added
    """
    promoters: dict[str, int] = {}
    parents: dict[int, int] = {}
    moment = timestamp()
    count = 0

    def promoter_id(ref_id: str, unit: str = "cash") -> int:
        if ref_id not in promoters:
            promoters[ref_id] = store.get_or_create_promoter(account, ref_id, unit)["id"]
        return promoters[ref_id]

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal count
        for count, lead in enumerate(leads, 1):  # noqa: B007
            email, uid, ref_id = lead.get("email"), lead.get("uid"), lead.get("promoter", "ref1")
            if email is None and uid is None:
                raise ValueError("a lead needs an e-mail address or a uid")
            promoter, bought = (
                promoter_id(ref_id, lead.get("unit", "cash")),
                moment if lead.get("bought", True) else None,
            )
            if "parent" in lead:
                parents[promoter] = promoter_id(lead["parent"])
            split = promoter_id(lead["split"]) if "split" in lead else None
            yield account, email, uid, promoter, split, moment, bought

    with _seeding(store):
        store.execute_many(
            "INSERT INTO leads (account, email, uid, promoter_id, split_promoter_id, created_at, customer_since) "
            "VALUES (?,?,?,?,?,?,?)",
            rows(),
        )
        store.execute_many(
            "UPDATE promoters SET parent_id = ? WHERE id = ?",
            [(parent, promoter) for promoter, parent in parents.items()],
        )
    return count


def add_commissions(
    store: Store, account: str, currency: str, percent: int, commissions: Iterable[CommissionSeed]
) -> range:
    """
    Add commissions in one transaction.

    Their event_ids count as used: a refund with the event_id of a negative commission is answered with 409.

    :param currency: the currency of the account
    :param percent: the percentage of the sale that is the commission's amount if the seed has none
    :return: the ids of the commissions, in the order given
    :raises ValueError: if the account lacks the lead of a commission; then none is added
    """
    first = commission_id = 0
    promoters: dict[str, Row] = {}
    balances: Counter[int] = Counter()
    events: list[tuple[str, str, str]] = []

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal commission_id
        for commission_id, seed in enumerate(commissions, first):
            email, uid = seed.get("email"), seed.get("uid")
            lead = store.find_lead(account, email=email, uid=uid)
            if lead is None:
                raise ValueError(f"there is no lead with e-mail {email!r} or uid {uid!r}")
            ref_id = seed.get("promoter", lead["ref_id"])
            if ref_id not in promoters:
                promoters[ref_id] = store.get_or_create_promoter(account, ref_id)
            promoter = promoters[ref_id]
            sale_amount, unit = seed["sale_amount"], seed.get("unit", promoter["unit"])
            amount = seed.get("amount", percentage_of(sale_amount, percent))
            moment = timestamp(seed.get("created_at"))
            event_id = seed.get("event_id")
            if event_id is not None:
                events.append((account, "refund" if sale_amount < 0 else "sale", event_id))
            status = seed.get("status", "approved")
            balances[promoter["id"]] += counted_amount({"unit": unit, "status": status, "amount": amount})
            yield (
                commission_id,
                account,
                None,
                event_id,
                lead["id"],
                promoter["id"],
                status,
                seed.get("commission_type", "sale"),
                sale_amount,
                seed.get("original_sale_amount", sale_amount),
                seed.get("original_sale_currency", currency),
                amount,
                unit,
                seed.get("is_paid", False),
                seed.get("is_split", False),
                seed.get("tier", 1),
                moment,
                moment,
            )

    with _seeding(store):
        commission_id = store.execute("SELECT coalesce(max(id), 0) AS id FROM commissions")[0]["id"]
        first = commission_id + 1
        store.execute_many(f"INSERT INTO commissions VALUES ({', '.join('?' * 18)}, NULL)", rows())
        store.execute_many("INSERT OR IGNORE INTO events (account, kind, event_id) VALUES (?, ?, ?)", events)
        store.execute_many(
            "UPDATE promoters SET balance = balance + ? WHERE id = ?",
            [(amount, promoter) for promoter, amount in balances.items()],
        )
    return range(first, commission_id + 1)


@with_config(FORBID_UNKNOWN_FIELDS)
class CommissionChange(TypedDict, total=False):
    """The fields of a commission that a company can change later."""

    status: Status
    is_paid: bool


def change_commission(store: Store, commission_id: int, **change: Unpack[CommissionChange]) -> None:
    """
    Change the status of a commission, or whether it is paid.

    :param commission_id: the ``reward.id`` of the refund's or sale's response
    :raises ValueError: if there is no such commission
    """
    with store.transaction():
        commission = store.fetch_one("SELECT * FROM commissions WHERE id = ?", (commission_id,))
        if commission is None:
            raise ValueError(f"there is no commission {commission_id}")
        store.update_commission(commission, **change)


@contextmanager
def _seeding(store: Store) -> Iterator[None]:
    try:
        with store.transaction():
            yield
    except sqlite3.IntegrityError as error:
        raise ValueError(f"the store rejects the data: {error}") from None
