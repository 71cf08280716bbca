"""Denies the commissions of refunds in calls of at most a hundred, and records which refunds are thereby reverted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from airflow_provider_firstpromoter.api import MOST_IDS, Batch
from airflow_provider_firstpromoter.calls import Commission
from airflow_provider_firstpromoter.exceptions import EventsFailedError
from airflow_provider_firstpromoter.ledger import now
from airflow_provider_firstpromoter.reconcile.revert_check import CheckedEvent, Decision
from airflow_provider_firstpromoter.reconcile.revert_report import RevertReport
from airflow_provider_firstpromoter.reconcile.scaffold import LedgerRun

#: The number of calls in a row that deny nothing after which the rest is left for a retry.
MOST_USELESS_CALLS = 3
#: The number of processing errors of a call that are kept.
MOST_ERRORS = 3


class CommissionDenier:
    """
    Denies the commissions of refunds, call by call, and records after each call which refunds are reverted.

    :param run: the revert that this is a part of
    """

    def __init__(self, run: LedgerRun[RevertReport]) -> None:
        self.run = run
        self.hook = run.hook
        self.report = run.report

    def deny(self, refunds: Sequence[CheckedEvent]) -> None:
        """Deny the commissions of these refunds; a refund that cannot be reverted is counted as failed."""
        useless_calls = 0
        for group in calls(refunds):
            if useless_calls == MOST_USELESS_CALLS:
                self.run.warn(f"{useless_calls} calls in a row denied nothing: the rest is left for a retry")
                useless_calls += 1
            if useless_calls > MOST_USELESS_CALLS:
                for refund in group:
                    self.report.add_failed(refund.event_id)
                continue
            useless_calls = 0 if self._deny_group(group) else useless_calls + 1

    def _deny_group(self, group: list[CheckedEvent]) -> int:
        """
        Deny the commissions of some refunds in one call, and record in the ledger which ones are denied then.

        :returns: the number of refunds that are denied
        """
        # A payout can have come since the refunds were checked.
        before = self._read_again(group)
        for parts in _slices([part for one in before if one.left_alone is None for part in one.deniable]):
            try:
                self.report.calls += 1
                self._explain(self.run.reader.call(lambda parts=parts: self.hook.deny_commissions(parts)))  # type: ignore[misc]
            except EventsFailedError as error:
                self.run.warn(str(error))
        after = {one.event_id: one for one in self._read_again(group)}
        denied = [one for one in before if after[one.event_id].denied]
        # Only what FirstPromoter shows as denied is recorded.
        self.run.ledger.mark_reverted([one.event_id for one in denied], self.run.run_key, now())
        for one in denied:
            self.report.add_reverted(one)
        for event_id in after.keys() - {one.event_id for one in denied}:
            if (reason := after[event_id].left_alone) is not None:
                self.run.warn(f"{event_id!r} is {reason} meanwhile and is left alone")
                self.report.counts[Decision.REVERT] -= 1
                self.report.counts[reason] += 1
            else:
                self.report.add_failed(event_id)
        self.run.log.info("%s of %s %s are reverted", self.report.reverted, self.report.to_revert, self.report.plural)
        return len(denied)

    def _explain(self, batch: Batch) -> None:
        """Warn of a batch that did not deny everything. Its error texts are logged, and decide nothing."""
        errors = batch.processing_errors
        if batch.status == "completed" and not batch.failed_count and not errors:
            return
        counts = f"{batch.processed_count} of {batch.total} processed, {batch.failed_count} failed"
        more = f"; and {len(errors) - MOST_ERRORS} more" if len(errors) > MOST_ERRORS else ""
        shown = "".join(f"; {text}" for text in errors[:MOST_ERRORS])
        not_ended = "" if batch.ended else ", and was not followed any longer"
        self.run.warn(f"Batch {batch.id} is {batch.status}{not_ended}: {counts}{shown}{more}")

    def _read_again(self, group: Sequence[CheckedEvent]) -> list[CheckedEvent]:
        """Return the refunds with their commissions as they are now; one of which some are not listed is looked up."""
        current = self.run.reader.by_ids([part.id for one in group for part in one.commissions])
        absent = [one.event_id for one in group if any(part.id not in current for part in one.commissions)]
        looked_up = dict(self.run.reader.look_up(absent))
        return [
            replace(
                one,
                commissions=looked_up[one.event_id] or ()
                if one.event_id in looked_up
                else [current[part.id] for part in one.commissions],
            )
            for one in group
        ]


def calls(refunds: Sequence[CheckedEvent]) -> Iterator[list[CheckedEvent]]:
    """Yield the refunds in groups of at most a hundred commissions; all commissions of a refund are in one group."""
    group: list[CheckedEvent] = []
    count = 0
    for refund in refunds:
        if group and count + len(refund.commissions) > MOST_IDS:
            yield group
            group, count = [], 0
        group.append(refund)
        count += len(refund.commissions)
    if group:
        yield group


def _slices(commissions: Sequence[Commission]) -> Iterator[list[Commission]]:
    for start in range(0, len(commissions), MOST_IDS):
        yield list(commissions[start : start + MOST_IDS])
