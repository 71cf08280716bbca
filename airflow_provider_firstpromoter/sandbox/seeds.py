"""What is planted in the books without a call to the API: customers, and commissions of the past."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, Required, Unpack

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from airflow_provider_firstpromoter.sandbox.money import percentage_of
from airflow_provider_firstpromoter.sandbox.store import Row, Store, timestamp

#: A misspelt field is an error, also over HTTP.
FORBID_UNKNOWN_FIELDS = ConfigDict(extra="forbid")
Status = Literal["pending", "approved", "denied"]


@with_config(FORBID_UNKNOWN_FIELDS)
class LeadSeed(TypedDict, total=False):
    """
    A referred customer; at least one of e-mail and uid.

    ``promoter`` is the referral id of whoever referred it (``ref1``), made on the spot, earning in ``unit``
    (``cash``). A refund of a lead that never ``bought`` (it did) is answered with 204.
    """

    email: str | None
    uid: str | None
    promoter: str
    bought: bool
    unit: str


@with_config(FORBID_UNKNOWN_FIELDS)
class CommissionSeed(TypedDict, total=False):
    """
    A commission of a lead known by ``uid`` or else ``email``; ``sale_amount`` is required, negative for a refund.

    ``amount`` is the commission (by default the account's percentage) in ``unit`` (the promoter's). Amounts are in
    cents of the account's currency, the ``original_`` ones as the customer paid. ``created_at`` is a datetime
    (now), ``promoter`` a referral id if it is not the lead's own, as in tiers and splits.
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
    tier: int
    promoter: str
    created_at: datetime
    original_sale_amount: int
    original_sale_currency: str


def add_leads(store: Store, account: str, leads: Iterable[LeadSeed]) -> int:
    """
    :return: how many there were
    :raises ValueError: one of them has neither e-mail nor uid, or one that is taken; then none is added
    """
    promoters: dict[str, int] = {}
    moment = timestamp()
    count = 0

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal count
        for count, lead in enumerate(leads, 1):  # noqa: B007
            email, uid, ref_id = lead.get("email"), lead.get("uid"), lead.get("promoter", "ref1")
            if email is None and uid is None:
                raise ValueError("a lead needs an e-mail address or a uid")
            if ref_id not in promoters:
                promoters[ref_id] = store.get_or_create_promoter(account, ref_id, lead.get("unit", "cash"))["id"]
            yield account, email, uid, promoters[ref_id], moment, moment if lead.get("bought", True) else None

    with _seeding(store):
        store.execute_many(
            "INSERT INTO leads (account, email, uid, promoter_id, created_at, customer_since) VALUES (?,?,?,?,?,?)",
            rows(),
        )
    return count


def add_commissions(
    store: Store, account: str, currency: str, percent: int, commissions: Iterable[CommissionSeed]
) -> range:
    """
    Their event_ids are taken from then on: a refund that bears the one of a negative commission is answered with 409.

    :param currency: of the account
    :param percent: of the sale, where a commission names no amount
    :return: their ids, in the order given
    :raises ValueError: a commission is of nobody known; then none is added
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
            if unit == "cash":
                balances[promoter["id"]] += amount
            yield (
                commission_id,
                account,
                event_id,
                lead["id"],
                promoter["id"],
                seed.get("status", "approved"),
                seed.get("commission_type", "sale"),
                sale_amount,
                seed.get("original_sale_amount", sale_amount),
                seed.get("original_sale_currency", currency),
                amount,
                unit,
                seed.get("is_paid", False),
                seed.get("tier", 1),
                moment,
                moment,
            )

    with _seeding(store):
        commission_id = store.execute("SELECT coalesce(max(id), 0) AS id FROM commissions")[0]["id"]
        first = commission_id + 1
        store.execute_many(f"INSERT INTO commissions VALUES ({', '.join('?' * 16)})", rows())
        store.execute_many("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", events)
        store.execute_many(
            "UPDATE promoters SET balance = balance + ? WHERE id = ?",
            [(amount, promoter) for promoter, amount in balances.items()],
        )
    return range(first, commission_id + 1)


@with_config(FORBID_UNKNOWN_FIELDS)
class CommissionChange(TypedDict, total=False):
    """What a company can change about a commission afterwards."""

    status: Status
    is_paid: bool


def change_commission(store: Store, commission_id: int, **change: Unpack[CommissionChange]) -> None:
    """
    :param commission_id: as in the answer's ``reward.id``
    :raises ValueError: there is no such commission
    """
    with store.transaction():
        if store.fetch_one("SELECT 1 FROM commissions WHERE id = ?", (commission_id,)) is None:
            raise ValueError(f"there is no commission {commission_id}")
        for column, value in change.items():
            store.execute(
                f"UPDATE commissions SET {column} = ?, status_updated_at = ? WHERE id = ?",
                (value, timestamp(), commission_id),
            )


@contextmanager
def _seeding(store: Store) -> Iterator[None]:
    try:
        with store.transaction():
            yield
    except sqlite3.IntegrityError as error:
        raise ValueError(f"the books refuse that: {error}") from None
