"""
Checks the demo's claims against what the sandbox has recorded.

The sandbox is an independent witness, because it shares no code with the provider.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dev.demo.ledger import LedgerRow
from dev.demo.stage import Run
from dev.demo.warehouse import Row


@dataclass(frozen=True)
class Claim:
    """A sentence, and every fact that contradicts it."""

    sentence: str
    contradictions: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        return not self.contradictions


def check_claims(
    rows: Sequence[Row], runs: Sequence[Run], ledger: Sequence[LedgerRow], recorded: Sequence[Mapping[str, Any]]
) -> list[Claim]:
    """
    Check what the demo claims.

    :param rows: all rows of the warehouse
    :param runs: the three runs
    :param recorded: the refunds that the sandbox has recorded
    """
    first, second, third = runs
    expected = {row.event_id: row.outcome for row in rows if row.event_id}
    valid = {event_id for event_id, outcome in expected.items() if outcome != "rejected"}
    referred = {event_id for event_id in valid if expected[event_id] != "not_referred"}
    expected |= {row.event_id: "rejected" for row in ledger if row.is_nameless}
    return [
        Claim("The first run sent every valid refund, and no other", _difference(first.requests, first.due)),
        Claim("The second run sent nothing", _difference(second.requests, ())),
        Claim("The third run sent the late and the corrected refunds", _difference(third.requests, third.due)),
        Claim(
            "FirstPromoter has recorded every refund of a referred customer exactly once",
            _not_exactly_once((refund["event_id"] for refund in recorded), referred),
        ),
        Claim(
            "The ledger has one row for every valid refund",
            _not_exactly_once((row.event_id for row in ledger if expected.get(row.event_id) != "rejected"), valid),
        ),
        Claim(
            "Every row of the ledger has the expected outcome",
            [
                f"{row.event_id}: {row.outcome}, expected {expected.get(row.event_id)}"
                for row in ledger
                if row.outcome != expected.get(row.event_id)
            ],
        ),
        Claim(
            "The rewards in XCom are all the rewards that FirstPromoter reversed",
            _different_sums(
                _sums(item for run in runs for item in run.rewards.items()),
                _sums((str(one["promoter_id"]), one["amount"]) for refund in recorded for one in refund["commissions"]),
            ),
        ),
    ]


def _difference(requests: Iterable[str], due: Iterable[str]) -> list[str]:
    sent, due = set(requests), set(due)
    return [f"{one}: not sent" for one in sorted(due - sent)] + [f"{one}: sent" for one in sorted(sent - due)]


def _not_exactly_once(found: Iterable[str], wanted: set[str]) -> list[str]:
    counts = Counter(found)
    return [
        f"{one}: {counts[one]} times, expected {int(one in wanted)}"
        for one in sorted(wanted | set(counts))
        if counts[one] != (one in wanted)
    ]


def _sums(amounts: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for name, amount in amounts:
        sums[name] = sums.get(name, 0) + amount
    return sums


def _different_sums(in_airflow: Mapping[str, int], in_sandbox: Mapping[str, int]) -> list[str]:
    return [
        f"promoter {one}: {in_airflow.get(one)} in Airflow, {in_sandbox.get(one)} in the sandbox"
        for one in sorted({*in_airflow, *in_sandbox})
        if in_airflow.get(one) != in_sandbox.get(one)
    ]
