"""One revert: selects refunds, reads their commissions, and denies these in calls of at most a hundred."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from airflow_provider_firstpromoter.api import MOST_IDS, Batch, Commission
from airflow_provider_firstpromoter.exceptions import LedgerError, RefundsFailedError, SyncInterruptedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger, RunHistory, RunKey, mark_reverted, now
from airflow_provider_firstpromoter.reconcile import in_background
from airflow_provider_firstpromoter.refunds import masked
from airflow_provider_firstpromoter.revert.check import CheckedRefund, Decision, check
from airflow_provider_firstpromoter.revert.reading import CommissionReader
from airflow_provider_firstpromoter.revert.report import RevertReport
from airflow_provider_firstpromoter.revert.selection import Selection

T = TypeVar("T")
#: The number of calls in a row that deny nothing after which the rest is left for a retry.
MOST_USELESS_CALLS = 3
#: The number of processing errors of a call that are kept.
MOST_ERRORS = 3


class Revert:
    """
    Denies the negative commissions that the selected refunds made, or reports what it would deny.

    FirstPromoter is changed first and the ledger after it, call by call: a run that is killed in between leaves denied
    commissions that the ledger does not know, and the next run sees them as denied and only updates the ledger. Every
    call can be repeated, also by two runs at once.

    :param preview: True only reports; nothing is denied or written
    :param max_reverted: the number of refunds above which nothing is denied
    :param run: the task run that the ledger names as the one that reverted
    :param try_number: Airflow's number of the try, for the run history
    """

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: RefundLedger,
        selection: Selection,
        *,
        preview: bool = True,
        max_reverted: int = 0,
        run: RunKey | None = None,
        try_number: int = 1,
        log: logging.Logger | None = None,
    ) -> None:
        self.hook = hook
        self.ledger = ledger
        self.selection = selection
        self.preview = preview
        self.max_reverted = max_reverted
        self.run_key = run or RunKey()
        self.log = log or logging.getLogger(__name__)
        self.history = RunHistory(ledger, self.run_key, try_number, kind="revert")
        self.report = RevertReport(str(selection), preview)

    def run(self) -> RevertReport:
        """
        Revert, or report what would be reverted.

        :returns: what was done; :meth:`RevertReport.raise_if_failed` decides whether it fails the task
        :raises RunRefusedError: before anything is denied, if there are more refunds than ``max_reverted`` allows
        :raises ReadError: if FirstPromoter's commissions cannot be read
        :raises AccessRefusedError: on 401 and 403
        :raises LedgerError: if the ledger's database refuses
        :raises SyncInterruptedError: if the hook is cancelled meanwhile
        """
        started, requests_before = time.monotonic(), self.hook.transport.requests
        if not self.preview:
            self.ledger.ensure()
            self.history.start()
        error: BaseException | None = None
        try:
            checked = self._check()
            if not self.preview:
                self.report.raise_if_more_than(self.max_reverted)
                self._revert(checked)
        except BaseException as caught:
            error = caught
            raise
        finally:
            self.report.seconds = round(time.monotonic() - started, 3)
            self.report.requests = self.hook.transport.requests - requests_before
            self._finish_history(error)
        return self.report

    def _finish_history(self, error: BaseException | None) -> None:
        report = self.report
        counts = {"reverted": report.reverted, "failed": report.failed, "requests": report.requests}
        try:
            self.history.finish(counts, error)
        except LedgerError as refused:
            if error is None:
                raise
            self.log.warning("%s", refused)  # only logged: the error that ended the run says more

    def _check(self) -> list[CheckedRefund]:
        """Read the selected refunds and their commissions, and decide what to do with each."""
        records = {record.event_id: record for record in self.selection.records(self.ledger)}
        self.log.info("%s refunds are selected (%s)", len(records), self.selection)
        reader = CommissionReader(self.hook, self.log)
        reader.read([one for one in records.values() if one.first_sent_at is not None])
        moment = now()
        checked = [
            check(record, reader.found.get(event_id, []), readable=event_id not in reader.unreadable, now=moment)
            for event_id, record in records.items()
        ]
        unknown = sorted(set(self.selection.event_ids or ()) - records.keys())
        checked += [CheckedRefund(one, Decision.NOT_RECORDED, notes=("the ledger has no row",)) for one in unknown]
        for refund in checked:
            self.report.add(refund)
        return checked

    def _revert(self, checked: list[CheckedRefund]) -> None:
        denied = [one.event_id for one in checked if one.decision is Decision.ALREADY_DENIED]
        mark_reverted(self.ledger, denied, self.run_key, now())
        to_revert = [one for one in checked if one.decision is Decision.REVERT]
        useless = 0
        for group in calls(to_revert):
            if useless == MOST_USELESS_CALLS:
                self._warn(f"{useless} calls in a row denied nothing: the other refunds are left for a retry")
                useless += 1
            if useless > MOST_USELESS_CALLS:
                for refund in group:
                    self.report.add_failed(refund.event_id)
                continue
            useless = 0 if self._deny(group) else useless + 1

    def _deny(self, group: list[CheckedRefund]) -> int:
        """
        Deny the commissions of some refunds in one call, and record in the ledger which ones are denied then.

        :returns: the number of refunds that are denied
        """
        # A payout can have come since the refunds were checked.
        before = self._read_again(group)
        chosen = [one for one in before if not any(part.reward_status == "paid" for part in one.commissions)]
        for ids in _slices([part.id for one in chosen for part in one.standing]):
            try:
                self.report.calls += 1
                self._explain(self._in_background(lambda ids=ids: self.hook.deny_commissions(ids)))  # type: ignore[misc]
            except RefundsFailedError as error:
                self._warn(str(error))
        after = {one.event_id: one for one in self._read_again(group)}
        denied = [one for one in before if after[one.event_id].commissions and not after[one.event_id].standing]
        # Only what FirstPromoter shows as denied is recorded.
        mark_reverted(self.ledger, [one.event_id for one in denied], self.run_key, now())
        for one in denied:
            self.report.add_reverted(one)
        for event_id in after.keys() - {one.event_id for one in denied}:
            if any(part.reward_status == "paid" for part in after[event_id].commissions):
                self._warn(f"Refund {event_id!r} was paid meanwhile and is left alone")
                self.report.counts[Decision.REVERT] -= 1
                self.report.counts[Decision.PAID] += 1
            else:
                self.report.add_failed(event_id)
        self.log.info("%s of %s refunds are reverted", self.report.reverted, self.report.to_revert)
        return len(denied)

    def _explain(self, batch: Batch) -> None:
        """Warn of a batch that did not deny everything. Its error texts are logged, and decide nothing."""
        said = [masked(text, self.hook.account.api_key.get_secret_value()) for text in batch.processing_errors]
        if batch.status == "completed" and not batch.failed_count and not said:
            return
        counts = f"{batch.processed_count} of {batch.total} processed, {batch.failed_count} failed"
        more = f"; and {len(said) - MOST_ERRORS} more" if len(said) > MOST_ERRORS else ""
        shown = "".join(f"; {text}" for text in said[:MOST_ERRORS])
        not_ended = "" if batch.ended else ", and was not followed any longer"
        self._warn(f"Batch {batch.id} is {batch.status}{not_ended}: {counts}{shown}{more}")

    def _read_again(self, group: Sequence[CheckedRefund]) -> list[CheckedRefund]:
        """Return the refunds with their commissions as they are now; a commission that is gone is left out."""
        now_there: dict[int, Commission] = {}
        for ids in _slices([part.id for one in group for part in one.commissions]):
            for part in self._in_background(lambda ids=ids: list(self.hook.iter_commissions(ids=ids))):  # type: ignore[misc]
                now_there[part.id] = part
        return [
            replace(one, commissions=[now_there[part.id] for part in one.commissions if part.id in now_there])
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
