"""
The demo's warehouse: a SQLite file with refunds of every kind, and for each what should become of it.

What should become of a refund is known here and nowhere else: it is not in the table, and the checks at the
end of the demo hold Airflow's ledger and the sandbox's audit against it.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

#: The columns carry the refund call's own field names, as the query of the example DAG expects them.
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
    """Somebody who bought and was given the money back."""

    uid: str
    email: str
    #: By what FirstPromoter can find the referral: the uid, the e-mail, or not at all.
    known_by: Literal["uid", "email", None] = "uid"
    #: Whether FirstPromoter heard of a sale to them. A lead without one makes no commission.
    bought: bool = True


@dataclass(frozen=True)
class Row:
    """One row of the table, and what should become of it."""

    kind: str
    outcome: str
    customer: Customer
    values: dict[str, Any]
    #: What is written over it later on, by somebody who looked or by the bank.
    right: dict[str, Any] = field(default_factory=dict)

    @property
    def event_id(self) -> str | None:
        return self.values["event_id"]  # type: ignore[no-any-return]

    @property
    def asked_for(self) -> bool:
        """Whether the query of the example DAG returns it."""
        return bool(self.values["status"] == "succeeded")

    def later(self) -> Row:
        """The row as it is in the end, and what should become of that."""
        row = replace(self, values={**self.values, **self.right}, right={})
        return replace(row, outcome="recorded") if self.right and row.asked_for else row


class Refunds:
    """Makes refunds, numbered from one, the same at every run of the demo."""

    def __init__(self) -> None:
        self._random = random.Random(2024)
        self._customers = 0
        self._refunds = 0

    def first(self) -> list[Row]:
        """What is in the warehouse on the first day, in the order in which it happened."""
        rows = [
            *self.several(80, "referred, uid alone", email=None),
            *self.several(40, "referred, e-mail alone", known_by="email", uid=None),
            *self.several(35, "referred, uid and e-mail"),
            *self.several(15, "referred by e-mail, though there is a uid too", known_by="email"),
            *self.several(15, "in euros", currency="EUR"),
            *self.several(15, "in yen, a currency without cents", currency="JPY"),
            *self.several(10, "three seats at once", quantity=3),
            *self.several(45, "customers whom nobody referred", "not_referred", known_by=None, email=None),
            *self.several(5, "leads that never bought", "not_referred", bought=False, email=None),
            *self.several(6, "sent by hand last week", "already_recorded"),
            *self.pending(),
            *self.invalid(),
        ]
        rows += rows[:6]  # an upstream job ran twice: the same refunds, in the table twice
        self._random.shuffle(rows)
        return rows

    def late(self) -> list[Row]:
        """What comes in afterwards."""
        return [
            *self.several(18, "late, referred"),
            *self.several(4, "late, nobody referred", "not_referred", known_by=None, email=None),
        ]

    def several(self, count: int, kind: str, outcome: str = "recorded", **changes: Any) -> Iterator[Row]:
        for _ in range(count):
            yield self.one(kind, outcome, **changes)

    def pending(self) -> Iterator[Row]:
        """Refunds that the bank has not let through yet."""
        for row in self.several(8, "not through the bank yet", status="pending"):
            yield replace(row, right={"status": "succeeded"})

    def invalid(self) -> Iterator[Row]:
        """One of each mistake that real warehouses hold, and how it is put right."""
        yield self.mistake("a currency spelt out", currency="EURO")
        yield self.mistake("an amount in words", amount="n/a")
        yield self.mistake("zero seats", quantity=0)
        yield self.mistake("neither uid nor e-mail", uid=None, email=None)
        yield self.mistake("an id too long to be one", event_id="re_" + "x" * 297)
        yield self.mistake("no id at all", event_id=None)
        # These two are no refunds, and never will be.
        yield replace(self.mistake("a won dispute, with a minus", amount=-4900), right={"status": "withdrawn"})
        yield replace(self.mistake("nothing was refunded", amount=0), right={"status": "withdrawn"})

    def mistake(self, kind: str, **wrong: Any) -> Row:
        row = self.one(kind, "rejected")
        return replace(row, values={**row.values, **wrong}, right={name: row.values[name] for name in wrong})

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
            "currency": None,  # the account's own
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
    """Make the file, with an empty table."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(TABLE)


def insert(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to the table."""
    places = ", ".join("?" * len(COLUMNS))
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            f"INSERT INTO refunds ({', '.join(COLUMNS)}) VALUES ({places})",
            [[row.values[column] for column in COLUMNS] for row in rows],
        )


def rewrite(path: Path, rows: Iterable[Row]) -> None:
    """Write rows over what the table holds of the same sales."""
    places = ", ".join(f"{column} = ?" for column in COLUMNS)
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            f"UPDATE refunds SET {places} WHERE sale_event_id = ?",
            [[*(row.values[column] for column in COLUMNS), row.values["sale_event_id"]] for row in rows],
        )
