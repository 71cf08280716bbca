"""Sends the events of a run in their order, in a few threads, and decides when to stop."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from airflow_provider_firstpromoter.calls import Call, Outcome, Result
from airflow_provider_firstpromoter.database import stop_if_cancelled
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, SyncInterruptedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook, track_event
from airflow_provider_firstpromoter.pending import Action
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.recorder import Recorder
from airflow_provider_firstpromoter.sync.selection import SyncOptions
from airflow_provider_firstpromoter.sync.spool import Job

#: Seconds; how soon a kill is noticed.
TICK = 0.25
#: Seconds for which a run that stops early still waits for the requests in flight, before it cancels them.
GRACE_AFTER_STOP = 5.0
#: Seconds for which requests that were cancelled may still come back.
GRACE_AFTER_CANCEL = 1.0
#: The number of results with the same outcome in a row at which the run stops.
IN_A_ROW = {Outcome.REJECTED: 20, Outcome.FAILED: 10}
#: The number of events sent, none of which matches a referral, that is suspicious.
SENT_WITHOUT_A_MATCH = 100


class Brakes:
    """Counts the results in the order in which they come, and says when going on would do more harm than good."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._in_a_row: Counter[Outcome] = Counter()
        self._sent = 0
        self._matched = 0

    def reset(self) -> None:
        """Reset the counts of results in a row: events that failed before say little about the others."""
        self._in_a_row.clear()

    def reason_to_stop(self, result: Result) -> str | None:
        """
        Count one result, and return why no more events of this kind may be sent; None if the run may go on.

        A 429 says nothing about the event or the API: another client of the account has used up the limit. A 409 in
        words that are not known says that the API works.
        """
        self._sent += 1
        self._matched += result.outcome.on_record
        if result.http_status == 429 or (result.http_status == 409 and result.outcome is Outcome.FAILED):
            return None
        for outcome, most in IN_A_ROW.items():
            self._in_a_row[outcome] = self._in_a_row[outcome] + 1 if result.outcome is outcome else 0
            if self._in_a_row[outcome] >= most:
                return f"{most} {self._call.plural} {outcome} in a row, the last one because: {result.message}"
        return None

    def warnings(self) -> list[str]:
        """Return what the user should check when the run is over."""
        if self._matched or self._sent < SENT_WITHOUT_A_MATCH:
            return []
        return [
            f"{self._sent} {self._call.plural} were sent and none belongs to a referral. Check that the id column "
            "holds the ids that FirstPromoter knows, and that the account is the right one. Correct the query and run "
            f"the task again: a {self._call.name} whose id column has changed is sent again"
        ]


class Done(NamedTuple):
    """A finished job: its result, or the exception that ended it."""

    job: Job
    result: Result | None
    error: BaseException | None


class ThreadPool:
    """
    Runs jobs in a few daemon threads, of which one is started with each job until there are ``most``.

    Not a ``ThreadPoolExecutor``: Python joins its threads when the process ends, and a killed task must not wait for
    an API.
    """

    def __init__(self, work: Callable[[Job], Result], most: int) -> None:
        self._work = work
        self._most = most
        # SimpleQueues only: an exception of a signal handler cannot leave a lock of theirs locked.
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, job: Job) -> None:
        """Give a job to the next free thread."""
        if len(self._threads) < self._most:
            self._threads.append(threading.Thread(target=self._run, name="firstpromoter", daemon=True))
            self._threads[-1].start()
        self._jobs.put(job)

    def take(self, timeout: float) -> Done | None:
        """Return the next finished job; None if none finished within so many seconds."""
        try:
            return self._done.get(timeout=timeout)
        except queue.Empty:
            return None

    def dismiss(self) -> None:
        """Let the threads end, each after its job; nothing waits for them."""
        for _ in self._threads:
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._done.put(Done(job, self._work(job), None))
            except BaseException as error:
                self._done.put(Done(job, None, error))


class Dispatcher:
    """
    Sends events, and passes their results to the recorder.

    Its methods are called on one thread; only the hook is used in the others.

    :param hook: its account must have been read: the threads do HTTP only
    :param killed: set when the task was killed
    """

    def __init__(
        self,
        hook: FirstPromoterHook,
        options: SyncOptions,
        recorder: Recorder,
        killed: threading.Event,
        log: logging.Logger,
    ) -> None:
        self.brakes = Brakes(options.call)
        #: The error that ended the run and fails its task.
        self.fatal: Exception | None = None
        self._hook = hook
        self._options = options
        self._recorder = recorder
        self._killed = killed
        self._log = log
        self._threads = ThreadPool(self._send, options.max_in_flight)
        self._queue: deque[Job] = deque()
        self._in_flight: dict[int, Job] = {}
        self._responded = False
        self._stopped = False
        self._dispatched = 0
        self._action: Action | None = None
        #: Whether no more of the events are sent that were tried before.
        self._leaves_tried = False

    def dispatch(self, job: Job) -> None:
        """Send an event when its turn comes, or leave it for the next run."""
        if job.action is not self._action:  # the brakes count anew, and earlier failures do not stop these
            self.pump(drain=True)
            self.brakes.reset()
            self._action = job.action
        limited = self._options.limit is not None and self._dispatched >= self._options.limit
        if limited or self._stopped or (self._leaves_tried and job.action is Action.SEND_AGAIN):
            self._leave(job)
            return
        self._dispatched += 1
        if self._options.preview:
            self._recorder.add_unsent(job)
        else:
            self._queue.append(job)

    def pump(self, drain: bool = False) -> None:
        """
        Send what is queued, and collect the results that have come back.

        :param drain: wait until every result has come back
        """
        while not self._stopped and (self._queue or (drain and self._in_flight)):
            # A wrong key or host must not be tried by eight threads at once.
            most = self._options.max_in_flight if self._responded else 1
            while self._queue and len(self._in_flight) < most:
                job = self._queue.popleft()
                self._in_flight[job.row.position] = job
                self._threads.submit(job)
            if done := self._take():
                self._collect(done)
            stop_if_cancelled(self._killed)  # only now: what has come back must not be lost
            self._recorder.keep_up()
        if self._stopped:
            self._leave_the_rest(GRACE_AFTER_STOP)

    def end(self) -> None:
        """End the run after an error or a kill: collect what comes back within a second, and leave the rest."""
        self._leave_the_rest(0)

    def close(self) -> None:
        """Let the threads end, each after its request; nothing waits for them."""
        self._threads.dismiss()

    def _send(self, job: Job) -> Result:
        recover = self._options.recover_rewards
        return track_event(
            self._hook.client,
            job.row.call,
            [job.event, *(event for _, event in job.alternatives)],
            self._options.identify_by,
            recover_rewards=self._recorder.earlier_tries > 0 if recover is None else recover,
            log=self._log,
            unmatched=job.was_unmatched,
            lost=job.was_lost,
        )

    def _take(self) -> Done | None:
        """Return the next result; None if none comes within a quarter of a second, so that a kill is noticed."""
        done = self._threads.take(TICK)
        if done is None or self._in_flight.pop(done.job.row.position, None) is None:
            return None  # nothing yet, or given up on before it came
        self._responded = True
        return done

    def _collect(self, done: Done) -> None:
        job, result, error = done
        if isinstance(error, AccessRefusedError):
            self.fatal = self.fatal or error
            self._stop("FirstPromoter refused access")
        if isinstance(error, AccessRefusedError | SyncInterruptedError):
            if error.lost or error.unmatched:
                self._recorder.add_interrupted(job, lost=error.lost, unmatched=error.unmatched)
            else:
                self._leave(job)
            return
        if result is None:
            name, place = type(error).__name__, log_text.place_of(error)
            self._log.error("Sending %s %r raised an unexpected %s%s", job.row.call.name, job.row.event_id, name, place)
            # Without the exception's text, which could hold the customer's data.
            result = Result(
                event_id=job.row.event_id,
                outcome=Outcome.FAILED,
                sent=True,
                message=f"an unexpected {name}; the log says where: please report it",
                lost=True,
                unmatched=job.may_be_unmatched(self._options.identify_by),
            )
        if reason := self.brakes.reason_to_stop(result):
            self._stop_sending(job.action, reason)
        self._recorder.add_result(job, result)

    # --- stopping ---

    def _stop_sending(self, action: Action | None, reason: str) -> None:
        """Leave events that were tried before for the next run, or stop the run if others fail."""
        if action is not Action.SEND_AGAIN:
            self._stop(reason)
        elif not self._leaves_tried:
            self._leaves_tried = True
            warning = (
                f"Not all {self._options.call.plural} that failed or were rejected before were sent again: {reason}"
            )
            self._recorder.summary.warnings.append(warning)
            self._log.warning("%s", warning)
        self._dispatched -= len(self._queue)
        self._leave_queue()

    def _stop(self, reason: str) -> None:
        if not self._stopped:
            self._stopped = True
            self._recorder.summary.stopped_because = reason
            self._log.error("Stopping: %s", reason)

    def _leave_the_rest(self, grace: float) -> None:
        """
        Collect the results that are in flight; what is not back in time is left for the next run.

        :param grace: seconds before the requests in flight are cancelled
        """
        self._collect_for(grace, self._hook.cancelled)
        self._hook.cancelled.set()
        self._collect_for(GRACE_AFTER_CANCEL)
        for job in self._in_flight.values():
            self._recorder.add_interrupted(job, lost=True, unmatched=job.may_be_unmatched(self._options.identify_by))
        self._in_flight.clear()
        self._leave_queue()

    def _collect_for(self, seconds: float, ended: threading.Event | None = None) -> None:
        """Collect what comes back within so many seconds, or until this event; nothing more is sent."""
        until = time.monotonic() + seconds
        while self._in_flight and time.monotonic() < until and not (ended and ended.is_set()):
            if done := self._take():
                self._collect(done)

    def _leave_queue(self) -> None:
        while self._queue:
            self._leave(self._queue.popleft())

    def _leave(self, job: Job) -> None:
        for row in job.rows():
            self._recorder.add_pending(row)
