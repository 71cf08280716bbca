"""One run: rows in, results out, through hook and ledger."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    LedgerError,
    RefundsFailedError,
    RefundsRejectedError,
    SyncInterruptedError,
)
from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import LedgerRecord, RefundLedger, RunKey
from airflow_provider_firstpromoter.pending import Action, decide, classify_rows
from airflow_provider_firstpromoter.refunds import (
    Outcome,
    Refund,
    Result,
    Row,
    Summary,
    Validation,
)
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.brakes import Brakes
from airflow_provider_firstpromoter.sync.ledger_writer import LedgerWriter
from airflow_provider_firstpromoter.sync.options import SyncOptions
from airflow_provider_firstpromoter.sync.progress import OnResult, Progress
from airflow_provider_firstpromoter.sync.sender import Job, Sender
from airflow_provider_firstpromoter.sync.thread_pool import Done

#: Seconds in which a stopping run still takes the results that are in flight.
GRACE_AFTER_STOP = 5.0
GRACE_AFTER_KILL = 1.0


class RefundSync:
    """
    One run: takes rows, sends what is pending, and records what became of it.

    All SQL and the reading of the connection happen on the calling thread; the sender's threads do HTTP only.

    :param hook: FirstPromoter
    :param ledger: what is settled; None to rely on FirstPromoter's 409 alone
    :param options: how
    :param run: which task run the ledger's entries are to name
    """

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: RefundLedger | None,
        options: SyncOptions | None = None,
        run: RunKey | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        self.hook = hook
        self.ledger = ledger
        self.options = options or SyncOptions()
        self.run_key = run or RunKey()
        self.log = log or logging.getLogger(__name__)
        self.summary = Summary(preview=self.options.preview)
        account = hook.account
        self.fingerprint_key = account.fingerprint_key
        self.validation = Validation(
            amount_unit=self.options.amount_unit,
            currency=account.extra.currency,
            skip_email_notification=self.options.skip_email_notification,
            identify_by=tuple(self.options.identify_by),
        )
        self._sender = Sender(self._send, self.options.max_in_flight)
        self._writer = LedgerWriter(None if self.options.preview else ledger, self.run_key, self.fingerprint_key)
        self._brakes = Brakes()
        self._progress = Progress(self.summary, hook.transport, hook.firstpromoter_conn_id, self.log)
        self._count_stored = True
        self._to_send = 0
        self._killed = False
        self._fatal: Exception | None = None

    def cancel(self) -> None:
        """End every wait, and the run: for ``on_kill``, so it does nothing but set flags."""
        self._killed = True
        self.hook.cancelled.set()

    def raise_if_killed(self) -> None:
        """:raises SyncInterruptedError: if it was"""
        if self._killed:
            raise SyncInterruptedError(
                "The task was killed; what was known is in the ledger, and the next run takes up the rest"
            )

    # --- a run ---

    def run(
        self,
        rows: Iterable[Row],
        on_result: OnResult | None = None,
        total: int | None = None,
        *,
        count_stored: bool = True,
    ) -> Summary:
        """
        Send every pending refund among the rows, once.

        :param rows: gone through a second time where refunds are to be rechecked
        :param on_result: called with a row and its result, in no particular order; not for a repeated row
        :param total: how many rows there are, for the progress in the log
        :param count_stored: whether the stored results of settled refunds belong to the summary, as those of a list
            do; else they are merely skipped
        :returns: what it adds up to. Refunds that failed, were rejected or changed do not raise here:
            :meth:`raise_for_summary` does
        :raises SyncInterruptedError: if the task was killed
        :raises LedgerError: if the ledger's database refuses
        """
        self._count_stored = count_stored
        self._progress.start(on_result, total)
        try:
            self._writer.prepare()
            if self._pass(rows, rechecking=False):
                self._pass(rows, rechecking=True)
            self._pump(drain=True)
            self._writer.flush()
        except BaseException:
            self._save_what_is_known()
            raise
        finally:
            self._sender.close()
            self._progress.finish()
        self.summary.warnings += self._brakes.warnings()
        return self.summary

    def raise_for_summary(self) -> None:
        """
        Fail the task if the run calls for it; to be called when the summary has been pushed to XCom.

        :raises AccessRefusedError: if FirstPromoter refused the key
        :raises RefundsFailedError: if refunds failed; Airflow's retry takes them up
        :raises RefundsRejectedError: if more refunds were rejected or changed than ``max_rejected`` allows
        """
        summary, allowed = self.summary, self.options.max_rejected
        if self._fatal:
            raise self._fatal
        if summary.preview:
            return
        if summary.outcomes[Outcome.FAILED]:
            raise RefundsFailedError(log_text.failure(summary, Outcome.FAILED))
        if allowed is not None and summary.need_attention > allowed:
            raise RefundsRejectedError(
                log_text.failure(summary, Outcome.REJECTED, Outcome.CHANGED) + f" (max_rejected={allowed})"
            )
        if summary.stopped_because:
            raise RefundsRejectedError(f"The run stopped early: {summary.stopped_because}")

    # --- rows in ---

    def _pass(self, rows: Iterable[Row], rechecking: bool) -> bool:
        """
        Go through the rows once: for all but those to be rechecked, or for just these.

        :returns: whether there are any to be rechecked
        """
        rechecks = False
        for batch in classify_rows(
            rows,
            self.ledger,
            key=self.fingerprint_key,
            recheck_unreferred=self.options.recheck_unreferred,
            retry_rejected=self.options.retry_rejected,
        ):
            self.raise_if_killed()
            for row, action, record in batch:
                recheck = action is Action.RECHECK and row.repeats is None
                rechecks = rechecks or recheck
                if recheck is rechecking:
                    self._handle(row, action, record)
            self._pump()
            self._writer.flush_if_due()
        return rechecks

    def _handle(self, row: Row, action: Action, record: LedgerRecord | None) -> None:
        match decide(row, action, record, self.validation):
            case None:
                self.summary.repeated += 1
            case LedgerRecord() as record:
                if self._count_stored or not record.outcome.settled:
                    self._progress.add_stored(row, record)
                else:
                    self.summary.skipped += 1
            case Result() as result:
                self._writer.add(row, result)
                self._progress.add(row, result)
            case Refund() as refund:
                if record is not None and record.outcome.settled and record.run == self.run_key and not self._count_stored:
                    # An earlier try of this task run counted it; what comes of it now takes the place of that.
                    self.summary.outcomes[record.outcome] -= 1
                self._take_up(Job(row, refund, recheck=action is Action.RECHECK))

    def _take_up(self, job: Job) -> None:
        if self.options.limit is not None and self._to_send >= self.options.limit:
            self._leave(job.row)
            return
        self._to_send += 1
        if self.options.preview:
            self._progress.add_sent(job.row, Result(event_id=job.row.event_id, outcome=Outcome.PENDING), job.refund)
        else:
            self._sender.enqueue(job)

    # --- to FirstPromoter and back ---

    def _send(self, job: Job) -> Result:
        return self.hook.track_refund(
            job.refund, self.options.identify_by, self.options.recover_rewards, sent_before=job.recheck
        )

    def _pump(self, drain: bool = False) -> None:
        """Send what is queued; with ``drain``, wait until every result is back."""
        for done in self._sender.results(drain):
            if done is not None:
                self._collect_result(done)
            self.raise_if_killed()  # only now: what has come back must not be lost
            self._writer.flush_if_due()
            self._progress.report_if_due()
        if self._sender.stopped:
            self._leave_the_rest(GRACE_AFTER_STOP)

    def _collect_result(self, done: Done[Job, Result]) -> None:
        job, result = done.job, done.value
        if isinstance(done.error, AccessRefusedError):
            self._fatal = self._fatal or done.error
            self._stop("FirstPromoter refused access")
        elif done.error and not isinstance(done.error, SyncInterruptedError):
            raise done.error
        if result is None:
            self._leave(job.row)
            return
        self.summary.rechecked += job.recheck
        if reason := self._brakes.reason_to_stop(result):
            self._stop(reason)
        self._writer.add(job.row, result, job.refund)
        self._progress.add_sent(job.row, result, job.refund)

    def _stop(self, reason: str) -> None:
        if not self._sender.stopped:
            self._sender.stop()
            self.summary.stopped_because = reason
            self.log.error("Stopping: %s", reason)

    def _leave_the_rest(self, grace: float) -> None:
        """
        Collect the results that are in flight; what is not back in time is left for the next run.

        :param grace: seconds before the requests in flight are cancelled
        """
        for done in self._sender.results_in_flight(grace):
            self._collect_result(done)
        self.hook.cancelled.set()
        for done in self._sender.results_in_flight(GRACE_AFTER_KILL):
            self._collect_result(done)
        for job in self._sender.abandon():
            self._leave(job.row)

    def _save_what_is_known(self) -> None:
        """On the way out of an error or a kill, which must not be hidden by a second one."""
        self.hook.cancelled.set()
        try:
            self._leave_the_rest(GRACE_AFTER_KILL)
        finally:
            try:
                self._writer.flush()
            except LedgerError as error:
                self.log.error("%s", error)

    def _leave(self, row: Row) -> None:
        self.summary.left_pending += 1
        self._progress.add(row, Result(event_id=row.event_id, outcome=Outcome.PENDING))
