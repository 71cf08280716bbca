"""What a reconciliation found and did, for XCom, the log and the error that fails the task."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_firstpromoter.exceptions import ReconciliationMismatchError
from airflow_provider_firstpromoter.reconcile.mismatches import MismatchKind, Mismatch


@dataclass
class Report:
    """
    What a reconciliation found and did.

    :param matched: refunds that both sides agree about
    :param counts: refunds that differ, by kind
    :param cases: the first of each kind
    :param adopted: refunds that only FirstPromoter knew, and that the ledger knows now
    :param rewards_filled: recorded refunds whose reward the ledger did not know
    :param rewards_updated: recorded refunds whose reward's status or amount had changed
    :param commissions: that were read
    :param seconds: how long it took
    :param requests: HTTP requests, retries included
    """

    matched: int = 0
    counts: Counter[MismatchKind] = field(default_factory=Counter)
    cases: dict[MismatchKind, list[Mismatch]] = field(default_factory=dict)
    adopted: int = 0
    rewards_filled: int = 0
    rewards_updated: int = 0
    commissions: int = 0
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    requests: int = 0
    table: str = ""

    @property
    def mismatches(self) -> int:
        """Those that a person must look at."""
        return sum(count for kind, count in self.counts.items() if kind.needs_attention)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for XCom; every kind is present, if as 0."""
        return {
            "matched": self.matched,
            **{kind.value: self.counts[kind] for kind in MismatchKind},
            "mismatches": self.mismatches,
            "adopted": self.adopted,
            "rewards_filled": self.rewards_filled,
            "rewards_updated": self.rewards_updated,
            "cases": {kind.value: [case.to_json() for case in cases] for kind, cases in self.cases.items()},
            "table": self.table,
            "commissions": self.commissions,
            "warnings": self.warnings,
            "seconds": self.seconds,
            "requests": self.requests,
        }

    def text(self) -> str:
        """The log's last table."""
        names = ("matched", *MismatchKind, "adopted", "rewards_filled", "rewards_updated", "commissions", "requests", "seconds")
        told = self.to_json()
        lines = [f"  {name:<16}  {told[name]:>10}" for name in names]
        lines += [f"  {describe_mismatch(case)}" for cases in self.cases.values() for case in cases[:5]]
        return "\n".join(["Reconciliation", *lines, *(f"  warning: {warning}" for warning in self.warnings)])

    def raise_if_more_than(self, max_mismatches: int | None) -> None:
        """
        :raises ReconciliationMismatchError: if there are more
        """
        if max_mismatches is None or self.mismatches <= max_mismatches:
            return
        kinds = [kind for kind in MismatchKind if kind.needs_attention and self.counts[kind]]
        first = [case for kind in kinds for case in self.cases[kind]][:5]
        raise ReconciliationMismatchError(
            f"{' and '.join(f'{self.counts[kind]} {kind}' for kind in kinds)} (max_mismatches={max_mismatches}): "
            f"{'; '.join(map(describe_mismatch, first))}{' …' if self.mismatches > len(first) else ''}. "
            f"All of them are in {self.table}, where resolved_at is empty"
        )


def describe_mismatch(case: Mismatch) -> str:
    """One mismatch in a line."""
    name = repr(case.event_id) if case.event_id else f"commission {case.commission_id}"
    more = {
        MismatchKind.REVERSED_TWICE: f" as well as {case.other_event_id!r}",
        MismatchKind.AMOUNT_DIFFERS: f" ({case.ledger_amount} here, {case.firstpromoter_amount} there)",
        MismatchKind.REWARD_CHANGED: f" ({case.ledger_reward_status} here, {case.firstpromoter_reward_status} there)",
    }
    return f"{case.kind}: {name}{more.get(case.kind, '')}"
