"""Counts, sums and largest amounts of pending refunds, by which a user can tell a backfill from a wrong query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from airflow_provider_firstpromoter.calls import Refund, Row, Validation
from airflow_provider_firstpromoter.exceptions import InvalidRowError

#: The number of refunds that a preview shows.
SAMPLE = 10
#: In minor units. If no refund is below it and none has cents, the column probably holds cents and ``major`` is a
#: mistake.
WHOLE_AND_LARGE = 10_000


class PendingTotals:
    """
    Adds up refunds by currency, in minor units.

    :param how: how rows are to be read
    """

    def __init__(self, how: Validation) -> None:
        self._how = how
        self.counts: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.largest: dict[str, int] = {}
        self._smallest: int | None = None
        self._all_whole = True
        self.sample: list[dict[str, Any]] = []

    @classmethod
    def of(cls, rows: Iterable[Row], how: Validation) -> PendingTotals:
        """Add up the refunds of these rows; rows that cannot be sent are left out."""
        totals = cls(how)
        for row in rows:
            try:
                totals.add(Refund.from_row(row.values, how))
            except InvalidRowError:
                continue
        return totals

    def add(self, refund: Refund) -> None:
        """Add one refund."""
        currency = refund.currency or self._how.currency or "account"
        self.counts[currency] += 1
        self.sums[currency] += refund.amount
        self.largest[currency] = max(self.largest.get(currency, 0), refund.amount)
        self._smallest = min(self._smallest or refund.amount, refund.amount)
        self._all_whole = self._all_whole and refund.amount % 100 == 0
        if len(self.sample) < SAMPLE:
            self.sample.append(
                {
                    "event_id": refund.event_id,
                    "amount": refund.amount,
                    "currency": currency,
                    "identified_by": refund.identities(self._how.identify_by)[0][0],
                }
            )

    def warnings(self) -> list[str]:
        """Return a warning if amounts that are read as major units are all whole and large, as if they were cents."""
        if self._how.amount_unit != "major" or not self._all_whole or (self._smallest or 0) < WHOLE_AND_LARGE:
            return []
        return [
            "amount_unit is 'major', and every amount is whole and large: is the column in cents? "
            f"As it is, these would be sent: {self.text()}"
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON for the summary."""
        return {
            "refunds": self.counts.total(),
            "by_currency": {
                currency: {"refunds": count, "sum": self.sums[currency], "largest": self.largest[currency]}
                for currency, count in sorted(self.counts.items())
            },
            "sample": self.sample,
        }

    def text(self) -> str:
        """Return the sums in words."""
        return ", ".join(
            f"{self.sums[currency]} minor units of {_name(currency)} "
            f"({self.counts[currency]} refunds, the largest {self.largest[currency]})"
            for currency in sorted(self.sums)
        )


def _name(currency: str) -> str:
    return "the account's currency" if currency == "account" else currency
