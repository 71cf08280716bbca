"""
What the demo claims, held against what the sandbox noted down for itself.

The sandbox is an independent witness: it shares no code with the provider.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dev.demo.ledger import Entry
from dev.demo.stage import Chapter
from dev.demo.warehouse import Row
from dev.sandbox import Recorded


@dataclass(frozen=True)
class Claim:
    """A sentence, and what speaks against it: nothing, if it is true."""

    sentence: str
    against: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        return not self.against


def claims(
    rows: Sequence[Row], chapters: Sequence[Chapter], ledger: Sequence[Entry], recorded: Sequence[Recorded]
) -> list[Claim]:
    """
    :param rows: everything in the warehouse
    :param chapters: the three runs
    :param recorded: the refunds in the sandbox's books
    """
    first, second, third = chapters
    outcomes = {row.event_id: row.outcome for row in rows if row.event_id}
    valid = {event_id for event_id, outcome in outcomes.items() if outcome != "rejected"}
    referred = {event_id for event_id in valid if outcomes[event_id] != "not_referred"}
    return [
        Claim("The first run sent every valid refund, and no other", _other(first.requests, first.due)),
        Claim("The second run sent nothing", _other(second.requests, ())),
        Claim("The third run sent what had come in or been put right, and no other", _other(third.requests, third.due)),
        Claim(
            "FirstPromoter has every refund of a referral once",
            _not_once((refund.event_id for refund in recorded), referred),
        ),
        Claim(
            "Every valid refund has one outcome in the ledger",
            _not_once((entry.event_id for entry in ledger if outcomes.get(entry.event_id) != "rejected"), valid),
        ),
        Claim(
            "It is the outcome that it should have",
            [
                f"{entry.event_id}: {entry.outcome}, not {outcomes.get(entry.event_id)}"
                for entry in ledger
                if entry.outcome != outcomes.get(entry.event_id)
            ],
        ),
        Claim(
            "The rewards handed on by XCom are all that FirstPromoter took back",
            _differing(
                _sums(item for chapter in chapters for item in chapter.rewards.items()),
                _sums((refund.promoter_id, refund.reward) for refund in recorded),
            ),
        ),
    ]


def _other(requests: Iterable[str], due: Iterable[str]) -> list[str]:
    asked, due = set(requests), set(due)
    return [f"{one}: not sent" for one in sorted(due - asked)] + [f"{one}: sent" for one in sorted(asked - due)]


def _not_once(found: Iterable[str], wanted: set[str]) -> list[str]:
    counts = Counter(found)
    return [
        f"{one}: {counts[one]} times, not {int(one in wanted)}"
        for one in sorted(wanted | set(counts))
        if counts[one] != (one in wanted)
    ]


def _sums(amounts: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for name, amount in amounts:
        sums[name] = sums.get(name, 0) + amount
    return sums


def _differing(told: Mapping[str, int], booked: Mapping[str, int]) -> list[str]:
    return [
        f"promoter {one}: {told.get(one)} in Airflow, {booked.get(one)} in the books"
        for one in sorted({*told, *booked})
        if told.get(one) != booked.get(one)
    ]
