"""The kinds of difference between ledger and FirstPromoter, and the report of a reconciliation that counts them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from airflow_provider_firstpromoter.exceptions import ReconciliationMismatchError
from airflow_provider_firstpromoter.reconcile.scaffold import RunReport

#: The number of mismatches of each kind in XCom; the table has them all.
MOST_CASES = 20
#: The number of event_ids that are passed to a revert.
MOST_UNSELECTED = 1000


class MismatchKind(StrEnum):
    """How the ledger and FirstPromoter differ in one refund."""

    #: The ledger has the refund as recorded, and FirstPromoter has no negative commission for it.
    MISSING_IN_FIRSTPROMOTER = "missing_in_firstpromoter"
    #: FirstPromoter has a negative commission, and the ledger does not have the refund as recorded.
    MISSING_IN_LEDGER = "missing_in_ledger"
    #: FirstPromoter has a negative commission of the same lead and amount as a refund that was sent, under an event_id
    #: that was not sent.
    RECORDED_TWICE = "recorded_twice"
    #: FirstPromoter recorded another amount than was sent.
    AMOUNT_DIFFERS = "amount_differs"
    #: The ledger has the refund as reverted, and its commission is not denied.
    REVERTED_NOT_DENIED = "reverted_not_denied"
    #: FirstPromoter and the ledger have the refund, and the query of the warehouse no longer selects it.
    NO_LONGER_SELECTED = "no_longer_selected"
    #: A commission of the refund has been pending for long, and one of its sale is approved or paid.
    STILL_PENDING = "still_pending"
    #: FirstPromoter has no commission of the sale that the refund names.
    SALE_NOT_FOUND = "sale_not_found"
    #: The reward was denied or paid, or its amount changed, since the ledger was last brought up to date. This is no
    #: fault, and the ledger has the new reward now.
    REWARD_CHANGED = "reward_changed"

    @property
    def needs_attention(self) -> bool:
        """Whether the mismatch counts against ``max_mismatches``."""
        return self is not MismatchKind.REWARD_CHANGED


#: The kinds that do not follow from the commissions alone: a run finds or resolves them only where it has looked.
CHECKED_KINDS = frozenset({MismatchKind.NO_LONGER_SELECTED, MismatchKind.STILL_PENDING, MismatchKind.SALE_NOT_FOUND})
#: The others.
COMPARED_KINDS = frozenset(MismatchKind) - CHECKED_KINDS
#: What identifies a mismatch of an account: kind, event_id and commission_id.
Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """
    One refund in which the ledger and FirstPromoter differ.

    :param event_id: FirstPromoter's; empty for a commission without one
    :param commission_id: 0 if there is no commission
    :param happened_at: when the commission was made; without a commission, when the refund was last sent
    :param other_event_id: for ``recorded_twice``, the refund that was sent; for ``still_pending`` and
        ``sale_not_found``, the sale
    :param ledger_amount: the refund's amount, negative, in minor units of ``currency``
    :param firstpromoter_amount: likewise
    :param currency: None is the account's own
    :param ledger_reward: negative, in ``reward_unit``
    :param firstpromoter_reward: likewise
    """

    kind: MismatchKind
    event_id: str
    commission_id: int
    happened_at: datetime
    other_event_id: str | None = None
    ledger_outcome: str | None = None
    ledger_amount: int | None = None
    firstpromoter_amount: int | None = None
    currency: str | None = None
    ledger_reward: int | None = None
    firstpromoter_reward: int | None = None
    reward_unit: str | None = None
    ledger_reward_status: str | None = None
    firstpromoter_reward_status: str | None = None
    promoter_id: int | None = None
    lead_id: int | None = None

    @property
    def key(self) -> Key:
        """What identifies the mismatch among those of its account."""
        return self.kind.value, self.event_id, self.commission_id

    def to_json(self) -> dict[str, Any]:
        """Return the mismatch as plain JSON, without empty fields."""
        values = {name: value for name, value in asdict(self).items() if value not in (None, "", 0)}
        values |= {"kind": self.kind.value, "event_id": self.event_id, "happened_at": self.happened_at.isoformat()}
        return values


@dataclass
class ReconcileReport(RunReport):
    """
    What a reconciliation found and did.

    :param matched: refunds in which ledger and FirstPromoter agree
    :param counts: open mismatches by kind, without the accepted ones
    :param cases: the first mismatches of each kind
    :param accepted: open mismatches that an operator has accepted, and that have not changed since
    :param adopted: refunds that only FirstPromoter had, and that the ledger now has
    :param recovered: refunds that the ledger had as sent but not as recorded, and for which FirstPromoter has a
        commission; the ledger now has them as ``already_recorded``
    :param rewards_filled: recorded refunds whose reward the ledger did not know
    :param rewards_updated: recorded refunds whose reward had changed
    :param commissions: negative commissions that were read
    :param looked_up: refunds that were looked up one by one, because no commission of the period has their event_id
    :param unselected: event_ids of refunds that the query no longer selects, for a revert; the first ones
    :param sales_looked_up: sales of refunds that were looked up
    :param sales_left: sales that were not, because they were more than ``max_sale_lookups``
    :param not_looked_up: refunds of which FirstPromoter's commissions could not be read; they were not compared
    :param table: the name of the table of mismatches
    :param accept: the command that accepts mismatches of this ledger, without their ids
    """

    matched: int = 0
    counts: Counter[MismatchKind] = field(default_factory=Counter)
    cases: dict[MismatchKind, list[Mismatch]] = field(default_factory=dict)
    accepted: int = 0
    adopted: int = 0
    recovered: int = 0
    rewards_filled: int = 0
    rewards_updated: int = 0
    commissions: int = 0
    looked_up: int = 0
    not_looked_up: int = 0
    unselected: list[str] = field(default_factory=list)
    sales_looked_up: int = 0
    sales_left: int = 0
    table: str = ""
    accept: str = ""

    @property
    def mismatches(self) -> int:
        """The number of mismatches that need attention."""
        return sum(count for kind, count in self.counts.items() if kind.needs_attention)

    def history_counts(self) -> dict[str, int]:
        """Return the columns of the run history that a reconciliation fills."""
        return {"mismatches": self.mismatches, "already_recorded": self.adopted + self.recovered}

    def add(self, mismatches: Iterable[Mismatch], accepted: set[Key]) -> None:
        """
        Count mismatches, and keep the first ones of each kind.

        :param accepted: the keys of those that an operator has accepted
        """
        for mismatch in mismatches:
            if mismatch.key in accepted:
                self.accepted += 1
                continue
            self.counts[mismatch.kind] += 1
            cases = self.cases.setdefault(mismatch.kind, [])
            if len(cases) < MOST_CASES:
                cases.append(mismatch)
            if mismatch.kind is MismatchKind.NO_LONGER_SELECTED and len(self.unselected) < MOST_UNSELECTED:
                self.unselected.append(mismatch.event_id)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON for XCom; it has every kind of mismatch, as 0 if there are none."""
        return {
            "matched": self.matched,
            **{kind.value: self.counts[kind] for kind in MismatchKind},
            "mismatches": self.mismatches,
            "accepted": self.accepted,
            "adopted": self.adopted,
            "recovered": self.recovered,
            "rewards_filled": self.rewards_filled,
            "rewards_updated": self.rewards_updated,
            "cases": {kind.value: [case.to_json() for case in cases] for kind, cases in self.cases.items()},
            "table": self.table,
            "commissions": self.commissions,
            "looked_up": self.looked_up,
            "not_looked_up": self.not_looked_up,
            "sales_looked_up": self.sales_looked_up,
            "sales_left": self.sales_left,
            "warnings": self.warnings,
            "seconds": self.seconds,
            "requests": self.requests,
        }

    def text(self) -> str:
        """Return the report as lines for the log."""
        values = self.to_json()
        lines = [
            f"  {name:<24}  {value:>10}" for name, value in values.items() if name not in ("cases", "table", "warnings")
        ]
        lines += [f"  {describe_mismatch(case)}" for cases in self.cases.values() for case in cases[:5]]
        return "\n".join(["Reconciliation", *lines, *(f"  warning: {warning}" for warning in self.warnings)])

    def raise_if_more_than(self, max_mismatches: int | None) -> None:
        """
        Fail the task if too many mismatches need attention.

        :param max_mismatches: the number that is allowed; None allows any number
        :raises ReconciliationMismatchError: if there are more
        """
        if max_mismatches is None or self.mismatches <= max_mismatches:
            return
        kinds = [kind for kind in MismatchKind if kind.needs_attention and self.counts[kind]]
        first = [case for kind in kinds for case in self.cases[kind]][:5]
        raise ReconciliationMismatchError(
            f"{' and '.join(f'{self.counts[kind]} {kind}' for kind in kinds)} (max_mismatches={max_mismatches}): "
            f"{'; '.join(map(describe_mismatch, first))}{' …' if self.mismatches > len(first) else ''}. "
            f"All of them are in {self.table}, where resolved_at and accepted_at are empty. "
            f"To accept the first one as it is: {self.accept} {_accepted_by(first[0])}"
        )


def _accepted_by(case: Mismatch) -> str:
    """Return the argument that names a mismatch, of which a commission without an event_id has only its own id."""
    if not case.event_id:
        return f"--commission {case.commission_id}"
    return f"-- {shlex.quote(case.event_id)}" if case.event_id.startswith("-") else shlex.quote(case.event_id)


def describe_mismatch(case: Mismatch) -> str:
    """Describe one mismatch in a line."""
    name = repr(case.event_id) if case.event_id else f"commission {case.commission_id}"
    more = {
        MismatchKind.RECORDED_TWICE: f" as well as {case.other_event_id!r}",
        MismatchKind.AMOUNT_DIFFERS: f" ({case.ledger_amount} in the ledger, {case.firstpromoter_amount} in "
        "FirstPromoter)",
        MismatchKind.STILL_PENDING: f" (since {case.happened_at:%Y-%m-%d}, and a commission of its sale "
        f"{case.other_event_id!r} is not)",
        MismatchKind.SALE_NOT_FOUND: f" (sale {case.other_event_id!r})",
        MismatchKind.REWARD_CHANGED: f" ({case.ledger_reward_status} in the ledger, "
        f"{case.firstpromoter_reward_status} in FirstPromoter)",
    }
    return f"{case.kind}: {name}{more.get(case.kind, '')}"
