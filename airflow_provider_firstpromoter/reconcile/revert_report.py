"""What a revert found and did: for XCom, the log, and the error that fails the task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_firstpromoter.exceptions import EventsFailedError, RunRefusedError
from airflow_provider_firstpromoter.reconcile.revert_check import CheckedEvent, Decision
from airflow_provider_firstpromoter.reconcile.scaffold import RunReport

#: The number of refunds of each kind in XCom.
MOST_CASES = 20
#: What is listed at length, because a user goes through it.
LISTED = (Decision.REVERT, Decision.SENDER_UNKNOWN)
#: The number of refunds that are to be reverted in the XCom ``return_value``.
MOST_TO_REVERT = 1000


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
    :param denied: the sums of the commissions that this run denied by unit, negative
    :param failed: refunds whose commissions were to be denied and are not
    :param failures: the first of them
    """

    selection: str
    preview: bool
    counts: Counter[Decision] = field(default_factory=Counter)
    cases: dict[Decision, list[CheckedEvent]] = field(default_factory=dict)
    in_parts: int = 0
    differs: int = 0
    to_deny: Counter[str] = field(default_factory=Counter)
    reverted: int = 0
    denied: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    calls: int = 0

    @property
    def to_revert(self) -> int:
        """The number of refunds whose commissions are to be denied."""
        return self.counts[Decision.REVERT]

    @property
    def incomplete(self) -> list[str]:
        """The warnings that the selection may have further commissions."""
        return [*self._unresolved(), *self._sender_unknown()]

    def _sender_unknown(self) -> Iterator[str]:
        if count := self.counts[Decision.SENDER_UNKNOWN]:
            first = ", ".join(repr(one.event_id) for one in self.cases[Decision.SENDER_UNKNOWN][:MOST_CASES])
            yield (
                f"{count} {self.plural} became recorded since this run began, and which run sent them first is not "
                f"known ({first}{' …' if count > MOST_CASES else ''}): a run that was killed, or another tool. "
                "Revert those of the killed run by event_ids"
            )

    def _unresolved(self) -> Iterator[str]:
        count = self.counts[Decision.UNRESOLVED]
        if not count:
            return
        first = ", ".join(repr(one.event_id) for one in self.cases[Decision.UNRESOLVED])
        yield (
            f"The revert is not complete: of {count} {self.plural} that were sent, it is not known whether "
            f"FirstPromoter recorded them ({first}{' …' if count > MOST_CASES else ''}). Run "
            f"Reconcile{self.plural.capitalize()}Operator over the days "
            "on which they were sent, and then this revert again. FirstPromoter lists no commission for those that are "
            "named again then"
        )

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
        return {"reverted": self.reverted, "failed": self.failed}

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
            self.plural: [one.to_json() for one in self.cases.get(Decision.REVERT, [])[:most]],
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
            if name not in ("selection", "preview", self.plural, "cases", "failures", "warnings")
        }
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
            sums = ", ".join(f"{amount} {unit}" for unit, amount in self.to_deny.items())
            raise RunRefusedError(
                f"{self.to_revert} {self.plural} ({self.selection}; commissions of {sums}) would be reverted, and "
                f"max_reverted is {max_reverted}. Nothing was denied. Look at the preview, then raise max_reverted"
            )

    def raise_if_failed(self) -> None:
        """
        Fail the task, so that Airflow retries it.

        :raises EventsFailedError: if commissions that were to be denied are not
        """
        if self.failed:
            first = ", ".join(map(repr, self.failures[:5]))
            raise EventsFailedError(
                f"{self.failed} of {self.to_revert} {self.plural} could not be reverted ({first}"
                f"{' …' if self.failed > 5 else ''}); {self.reverted} were. A retry reverts the rest. "
                f"{' '.join(self.warnings[:1])}"
            )


def _describe(refund: CheckedEvent) -> str:
    parts = [
        f"commission {one.id} of promoter {one.promoter_id}: {one.amount} {one.unit}, {one.state}"
        for one in refund.commissions
    ]
    return "; ".join([repr(refund.event_id), *parts, *refund.notes])
