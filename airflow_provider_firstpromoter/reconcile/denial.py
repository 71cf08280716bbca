"""Denies the commissions of refunds in calls of at most a hundred, and records which refunds are thereby reverted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from airflow_provider_firstpromoter.api import MOST_IDS, Batch
from airflow_provider_firstpromoter.calls import Commission, masked
from airflow_provider_firstpromoter.database import in_background
from airflow_provider_firstpromoter.exceptions import EventsFailedError, SyncInterruptedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger, RunKey, mark_reverted, now
from airflow_provider_firstpromoter.reconcile.revert_check import CheckedRefund, Decision
from airflow_provider_firstpromoter.reconcile.revert_report import RevertReport

T = TypeVar("T")
#: The number of calls in a row that deny nothing after which the rest is left for a retry.
MOST_USELESS_CALLS = 3
#: The number of processing errors of a call that are kept.
MOST_ERRORS = 3


class CommissionDenier:
    """
    Denies the commissions of refunds, call by call, and records after each call which refunds are reverted.

    :param run_key: the task run that the ledger names as the one that reverted
    :param report: counts what is denied and what is not
    """

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: RefundLedger,
        run_key: RunKey,
        report: RevertReport,
        log: logging.Logger,
    ) -> None:
        self.hook = hook
        self.ledger = ledger
        self.run_key = run_key
        self.report = report
        self.log = log

    def deny(self, refunds: Sequence[CheckedRefund]) -> None:
        """
        Deny the commissions of these refunds; a refund that cannot be reverted is counted as failed.

        :raises ReadError: if FirstPromoter's commissions cannot be read
        :raises AccessRefusedError: on 401 and 403
        :raises LedgerError: if the ledger's database refuses
        :raises SyncInterruptedError: if the hook is cancelled meanwhile
        """
        useless_calls = 0
        for group in calls(refunds):
            if useless_calls == MOST_USELESS_CALLS:
                self._warn(f"{useless_calls} calls in a row denied nothing: the other refunds are left for a retry")
                useless_calls += 1
            if useless_calls > MOST_USELESS_CALLS:
                for refund in group:
                    self.report.add_failed(refund.event_id)
                continue
            useless_calls = 0 if self._deny_group(group) else useless_calls + 1

    def _deny_group(self, group: list[CheckedRefund]) -> int:
        """
        Deny the commissions of some refunds in one call, and record in the ledger which ones are denied then.

        :returns: the number of refunds that are denied
        """
        # A payout can have come since the refunds were checked.
        before = self._read_again(group)
        chosen = [one for one in before if not any(part.state == "paid" for part in one.commissions)]
        for ids in _slices([part.id for one in chosen for part in one.not_denied]):
            try:
                self.report.calls += 1
                self._explain(self._in_background(lambda ids=ids: self.hook.deny_commissions(ids)))  # type: ignore[misc]
            except EventsFailedError as error:
                self._warn(str(error))
        after = {one.event_id: one for one in self._read_again(group)}
        denied = [one for one in before if after[one.event_id].commissions and not after[one.event_id].not_denied]
        # Only what FirstPromoter shows as denied is recorded.
        mark_reverted(self.ledger, [one.event_id for one in denied], self.run_key, now())
        for one in denied:
            self.report.add_reverted(one)
        for event_id in after.keys() - {one.event_id for one in denied}:
            if any(part.state == "paid" for part in after[event_id].commissions):
                self._warn(f"Refund {event_id!r} was paid meanwhile and is left alone")
                self.report.counts[Decision.REVERT] -= 1
                self.report.counts[Decision.PAID] += 1
            else:
                self.report.add_failed(event_id)
        self.log.info("%s of %s refunds are reverted", self.report.reverted, self.report.to_revert)
        return len(denied)

    def _explain(self, batch: Batch) -> None:
        """Warn of a batch that did not deny everything. Its error texts are logged, and decide nothing."""
        errors = [masked(text, self.hook.account.api_key.get_secret_value()) for text in batch.processing_errors]
        if batch.status == "completed" and not batch.failed_count and not errors:
            return
        counts = f"{batch.processed_count} of {batch.total} processed, {batch.failed_count} failed"
        more = f"; and {len(errors) - MOST_ERRORS} more" if len(errors) > MOST_ERRORS else ""
        shown = "".join(f"; {text}" for text in errors[:MOST_ERRORS])
        not_ended = "" if batch.ended else ", and was not followed any longer"
        self._warn(f"Batch {batch.id} is {batch.status}{not_ended}: {counts}{shown}{more}")

    def _read_again(self, group: Sequence[CheckedRefund]) -> list[CheckedRefund]:
        """Return the refunds with their commissions as they are now; a commission that is gone is left out."""
        current: dict[int, Commission] = {}
        for ids in _slices([part.id for one in group for part in one.commissions]):
            for part in self._in_background(lambda ids=ids: list(self.hook.iter_commissions(ids=ids))):  # type: ignore[misc]
                current[part.id] = part
        return [
            replace(one, commissions=[current[part.id] for part in one.commissions if part.id in current])
            for one in group
        ]

    def _in_background(self, call: Callable[[], T]) -> T:
        """Make requests in a thread, so that a kill need not wait for a response."""

        def once() -> Iterator[T]:
            yield call()

        for value in in_background(once(), self.hook.cancelled):
            return value
        raise SyncInterruptedError("The task was asked to stop")

    def _warn(self, warning: str) -> None:
        self.log.warning("%s", warning)
        self.report.warn(warning)


def calls(refunds: Sequence[CheckedRefund]) -> Iterator[list[CheckedRefund]]:
    """Yield the refunds in groups of at most a hundred commissions; all commissions of a refund are in one group."""
    group: list[CheckedRefund] = []
    count = 0
    for refund in refunds:
        if group and count + len(refund.commissions) > MOST_IDS:
            yield group
            group, count = [], 0
        group.append(refund)
        count += len(refund.commissions)
    if group:
        yield group


def _slices(ids: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), MOST_IDS):
        yield list(ids[start : start + MOST_IDS])
