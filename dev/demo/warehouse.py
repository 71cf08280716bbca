"""
The demo's warehouse: a SQLite file with refunds of every kind, and the expected outcome of each.

The expected outcomes are not in the table. At the end of the demo they are compared with the ledger and with what the
sandbox has recorded.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

#: The columns have the names of the fields of the refund call, as the query of the example DAG expects them.
TABLE = """
CREATE TABLE refunds (
    event_id       TEXT,
    amount         INTEGER,   -- in minor units: 1999 is 19.99, and 1999 yen are 1999
    currency       TEXT,
    uid            TEXT,
    email          TEXT,
    quantity       INTEGER,
    sale_event_id  TEXT,
    status         TEXT NOT NULL,
    refunded_at    TEXT NOT NULL
)
"""
COLUMNS = ("event_id", "amount", "currency", "uid", "email", "quantity", "sale_event_id", "status", "refunded_at")


@dataclass(frozen=True)
class Customer:
    """
    A customer who got a refund.

    :param known_by: the id under which FirstPromoter knows the customer; None if nobody referred the customer
    :param bought: whether FirstPromoter knows of a sale to the customer; without one there is no commission
    """

    uid: str
    email: str
    known_by: Literal["uid", "email", None] = "uid"
    bought: bool = True


@dataclass(frozen=True)
class Row:
    """
    One row of the table.

    :param kind: a description of such rows
    :param outcome: the expected outcome
    :param values: the values by column
    :param correction: the values that change before the third run, by column
    """

    kind: str
    outcome: str
    customer: Customer
    values: dict[str, Any]
    correction: dict[str, Any] = field(default_factory=dict)

    @property
    def event_id(self) -> str | None:
        return self.values["event_id"]  # type: ignore[no-any-return]

    @property
    def is_queried(self) -> bool:
        """Whether the query of the example DAG returns the row."""
        return bool(self.values["status"] == "succeeded")

    def corrected(self) -> Row:
        """Return the row after its correction, with the outcome that is expected then."""
        row = replace(self, values={**self.values, **self.correction}, correction={})
        return replace(row, outcome="recorded") if self.correction and row.is_queried else row


class RefundGenerator:
    """Generates refunds that are numbered from 1 and the same in every run of the demo."""

    def __init__(self) -> None:
        self._random = random.Random(2024)
        self._customers = 0
        self._refunds = 0

    def first_day(self) -> list[Row]:
        """Return the refunds of the first day."""
        rows = [
            *self.several(80, "referred, with a uid only", email=None),
            *self.several(40, "referred, with an e-mail address only", known_by="email", uid=None),
            *self.several(35, "referred, with a uid and an e-mail address"),
            *self.several(15, "known by e-mail address only, with a uid too", known_by="email"),
            *self.several(15, "in euros", currency="EUR"),
            *self.several(15, "in yen, a currency without decimals", currency="JPY"),
            *self.several(10, "three seats at once", quantity=3),
            *self.several(45, "customers without a referral", "not_referred", known_by=None, email=None),
            *self.several(5, "referred customers without a sale", "not_referred", bought=False, email=None),
            *self.several(6, "sent by hand last week", "already_recorded"),
            *self.pending(),
            *self.invalid(),
        ]
        rows += rows[:6]  # the same refunds again, as an upstream job leaves them that ran twice
        self._random.shuffle(rows)
        return rows

    def late(self) -> list[Row]:
        """Return refunds that arrive after the first day."""
        return [
            *self.several(18, "late, referred"),
            *self.several(4, "late, without a referral", "not_referred", known_by=None, email=None),
        ]

    def several(self, count: int, kind: str, outcome: str = "recorded", **changes: Any) -> Iterator[Row]:
        for _ in range(count):
            yield self.one(kind, outcome, **changes)

    def pending(self) -> Iterator[Row]:
        """Yield refunds that are pending at the bank on the first day."""
        for row in self.several(8, "pending at the bank", status="pending"):
            yield replace(row, correction={"status": "succeeded"})

    def invalid(self) -> Iterator[Row]:
        """Yield one row for each mistake that is common in warehouses, with its correction."""
        yield self.mistake("a currency that is not a code", currency="EURO")
        yield self.mistake("an amount that is not a number", amount="n/a")
        yield self.mistake("a quantity of zero", quantity=0)
        yield self.mistake("neither a uid nor an e-mail address", uid=None, email=None)
        yield self.mistake("an event_id of 300 characters", event_id="re_" + "x" * 297)
        yield self.mistake("no event_id", event_id=None)
        # These two are not refunds; their correction takes them out of the query.
        withdrawn = {"status": "withdrawn"}
        yield replace(self.mistake("a negative amount, for a won dispute", amount=-4900), correction=withdrawn)
        yield replace(self.mistake("an amount of zero", amount=0), correction=withdrawn)

    def mistake(self, kind: str, **wrong: Any) -> Row:
        row = self.one(kind, "rejected")
        return replace(row, values={**row.values, **wrong}, correction={name: row.values[name] for name in wrong})

    def one(
        self,
        kind: str,
        outcome: str,
        *,
        known_by: Literal["uid", "email", None] = "uid",
        bought: bool = True,
        **changes: Any,
    ) -> Row:
        self._refunds += 1
        customer = self.customer(known_by, bought)
        values = {
            "event_id": f"re_{self._refunds:05}",
            "amount": self._random.choice([900, 1999, 4900, 9900, 12050]),
            "currency": None,  # the default currency of the account
            "uid": customer.uid,
            "email": customer.email,
            "quantity": None,
            "sale_event_id": f"ch_{self._refunds:05}",
            "status": "succeeded",
            "refunded_at": f"2025-11-{self._random.randint(1, 28):02}",
        }
        return Row(kind, outcome, customer, {**values, **changes})

    def customer(self, known_by: Literal["uid", "email", None], bought: bool) -> Customer:
        self._customers += 1
        name = f"{self._customers:05}"
        return Customer(f"user-{name}", f"customer{name}@example.com", known_by, bought)


def create(path: Path) -> None:
    """Create the file with an empty table."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(TABLE)


def insert(path: Path, rows: Iterable[Row]) -> None:
    """Insert rows into the table."""
    places = ", ".join("?" * len(COLUMNS))
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            f"INSERT INTO refunds ({', '.join(COLUMNS)}) VALUES ({places})",
            [[row.values[column] for column in COLUMNS] for row in rows],
        )


def update(path: Path, rows: Iterable[Row]) -> None:
    """Update the rows of the same sales."""
    places = ", ".join(f"{column} = ?" for column in COLUMNS)
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            f"UPDATE refunds SET {places} WHERE sale_event_id = ?",
            [[*(row.values[column] for column in COLUMNS), row.values["sale_event_id"]] for row in rows],
        )
