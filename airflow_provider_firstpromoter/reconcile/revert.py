"""One revert: selects refunds, reads their commissions, and reports or denies them."""

from __future__ import annotations

import logging
import time

from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger, RunHistory, RunKey, mark_reverted, now
from airflow_provider_firstpromoter.reconcile.denial import CommissionDenier
from airflow_provider_firstpromoter.reconcile.revert_check import CheckedRefund, Decision, check
from airflow_provider_firstpromoter.reconcile.revert_reading import CommissionReader
from airflow_provider_firstpromoter.reconcile.revert_report import RevertReport
from airflow_provider_firstpromoter.reconcile.revert_selection import Selection


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
            if self.report.incomplete:
                self.log.warning("%s", self.report.incomplete)
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
        reader.read([one for one in records.values() if one.first_sent_at is not None and not one.unresolved])
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
        denier = CommissionDenier(self.hook, self.ledger, self.run_key, self.report, self.log)
        denier.deny([one for one in checked if one.decision is Decision.REVERT])
