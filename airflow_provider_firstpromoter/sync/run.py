"""One run: rows in, results out, through hook and ledger."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    LedgerError,
    RunRefusedError,
    SyncInterruptedError,
)
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger, RunHistory, RunKey, now
from airflow_provider_firstpromoter.pending import Action, ClassifiedRow, PendingRules, classify_rows, decide
from airflow_provider_firstpromoter.refunds import Outcome, Refund, Result, Row, Summary, Validation, batches
from airflow_provider_firstpromoter.sync import fan_out, log_text
from airflow_provider_firstpromoter.sync.brakes import Brakes
from airflow_provider_firstpromoter.sync.options import SyncOptions
from airflow_provider_firstpromoter.sync.progress import OnResult, Progress
from airflow_provider_firstpromoter.sync.recorder import Recorder
from airflow_provider_firstpromoter.sync.sender import Job, Sender
from airflow_provider_firstpromoter.sync.spool import RANKS, Group, Spool
from airflow_provider_firstpromoter.sync.thread_pool import Done
from airflow_provider_firstpromoter.sync.totals import PendingTotals
from airflow_provider_firstpromoter.sync.verdict import error_of

#: Seconds for which a stopping run still waits for what is in flight.
GRACE_AFTER_STOP = 5.0
GRACE_AFTER_KILL = 1.0


class RefundSync:
    """
    One run: takes rows, sends what is pending, and records what became of it.

    All SQL and the reading of the connection happen on the calling thread; the sender's threads do HTTP only.

    :param hook: the connection to FirstPromoter
    :param ledger: knows what is settled; None relies on FirstPromoter's 409 alone
    :param options: the parameters of the run
    :param run: the task run that the ledger's entries are to name
    :param try_number: Airflow's number of the try
    :param kind: where the rows come from: a ``query``, which has all of its problems in every run, or a ``list``
    """

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: RefundLedger | None,
        options: SyncOptions | None = None,
        run: RunKey | None = None,
        log: logging.Logger | None = None,
        try_number: int = 1,
        kind: str = "list",
    ) -> None:
        self.hook = hook
        self.ledger = ledger
        self.options = options or SyncOptions()
        self.run_key = run or RunKey()
        self.log = log or logging.getLogger(__name__)
        account = hook.account
        self.validation = Validation(
            amount_unit=self.options.amount_unit,
            currency=account.extra.currency,
            skip_email_notification=self.options.skip_email_notification,
            identify_by=tuple(self.options.identify_by),
        )
        self.rules = PendingRules(account.fingerprint_key, self.options.recheck_unreferred, self.options.retry_rejected)
        written = None if self.options.preview else ledger
        summary = Summary(
            preview=self.options.preview, account=account.key, host=urlsplit(account.base_url).netloc, started_at=now()
        )
        self._recorder = Recorder(
            written,
            RunHistory(written, self.run_key, try_number, kind) if written is not None else None,
            self.run_key,
            account.fingerprint_key,
            Progress(summary, hook.transport, hook.firstpromoter_conn_id, self.log),
        )
        if self.options.preview:
            self._recorder.would_be_sent = PendingTotals(self.validation)
        self._sender = Sender(self._send, self.options.max_in_flight)
        self._brakes = Brakes()
        self._counts: Counter[Action] = Counter()
        self._dispatched = 0
        self._rank = 0
        self._stopped_rank: int | None = None
        self._killed = False
        self._fatal: Exception | None = None

    @property
    def summary(self) -> Summary:
        """The counts and sums of this try."""
        return self._recorder.summary

    def cancel(self) -> None:
        """End every wait, and the run: called by ``on_kill``, so it only sets flags."""
        self._killed = True
        self.hook.cancelled.set()

    def raise_if_killed(self) -> None:
        """
        Stop here if the task was killed.

        :raises SyncInterruptedError: if it was
        """
        if self._killed:
            raise SyncInterruptedError(
                "The task was killed; what was known is in the ledger, and the next run sends the rest"
            )

    def run(self, rows: Iterable[Row], on_result: OnResult | None = None, *, report_settled: bool = False) -> Summary:
        """
        Send every pending refund among the rows, once.

        :param rows: read once; kept on disk meanwhile
        :param on_result: called with a row and its result, in no particular order; not for a repeated row
        :param report_settled: whether the stored results of settled refunds belong to the summary, as those of a list
            do; otherwise they are only counted as skipped
        :returns: the counts and sums. Refunds that failed, were rejected or changed do not raise here:
            :meth:`raise_for_summary` does
        :raises RunRefusedError: before the first request, if more is pending than ``max_pending`` allows
        :raises SyncInterruptedError: if the task was killed
        :raises LedgerError: if the ledger's database refuses
        :raises SpoolError: if the worker's disk is full
        """
        self._recorder.progress.start(on_result)
        error: BaseException | None = None
        try:
            self._recorder.start()
            with Spool() as spool:
                self._send_all(rows, spool, report_settled)
        except BaseException as raised:
            error = raised
            self._save_what_is_known()
            raise
        finally:
            self._sender.close()
            self._finish(error or self._fatal)
        return self.summary

    def total(self) -> Summary:
        """Return the summary of the whole task run: what earlier tries settled is among it."""
        return self.summary.plus_settled(self._recorder.earlier.totals)

    @property
    def is_retry(self) -> bool:
        """Whether an earlier try of this task run has begun."""
        return self._recorder.earlier.tries > 0

    def raise_for_summary(self) -> None:
        """
        Fail the task if the run calls for it; to be called when the summary was pushed to XCom.

        :raises AccessRefusedError: if FirstPromoter refused the key
        :raises RefundsFailedError: if refunds failed; Airflow's retry sends them again
        :raises RefundsRejectedError: if more refunds were rejected or changed than ``max_rejected`` allows
        """
        if error := self._fatal or error_of(self.summary, self.options):
            raise error

    # --- rows in ---

    def _send_all(self, rows: Iterable[Row], spool: Spool, report_settled: bool) -> None:
        spool.fill(self._unsettled(rows, report_settled))
        self._refuse_or_announce(spool)
        self._recorder.progress.expect(len(spool))
        for groups in batches(spool.groups()):
            self.raise_if_killed()
            self._handle_groups(groups)
            self._pump()
            self._recorder.flush(only_if_due=True)
            self._note_reported(spool)
        self._pump(drain=True)
        self._recorder.flush()
        self._note_reported(spool)
        if self.ledger is not None and not self.options.preview:
            self.ledger.mark(spool.reported(), reported_at=now())

    def _unsettled(self, rows: Iterable[Row], report_settled: bool) -> Iterator[ClassifiedRow]:
        """Return the rows that need handling. They are compared with the ledger once more before they are sent."""
        for batch in classify_rows(rows, self.ledger, self.rules, details=False):
            self.raise_if_killed()
            for one in batch:
                self._counts[one.action] += 1
                if one.action is not Action.SETTLED or report_settled or self._renews(one):
                    yield one
                else:
                    self.summary.skipped += 1

    def _renews(self, one: ClassifiedRow) -> bool:
        return one.record is not None and self.rules.needs_renewal(one.row, one.record)

    def _refuse_or_announce(self, spool: Spool) -> None:
        """
        :raises RunRefusedError: if more is pending than ``max_pending`` allows
        """
        pending = sum(count for action, count in self._counts.items() if action.sends)
        most = self.options.max_pending
        if most is not None and pending > most:
            told = f"{pending} refunds are pending, more than max_pending={most}: {self._totals(spool).text()}"
            if not self.options.preview:
                raise RunRefusedError(
                    f"{told}. Nothing was sent. If all of them are intended, as in a first run, set max_pending=None; "
                    "preview=True reports without sending"
                )
            self.summary.warnings.append(told)
        rate = self.hook.account.extra.requests_per_minute
        self.log.info("%s", log_text.announcement(pending, self.options.limit, rate, preview=self.options.preview))

    def _totals(self, spool: Spool) -> PendingTotals:
        return PendingTotals.of(
            (row for group in spool.groups() if group.rank for row in group.rows[:1]), self.validation
        )

    # --- one event_id after the other ---

    def _handle_groups(self, groups: list[Group]) -> None:
        rows = [row for group in groups for row in group.rows]
        found = {one.row.position: one for batch in classify_rows(rows, self.ledger, self.rules) for one in batch}
        for group in groups:
            if group.rank != self._rank:
                self._enter_rank(group.rank)
            first, repeated = fan_out.distinct(group.rows, self.rules.key)
            self.summary.repeated += len(repeated)
            self._handle([found[row.position] for row in first], group.rank)

    def _enter_rank(self, rank: int) -> None:
        """Go on to the next kind of refunds: the brakes count anew, and failures so far do not stop these."""
        self._pump(drain=True)
        self._brakes.reset()
        self._rank = rank

    def _handle(self, rows: list[ClassifiedRow], rank: int) -> None:
        """Handle the rows of one event_id, each of another content."""
        to_send: list[tuple[ClassifiedRow, Refund]] = []
        settled = False
        for one in rows:
            decision = decide(one, self.validation)
            if decision.refund is not None:
                to_send.append((one, decision.refund))
            elif decision.result is not None:
                self._recorder.add_problem(one.row, decision.result, decision.record, decision.known)
            elif decision.record is not None:
                if one.action is Action.COMPARE or self._renews(one):
                    self._recorder.renew(decision.record, one.row)
                if settled:
                    self.summary.repeated += 1
                else:
                    self._recorder.add_settled(one.row, decision.record)
                settled = True
        if to_send:
            self._dispatch(fan_out.job_of(to_send, rank))

    def _dispatch(self, job: Job) -> None:
        limited = self.options.limit is not None and self._dispatched >= self.options.limit
        if limited or self._sender.stopped or self._stopped_rank == job.rank:
            self._leave(job)
            return
        self._dispatched += 1
        if self.options.preview:
            self._recorder.add_would_be_sent(job)
        else:
            self._sender.enqueue(job)

    # --- to FirstPromoter and back ---

    def _send(self, job: Job) -> Result:
        earlier = job.record.result() if job.record is not None and job.record.first_sent_at else None
        failed = earlier is not None and earlier.outcome is Outcome.FAILED
        recover = self.options.recover_rewards
        return self.hook.track_refund(
            job.refund,
            self.options.identify_by,
            self.is_retry if recover is None else recover,
            alternatives=[refund for _, refund in job.alternatives],
            unmatched_before=earlier is not None and (earlier.unmatched or not failed),
            lost_before=earlier is not None and earlier.lost,
        )

    def _pump(self, drain: bool = False) -> None:
        """Send what is queued; with ``drain``, wait until every result is back."""
        for done in self._sender.results(drain):
            if done is not None:
                self._collect_result(done)
            self.raise_if_killed()  # only now: what has come back must not be lost
            self._recorder.flush(only_if_due=True)
            self._recorder.progress.report_if_due()
        if self._sender.stopped:
            self._leave_the_rest(GRACE_AFTER_STOP)

    def _collect_result(self, done: Done[Job, Result]) -> None:
        job, result = done.job, done.value
        if isinstance(done.error, AccessRefusedError):
            self._fatal = self._fatal or done.error
            self._stop("FirstPromoter refused access")
            self._leave(job)
            return
        if isinstance(done.error, SyncInterruptedError):
            self._recorder.add_interrupted(job)
            return
        if result is None:
            result = self._unexpected(job, done.error)
        if reason := self._brakes.reason_to_stop(result):
            self._stop_rank(job.rank, reason)
        self._recorder.add_result(job, result)

    def _unexpected(self, job: Job, error: BaseException | None) -> Result:
        """An exception that no rule foresees must not stop other refunds; its text could hold the customer's data."""
        name = type(error).__name__
        self.log.error("Sending refund %r raised an unexpected %s%s", job.row.event_id, name, log_text.place_of(error))
        message = f"an unexpected {name}; the log says where: please report it"
        return Result(event_id=job.row.event_id, outcome=Outcome.FAILED, sent=True, message=message, lost=True)

    def _stop_rank(self, rank: int, reason: str) -> None:
        """Refunds that failed before are only left for the next run; new ones that all fail stop the run."""
        if rank == RANKS[Action.SEND] or rank == max(RANKS.values()):
            self._stop(reason)
        elif self._stopped_rank != rank:
            self._stopped_rank = rank
            self.summary.warnings.append(f"Refunds that failed before were not all sent again: {reason}")
            self.log.warning("%s", self.summary.warnings[-1])
        for job in self._sender.clear_queue():
            self._leave(job)

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
            self._recorder.add_interrupted(job)
        for job in self._sender.clear_queue():
            self._leave(job)

    def _leave(self, job: Job) -> None:
        for row in (job.row, *(row for row, _ in job.alternatives), *job.others):
            self._recorder.add_pending(row)

    # --- the end ---

    def _save_what_is_known(self) -> None:
        """On the way out of an error or a kill, which a second error must not hide."""
        self.hook.cancelled.set()
        try:
            self._leave_the_rest(GRACE_AFTER_KILL)
        finally:
            try:
                self._recorder.flush()
            except LedgerError as error:
                self.log.error("%s", error)

    def _note_reported(self, spool: Spool) -> None:
        spool.note_reported(self._recorder.new_problems)
        self._recorder.new_problems.clear()

    def _finish(self, error: BaseException | None) -> None:
        self.summary.warnings += self._brakes.warnings()
        self.summary.ended_at = now()
        would = self._recorder.would_be_sent
        if would is not None and would.looks_like_minor_units:
            self.summary.warnings.append(
                "amount_unit is 'major', and every amount is whole and large: is the column in cents? "
                f"As it is, these would be sent: {would.text()}"
            )
        try:
            self._recorder.finish(error or error_of(self.summary, self.options))
        except LedgerError as failure:
            if error is None:
                raise
            self.log.error("%s", failure)
