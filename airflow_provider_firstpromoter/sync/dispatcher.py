"""Sends the refunds of a run in their order, and decides when to stop."""

from __future__ import annotations

import logging

from airflow_provider_firstpromoter.calls import Outcome, Result
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, SyncInterruptedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.pending import Action
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.brakes import Brakes
from airflow_provider_firstpromoter.sync.job import Job
from airflow_provider_firstpromoter.sync.options import SyncOptions
from airflow_provider_firstpromoter.sync.recorder import Recorder
from airflow_provider_firstpromoter.sync.sender import Sender
from airflow_provider_firstpromoter.sync.spool import RANKS
from airflow_provider_firstpromoter.sync.thread_pool import Done

#: Seconds for which a stopping run still waits for the requests in flight.
GRACE_AFTER_STOP = 5.0
GRACE_AFTER_KILL = 1.0


class Dispatcher:
    """
    Sends refunds through the sender, and passes their results to the recorder.

    :param hook: its account must have been read: the sender's threads do HTTP only
    """

    def __init__(self, hook: FirstPromoterHook, options: SyncOptions, recorder: Recorder, log: logging.Logger) -> None:
        self.brakes = Brakes()
        #: The error that ended the run and fails its task.
        self.fatal: Exception | None = None
        self.killed = False
        self._hook = hook
        self._options = options
        self._recorder = recorder
        self._log = log
        self._sender = Sender(self._send, options.max_in_flight, lambda: recorder.room)
        self._dispatched = 0
        self._rank = 0
        self._stopped_rank: int | None = None

    def cancel(self) -> None:
        """End every wait: called by ``on_kill``, so it only sets flags."""
        self.killed = True
        self._hook.cancelled.set()

    def raise_if_killed(self) -> None:
        """
        Stop here if the task was killed.

        :raises SyncInterruptedError: if it was
        """
        if self.killed:
            raise SyncInterruptedError(
                "The task was killed; what was known is in the ledger, and the next run sends the rest"
            )

    def dispatch(self, job: Job) -> None:
        """Send a refund when its turn comes, or leave it for the next run."""
        limited = self._options.limit is not None and self._dispatched >= self._options.limit
        if limited or self._sender.stopped or self._stopped_rank == job.rank:
            self._leave(job)
            return
        self._dispatched += 1
        if self._options.preview:
            self._recorder.add_would_be_sent(job)
        else:
            self._sender.enqueue(job)

    def enter_rank(self, rank: int) -> None:
        """Go on to the next rank of refunds: the brakes count anew, and earlier failures do not stop these refunds."""
        if rank != self._rank:
            self.pump(drain=True)
            self.brakes.reset()
            self._rank = rank

    def pump(self, drain: bool = False) -> None:
        """
        Send what is queued, and collect the results that have come back.

        :param drain: wait until every result has come back
        :raises SyncInterruptedError: if the task was killed
        :raises LedgerError: if the ledger's database refuses
        """
        for done in self._sender.results(drain):
            if done is not None:
                self._collect_result(done)
            self.raise_if_killed()  # only now: what has come back must not be lost
            self._recorder.flush(only_if_due=True)
            self._recorder.progress.report_if_due()
        if self._sender.stopped:
            self._leave_the_rest(GRACE_AFTER_STOP)

    def end(self) -> None:
        """End the run after an error or a kill: collect what comes back within a second, and leave the rest."""
        self._hook.cancelled.set()
        self._leave_the_rest(GRACE_AFTER_KILL)

    def close(self) -> None:
        """Let the threads end."""
        self._sender.close()

    def _send(self, job: Job) -> Result:
        recover = self._options.recover_rewards
        return self._hook.track_refund(
            job.refund,
            self._options.identify_by,
            self._recorder.counts.earlier.tries > 0 if recover is None else recover,
            alternatives=[refund for _, refund in job.alternatives],
            unmatched_before=job.was_unmatched,
            lost_before=job.was_lost,
        )

    def _collect_result(self, done: Done[Job, Result]) -> None:
        job, result = done.job, done.value
        if isinstance(done.error, AccessRefusedError):
            self.fatal = self.fatal or done.error
            self._stop("FirstPromoter refused access")
        if isinstance(done.error, AccessRefusedError | SyncInterruptedError):
            if done.error.lost or done.error.unmatched:
                self._recorder.add_interrupted(job, lost=done.error.lost, unmatched=done.error.unmatched)
            else:
                self._leave(job)
            return
        if result is None:
            name, place = type(done.error).__name__, log_text.place_of(done.error)
            self._log.error("Sending refund %r raised an unexpected %s%s", job.row.event_id, name, place)
            result = _unexpected(done.error, job, job.may_be_unmatched(self._options.identify_by))
        if reason := self.brakes.reason_to_stop(result):
            self._stop_rank(job.rank, reason)
        self._recorder.add_result(job, result)

    # --- stopping ---

    def _stop_rank(self, rank: int, reason: str) -> None:
        """Leave refunds that failed before for the next run, or stop the run if refunds of another rank fail."""
        if rank != RANKS[Action.SEND_AGAIN]:
            self._stop(reason)
        elif self._stopped_rank != rank:
            self._stopped_rank = rank
            warning = f"Not all refunds that failed or were rejected before were sent again: {reason}"
            self._recorder.summary.warnings.append(warning)
            self._log.warning("%s", warning)
        for job in self._sender.clear_queue():
            self._dispatched -= 1
            self._leave(job)

    def _stop(self, reason: str) -> None:
        if not self._sender.stopped:
            self._sender.stop()
            self._recorder.summary.stopped_because = reason
            self._log.error("Stopping: %s", reason)

    def _leave_the_rest(self, grace: float) -> None:
        """
        Collect the results that are in flight; what is not back in time is left for the next run.

        :param grace: seconds before the requests in flight are cancelled
        """
        for done in self._sender.results_in_flight(grace):
            self._collect_result(done)
        self._hook.cancelled.set()
        for done in self._sender.results_in_flight(GRACE_AFTER_KILL):
            self._collect_result(done)
        for job in self._sender.abandon():
            self._recorder.add_interrupted(job, lost=True, unmatched=job.may_be_unmatched(self._options.identify_by))
        for job in self._sender.clear_queue():
            self._leave(job)

    def _leave(self, job: Job) -> None:
        for row in job.rows():
            self._recorder.add_pending(row)


def _unexpected(error: BaseException | None, job: Job, unmatched: bool) -> Result:
    """
    Return a failed result for an unexpected exception, which must not stop other refunds.

    The exception's text is not kept, because it could hold the customer's data.

    :param unmatched: whether one of the refund's requests may have been answered with 204 or 404
    """
    return Result(
        event_id=job.row.event_id,
        outcome=Outcome.FAILED,
        sent=True,
        message=f"an unexpected {type(error).__name__}; the log says where: please report it",
        lost=True,
        unmatched=unmatched,
    )
