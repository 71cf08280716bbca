"""What a revert found and did: for XCom, the log, and the error that fails the task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_firstpromoter.calls import Commission, reward_text
from airflow_provider_firstpromoter.exceptions import EventsFailedError, RunRefusedError
from airflow_provider_firstpromoter.reconcile.scaffold import RunReport


class Decision(StrEnum):
    """What a revert does with one selected refund."""

    #: Its commissions are to be denied.
    REVERT = "to_revert"
    #: Its commissions are denied already: only the ledger is updated.
    ALREADY_DENIED = "already_denied"
    #: The ledger has it as reverted, and its commissions are denied: there is nothing to do.
    ALREADY_REVERTED = "already_reverted"
    #: A commission of it is paid: it is left alone.
    PAID = "paid"
    #: FirstPromoter does not say plainly that a commission of it is unpaid: it is left alone.
    UNCLEAR = "unclear"
    #: This ledger's account did not make its commission: it is left alone.
    NOT_OURS = "not_ours"
    #: It became recorded after the selected run began, and which run sent it is not known: it is left to ``event_ids``.
    SENDER_UNKNOWN = "sender_unknown"
    #: FirstPromoter has no negative commission for it: there is nothing to deny.
    NOT_FOUND = "not_found"
    #: Its commissions could not be read: it is left alone.
    UNREADABLE = "unreadable"
    #: It was sent, and the ledger does not know whether FirstPromoter recorded it: it is left alone.
    UNRESOLVED = "unresolved"
    #: The ledger does not have it as recorded: there is nothing to deny.
    NOT_RECORDED = "not_recorded"


#: The number of refunds of each kind in XCom.
MOST_CASES = 20
#: What is listed at length, because a user goes through it.
LISTED = (Decision.REVERT, Decision.SENDER_UNKNOWN)
#: The number of refunds that are to be reverted in the XCom ``return_value``.
MOST_TO_REVERT = 1000


@dataclass(frozen=True)
class CheckedEvent:
    """
    A selected refund, its commissions, and what the revert does with it.

    :param commissions: all tiers and splits
    :param notes: what the operator should know before it is reverted
    """

    event_id: str
    decision: Decision
    commissions: Sequence[Commission] = ()
    notes: Sequence[str] = ()

    @property
    def deniable(self) -> list[Commission]:
        """The commissions that are plainly unpaid and not denied."""
        return [one for one in self.commissions if one.state in ("pending", "approved")]

    @property
    def left_alone(self) -> Decision | None:
        """Why its commissions must not be denied; None if they may."""
        states = {one.state for one in self.commissions}
        if "paid" in states:
            return Decision.PAID
        return Decision.UNCLEAR if "unknown" in states else None

    @property
    def denied(self) -> bool:
        """Whether it has commissions and all of them are denied."""
        return bool(self.commissions) and all(one.state == "denied" for one in self.commissions)

    def amounts(self) -> Counter[str]:
        """Return the sums of the commissions that can be denied, by unit; negative, minor units if that is cash."""
        sums: Counter[str] = Counter()
        for one in self.deniable:
            sums[one.unit or "unknown"] += one.amount or 0
        return sums

    def to_json(self) -> dict[str, object]:
        """Return plain JSON, with ids and amounts only."""
        parts = [
            {
                "commission_id": one.id,
                "promoter_id": one.promoter_id,
                "amount": one.amount,
                "unit": one.unit,
                "status": one.state,
            }
            for one in self.commissions
        ]
        return {"event_id": self.event_id, "commissions": parts, "notes": list(self.notes)}


@dataclass
class RevertReport(RunReport):
    """
    What a revert found and did.

    :param selection: which refunds, in words
    :param preview: whether nothing was to be denied
    :param counts: selected refunds by decision
    :param cases: the first refunds of each decision
    :param in_parts: refunds to revert that have several commissions
    :param differs: refunds to revert whose commissions differ from the ledger
    :param to_deny: the sums of the commissions to deny by unit, negative
    :param reverted: refunds that this run reverted in FirstPromoter
    :param written_only: refunds that FirstPromoter had denied before, and that the ledger has as reverted now
    :param denied: the sums of the commissions that this run denied by unit, negative
    :param failed: refunds whose commissions were to be denied and are not
    :param failures: the first of them
    :param preview_command: shows the selection again, if a command line can hold it
    :param reconcile_command: finds out what became of the unresolved ones
    """

    selection: str
    preview: bool
    counts: Counter[Decision] = field(default_factory=Counter)
    cases: dict[Decision, list[CheckedEvent]] = field(default_factory=dict)
    in_parts: int = 0
    differs: int = 0
    to_deny: Counter[str] = field(default_factory=Counter)
    reverted: int = 0
    written_only: int = 0
    denied: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    calls: int = 0
    preview_command: str = ""
    reconcile_command: str = ""

    @property
    def to_revert(self) -> int:
        """The number of refunds whose commissions are to be denied."""
        return self.counts[Decision.REVERT]

    @property
    def incomplete(self) -> list[str]:
        """The warnings that the selection may have further commissions."""
        warnings = []
        if count := self.counts[Decision.UNRESOLVED]:
            warnings.append(
                f"The revert is not complete: of {self.call.counted(count)} that had been sent, it is not known "
                f"whether FirstPromoter recorded them ({self._first(Decision.UNRESOLVED)}). Run "
                f"{self.reconcile_command}, and then this revert again. FirstPromoter lists no "
                "commission for those that are named again then"
            )
        if count := self.counts[Decision.SENDER_UNKNOWN]:
            warnings.append(
                f"{self.call.counted(count)} became recorded since this run began, and which run sent them first is "
                f"not known ({self._first(Decision.SENDER_UNKNOWN)}): a run that was killed, or another tool. "
                "Revert those of the killed run by event_ids"
            )
        return warnings

    def _first(self, decision: Decision) -> str:
        first = [repr(one.event_id) for one in self.cases[decision][:MOST_CASES]]
        return ", ".join(first) + (" …" if self.counts[decision] > MOST_CASES else "")

    def add(self, refund: CheckedEvent) -> None:
        """Count a selected refund."""
        self.counts[refund.decision] += 1
        cases = self.cases.setdefault(refund.decision, [])
        if len(cases) < (MOST_CASES if refund.decision not in LISTED else MOST_TO_REVERT):
            cases.append(refund)
        if refund.decision is Decision.REVERT:
            self.in_parts += any(note.startswith("in_parts") for note in refund.notes)
            self.differs += any(note.startswith("differs") for note in refund.notes)
            self.to_deny.update(refund.amounts())

    def add_reverted(self, refund: CheckedEvent) -> None:
        """Count a refund that this run reverted."""
        self.reverted += 1
        self.denied.update(refund.amounts())

    def add_failed(self, event_id: str) -> None:
        """Count a refund whose commissions were to be denied and are not."""
        self.failed += 1
        if len(self.failures) < MOST_CASES:
            self.failures.append(event_id)

    def history_counts(self) -> dict[str, int]:
        """Return the columns of the run history that a revert fills."""
        return {"reverted": self.reverted + self.written_only, "failed": self.failed}

    def to_json(self, most: int = MOST_CASES) -> dict[str, Any]:
        """
        Return plain JSON for XCom, without e-mail addresses and uids.

        :param most: the number of refunds to revert in it
        """
        return {
            "selection": self.selection,
            "preview": self.preview,
            "selected": sum(self.counts.values()) - self.counts[Decision.SENDER_UNKNOWN],
            **{decision.value: self.counts[decision] for decision in Decision},
            "in_parts": self.in_parts,
            "differs": self.differs,
            "to_deny": dict(self.to_deny),
            "reverted": self.reverted,
            "denied": dict(self.denied),
            "failed": self.failed,
            "failures": self.failures,
            self.call.plural: [one.to_json() for one in self.cases.get(Decision.REVERT, [])[:most]],
            "cases": {
                decision.value: [one.to_json() for one in cases[:most]]
                for decision, cases in self.cases.items()
                if decision is not Decision.REVERT
            },
            "calls": self.calls,
            "warnings": self._all_warnings(),
            "requests": self.requests,
            "seconds": self.seconds,
        }

    def text(self) -> str:
        """Return the report as lines for the log."""
        title = "Preview of a revert: nothing was denied" if self.preview else "Revert"
        shown = {
            name: value
            for name, value in self.to_json().items()
            if name not in ("selection", "preview", self.call.plural, "cases", "failures", "warnings")
        }
        for name in ("to_deny", "denied"):
            sums = (reward_text(amount, unit, self.currency) for unit, amount in getattr(self, name).items())
            shown[name] = ", ".join(sums) or 0
        lines = [f"  {name:<18}  {value}" for name, value in shown.items()]
        for decision, cases in self.cases.items():
            lines += [f"  {decision}: {_describe(one)}" for one in cases[:MOST_CASES]]
            if (more := self.counts[decision] - MOST_CASES) > 0:
                lines.append(f"  {decision}: … and {more} more")
        lines += [f"  failed: {event_id!r}" for event_id in self.failures]
        if self.failed > len(self.failures):
            lines.append(f"  failed: … and {self.failed - len(self.failures)} more")
        lines += [f"  warning: {one}" for one in self._all_warnings()]
        return "\n".join([f"{title} ({self.selection})", *lines])

    def _all_warnings(self) -> list[str]:
        return [*self.warnings, *self.incomplete]

    def raise_if_more_than(self, max_reverted: int) -> None:
        """
        Refuse to revert more refunds than allowed.

        :raises RunRefusedError: if there are more; nothing was denied
        """
        if self.to_revert > max_reverted:
            sums = ", ".join(reward_text(amount, unit, self.currency) for unit, amount in self.to_deny.items())
            raise RunRefusedError(
                f"{self.call.counted(self.to_revert)} ({self.selection}; commissions of {sums}) would be reverted, and "
                f"max_reverted is {max_reverted}. Nothing was denied. Look at the preview"
                f"{f', by {self.preview_command},' if self.preview_command else ','} then raise max_reverted"
            )

    def raise_if_failed(self) -> None:
        """
        Fail the task, so that Airflow retries it.

        :raises EventsFailedError: if commissions that were to be denied are not
        """
        if self.failed:
            first = ", ".join(map(repr, self.failures[:5]))
            raise EventsFailedError(
                f"{self.failed} of {self.call.counted(self.to_revert)} could not be reverted ({first}"
                f"{' …' if self.failed > 5 else ''}); {self.reverted} were. A retry reverts the rest. "
                f"{' '.join(self.warnings[:1])}"
            )


def _describe(refund: CheckedEvent) -> str:
    parts = [
        f"commission {one.id} of promoter {one.promoter_id}: {one.amount} {one.unit}, {one.state}"
        for one in refund.commissions
    ]
    return "; ".join([repr(refund.event_id), *parts, *refund.notes])
