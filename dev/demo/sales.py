"""The sales of the demo, whose commissions some refunds then reverse: sent by the example DAG of both calls."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from itertools import cycle
from pathlib import Path
from typing import Any

from dev.demo import warehouse
from dev.demo.claims import Claim
from dev.sandbox import SandboxProcess

TABLE = """
CREATE TABLE sales (
    event_id  TEXT,
    amount    INTEGER,   -- in minor units
    currency  TEXT,
    uid       TEXT,
    email     TEXT,
    status    TEXT NOT NULL,
    sold_at   TEXT NOT NULL
)
"""
#: The promoter of a single customer, who gets all of the money back.
PROMOTER = "elena"
#: The promoters of the other customers.
PROMOTERS = ("amara", "bruno", "chidi", "dana")
AMOUNTS = (4900, 1999, 9900, 12050, 900)


@dataclass(frozen=True)
class Sale:
    """
    A sale of today.

    :param promoter: the referral id of who referred the customer; None if the customer was not referred
    :param refunded: how much the customer gets back, in cents
    """

    number: int
    amount: int
    promoter: str | None
    refunded: int = 0

    @property
    def event_id(self) -> str:
        return f"ch_{self.number}"

    @property
    def uid(self) -> str:
        return f"buyer-{self.number}"


def sales() -> list[Sale]:
    """Return the sales: the same in every run of the demo."""
    promoters, amounts = cycle(PROMOTERS), cycle(AMOUNTS)
    referred = [Sale(20_001 + n, next(amounts), next(promoters)) for n in range(20)]
    return [
        # Every fifth customer gets half of the money back.
        *(replace(one, refunded=(n % 5 == 0) * one.amount // 2) for n, one in enumerate(referred)),
        *(Sale(20_101 + n, next(amounts), None) for n in range(5)),
        Sale(20_201, 4900, PROMOTER, refunded=4900),
    ]


def insert(path: Path, sandbox: SandboxProcess, rows: Iterable[Sale]) -> None:
    """Insert sales into the warehouse, after FirstPromoter has learned who referred the customers."""
    rows = list(rows)
    sandbox.add_leads({"uid": one.uid, "promoter": one.promoter, "bought": False} for one in rows if one.promoter)
    today = date.today().isoformat()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(TABLE)
        database.executemany(
            "INSERT INTO sales VALUES (?, ?, NULL, ?, NULL, 'succeeded', ?)",
            [(one.event_id, one.amount, one.uid, today) for one in rows],
        )


def insert_refunds(path: Path, rows: Iterable[Sale]) -> list[str]:
    """Insert the refunds of sales into the warehouse, and return their event_ids."""
    values = [
        {
            **dict.fromkeys(warehouse.COLUMNS),
            "event_id": f"re_{one.number}",
            "amount": one.refunded,
            "uid": one.uid,
            "sale_event_id": one.event_id,
            "status": "succeeded",
            "refunded_at": date.today().isoformat(),
        }
        for one in rows
        if one.refunded
    ]
    customer = warehouse.Customer("", "")
    warehouse.insert(path, (warehouse.Row("of a sale", "recorded", customer, one) for one in values))
    return [str(one["event_id"]) for one in values]


def check_claims(rows: Sequence[Sale], sandbox: SandboxProcess, net: Sequence[Mapping[str, str]]) -> list[Claim]:
    """
    Check what the demo claims of both calls.

    :param net: the rows of the ledger's view of both calls
    """
    sold, refunded = sandbox.recorded("sale"), sandbox.recorded("refund")
    referred = {one.event_id for one in rows if one.promoter}
    found = sorted(one["event_id"] for one in sold)
    in_sandbox: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for place, events in enumerate((sold, refunded)):
        for commission in (one for event in events for one in event["commissions"]):
            in_sandbox[commission["promoter_ref_id"]][place] += commission["amount"]
    in_ledger: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in net:
        for place, name in enumerate(("earned", "reversed")):
            in_ledger[row["promoter_ref"]][place] += int(row[name])
        if int(row["net"]) != int(row["earned"]) + int(row["reversed"]):
            in_ledger[row["promoter_ref"]][0] += 10**9  # contradicts the sandbox
    earned, reversed_ = in_ledger[PROMOTER]
    return [
        Claim(
            "Each sale of a referred customer has become a commission, once",
            [f"recorded {found}"] * (found != sorted(referred)),
        ),
        Claim(
            f"{PROMOTER}'s only customer got all of the money back: the net of the sale and its refund is zero",
            [f"earned {earned}, reversed {reversed_}"] * (earned <= 0 or earned + reversed_ != 0),
        ),
        Claim(
            "The net view has what FirstPromoter has for each promoter, to the cent",
            [
                f"{one}: {in_ledger[one]} in the ledger, {in_sandbox[one]} in the sandbox"
                for one in sorted({*in_ledger, *in_sandbox}, key=str)
                if in_ledger[one] != in_sandbox[one]
            ],
        ),
    ]


def promoters_of(events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the referral ids of the promoters, by promoter id."""
    return {str(one["promoter_id"]): one["promoter_ref_id"] for event in events for one in event["commissions"]}
