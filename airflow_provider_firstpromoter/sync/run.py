"""The way of a refund: rows in, results out, through hook and ledger. The one place where those two meet."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    LedgerError,
    RefundsFailedError,
    RefundsRejectedError,
    SyncInterruptedError,
)
from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Entry, Known, RefundLedger, RunKey
from airflow_provider_firstpromoter.pending.rules import Verdict, judged
from airflow_provider_firstpromoter.refunds import (
    AmountUnit,
    Identity,
    InvalidRefund,
    Outcome,
    Refund,
    Result,
    Summary,
    Validation,
    same_amount,
)
from airflow_provider_firstpromoter.refunds.rows import Row
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.metrics import Meter
from airflow_provider_firstpromoter.sync.thread_pool import Done, Workers

#: Results are written to the ledger this often, whichever comes first.
FLUSH_EVERY_RESULTS = 500
FLUSH_EVERY_SECONDS = 30.0
#: Brakes: so many answers of the kind in a row, and the run stops.
IN_A_ROW = {Outcome.REJECTED: 20, Outcome.FAILED: 10}
#: So many sent without one referral matched is suspicious.
SENT_WITHOUT_A_MATCH = 100
PROGRESS_EVERY_SECONDS = 10.0
#: Seconds in which a stopping run takes back the answers that are under way.
GRACE_AFTER_STOP = 5.0
GRACE_AFTER_KILL = 1.0
#: Seconds; how soon a kill is noticed.
TICK = 0.25

OnResult = Callable[[Row, Result], None]


@dataclass(frozen=True)
class SyncOptions:
    """
    What a run may be told; the operators' parameters of the same names say more.

    :param limit: refunds to send at most; the rest stays pending
    """

    amount_unit: AmountUnit = "minor"
    identify_by: Sequence[Identity] = ("uid", "email")
    skip_email_notification: bool | None = None
    max_in_flight: int = 8
    max_rejected: int | None = 0
    recheck_unreferred: timedelta | None = None
    retry_rejected: bool = False
    preview: bool = False
    limit: int | None = None
    recover_rewards: bool = False


@dataclass(frozen=True, slots=True)
class _Job:
    """A refund on its way to FirstPromoter."""

    row: Row
    refund: Refund
    recheck: bool


class RefundSync:
    """
    One run: takes rows, sends what is pending, remembers what became of it.

    All SQL and the reading of the connection happen on the calling thread; the workers do HTTP only.

    :param hook: FirstPromoter
    :param ledger: what is settled; None to lean on FirstPromoter's 409 alone
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
        self._workers: Workers[_Job, Result] = Workers(self._track, self.options.max_in_flight)
        self._queue: deque[_Job] = deque()
        self._under_way: dict[int, _Job] = {}
        self._unwritten: list[Entry] = []
        self._in_a_row: Counter[Outcome] = Counter()
        self._to_send = 0
        self._matched = 0
        self._answered = False
        self._killed = False
        self._stopped_at: float | None = None
        self._fatal: Exception | None = None
        self._on_result: OnResult = _ignore
        self._meter = Meter(hook.firstpromoter_conn_id)

    def cancel(self) -> None:
        """End every wait, and the run: for ``on_kill``, so it does nothing but set flags."""
        self._killed = True
        self.hook.cancelled.set()

    # --- a run ---

    def run(self, rows: Iterable[Row], on_result: OnResult | None = None, total: int | None = None) -> Summary:
        """
        Send every pending refund among the rows, once.

        :param rows: gone through a second time where refunds are to be rechecked
        :param on_result: called with a row and its result, in no particular order; not for a repeated row
        :param total: how many rows there are, for the progress in the log
        :returns: what it adds up to. Refunds that failed, were rejected or changed do not raise here:
            :meth:`raise_for_summary` does
        :raises SyncInterruptedError: if the task was killed
        :raises LedgerError: if the ledger's database refuses
        """
        self._on_result = on_result or _ignore
        self._flushed_at = self._progress = self._started = time.monotonic()
        self._total = total
        self._requests_before, waited_before = self.hook.requests, self.hook.pacer.waited
        try:
            if self._ledger_to_write:
                self._ledger_to_write.ensure()
            if self._pass(rows, rechecking=False):
                self._pass(rows, rechecking=True)
            self._pump(drain=True)
        except BaseException:
            self._save_what_is_known()
            raise
        else:
            self._flush()
        finally:
            self._workers.dismiss()
            self.summary.seconds = round(time.monotonic() - self._started, 3)
            self._tell()
            self._meter.finish(self.summary.seconds, self.hook.pacer.waited - waited_before)
        if self.summary.sent >= SENT_WITHOUT_A_MATCH and not self._matched:
            self.summary.warnings.append(
                f"{self.summary.sent} refunds sent and not one belongs to a referral: "
                "is it the right id column, and the right account?"
            )
        return self.summary

    def raise_for_summary(self) -> None:
        """
        Fail the task if the run calls for it; to be called when the summary has been handed on.

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
        if allowed is not None and summary.needing_a_person > allowed:
            raise RefundsRejectedError(
                log_text.failure(summary, Outcome.REJECTED, Outcome.CHANGED) + f" (max_rejected={allowed})"
            )
        if summary.stopped_because:
            raise RefundsRejectedError(f"The run stopped early: {summary.stopped_because}")

    # --- rows in ---

    def _pass(self, rows: Iterable[Row], rechecking: bool) -> bool:
        """
        Go through the rows once: for all but those to be asked again, or for just these.

        :returns: whether there are any to be asked again
        """
        rechecks = False
        for batch in judged(
            rows,
            self.ledger,
            key=self.fingerprint_key,
            recheck_unreferred=self.options.recheck_unreferred,
            retry_rejected=self.options.retry_rejected,
        ):
            self.raise_if_killed()
            for row, verdict, known in batch:
                recheck = verdict is Verdict.RECHECK and row.repeats is None
                rechecks = rechecks or recheck
                if recheck is rechecking:
                    self._handle(row, verdict, known)
            self._pump()
            self._flush_if_due()
        return rechecks

    def _handle(self, row: Row, verdict: Verdict, known: Known | None) -> None:
        if row.repeats is not None:
            if same_amount(row.repeats or None, row.amount):
                self.summary.repeated += 1
            else:
                self._changed(row, f"came earlier in this run with amount {row.repeats or 'NULL'}")
            return
        if known and (verdict is Verdict.SETTLED or self._rejected_for_good(verdict, known)):
            self._emit(row, known.result(), known.sent_amount, known.sent_currency, known.sale_event_id)
            return
        try:
            refund = Refund.from_row(row.values, self.validation)
        except InvalidRefund as error:
            if verdict is Verdict.CHANGED:
                self._changed(row, f"is settled, and now {error.reason}")
            else:
                self._reject(row, error)
            return
        if known and verdict is Verdict.CHANGED:
            if refund.amount == known.sent_amount:  # the same money, written in another unit
                self._emit(row, known.result(), known.sent_amount, known.sent_currency, known.sale_event_id)
            else:
                self._changed(row, f"is settled with amount {known.row_amount}, and the row now says {row.amount}")
            return
        if self.options.limit is not None and self._to_send >= self.options.limit:
            self._leave(row)
            return
        self._to_send += 1
        if self.options.preview:
            self._emit(row, Result(event_id=row.event_id, outcome=Outcome.PENDING), refund.amount, refund.currency)
        else:
            self._queue.append(_Job(row, refund, recheck=verdict is Verdict.RECHECK))

    @staticmethod
    def _rejected_for_good(verdict: Verdict, known: Known) -> bool:
        """What our own validation refused is validated anew: that costs no request, and its rules may change."""
        return verdict is Verdict.STILL_REJECTED and known.http_status is not None

    def _reject(self, row: Row, error: InvalidRefund) -> None:
        reason = error.reason if row.event_id else f"row {row.position + 1} of the input: {error.reason}"
        result = Result(event_id=row.event_id, outcome=Outcome.REJECTED, message=reason)
        self._remember(row, result)
        self._emit(row, result)

    def _changed(self, row: Row, reason: str) -> None:
        self._emit(row, Result(event_id=row.event_id, outcome=Outcome.CHANGED, message=reason))

    def _leave(self, row: Row) -> None:
        self.summary.left_pending += 1
        self._emit(row, Result(event_id=row.event_id, outcome=Outcome.PENDING))

    # --- to FirstPromoter and back ---

    def _track(self, job: _Job) -> Result:
        return self.hook.track_refund(job.refund, self.options.identify_by, self.options.recover_rewards)

    def _pump(self, drain: bool = False) -> None:
        """Keep the workers busy until nothing is queued; with ``drain``, until every answer is back."""
        while self._queue or (drain and self._under_way):
            self.raise_if_killed()
            if self._stopped_at is not None:
                while self._queue:
                    self._leave(self._queue.popleft().row)
                self._collect(GRACE_AFTER_STOP)
                return
            # One alone until the first answer: a wrong key or host must not be tried eight times over.
            most = self.options.max_in_flight if self._answered else 1
            while self._queue and len(self._under_way) < most:
                job = self._queue.popleft()
                self._under_way[job.row.position] = job
                self._workers.submit(job)
            if done := self._workers.take(TICK):
                self._take_back(done)
            self._flush_if_due()
            self._report_progress()

    def _collect(self, seconds: float) -> None:
        """Take back what is under way, but not for longer than so; the rest is left for the next run."""
        self._take_back_until(time.monotonic() + seconds)
        self.hook.cancelled.set()
        self._take_back_until(time.monotonic() + GRACE_AFTER_KILL)
        for job in self._under_way.values():
            self._leave(job.row)
        self._under_way.clear()

    def _take_back_until(self, deadline: float) -> None:
        while self._under_way and time.monotonic() < deadline:
            if done := self._workers.take(TICK):
                self._take_back(done)

    def _take_back(self, done: Done[_Job, Result]) -> None:
        job, result = done.job, done.value
        if self._under_way.pop(job.row.position, None) is None:
            return  # given up on, and left for the next run
        self._answered = True
        if isinstance(done.error, AccessRefusedError):
            self._fatal = self._fatal or done.error
            self._stop("FirstPromoter refused access")
        elif done.error and not isinstance(done.error, SyncInterruptedError):
            raise done.error
        if result is None:
            self._leave(job.row)
            return
        if job.recheck:
            self.summary.rechecked += 1
            if result.outcome is Outcome.ALREADY_RECORDED and result.reward is None:
                # Our own first try may have used up the event_id; it is no proof of a commission taken back.
                result = result.model_copy(
                    update={"outcome": Outcome.NOT_REFERRED, "message": f"409 on a recheck: {result.message}"}
                )
        self._matched += result.outcome in (Outcome.RECORDED, Outcome.ALREADY_RECORDED)
        self._brake(result)
        self._remember(job.row, result, job.refund)
        self._emit(job.row, result, job.refund.amount, job.refund.currency, job.refund.sale_event_id)

    def _brake(self, result: Result) -> None:
        for outcome, most in IN_A_ROW.items():
            self._in_a_row[outcome] = self._in_a_row[outcome] + 1 if result.outcome is outcome else 0
            if self._in_a_row[outcome] >= most:
                self._stop(f"{most} refunds {outcome} in a row, the last one because: {result.message}")

    def _stop(self, reason: str) -> None:
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self.summary.stopped_because = reason
            self.log.error("Stopping: %s", reason)

    def raise_if_killed(self) -> None:
        """:raises SyncInterruptedError: if it was"""
        if self._killed:
            raise SyncInterruptedError(
                "The task was killed; what was known is in the ledger, and the next run takes up the rest"
            )

    # --- results out ---

    @property
    def _ledger_to_write(self) -> RefundLedger | None:
        return None if self.options.preview else self.ledger

    def _remember(self, row: Row, result: Result, refund: Refund | None = None) -> None:
        if self._ledger_to_write and row.event_id:
            entry = Entry(result, row.amount, row.fingerprint(self.fingerprint_key), refund, self.run_key)
            self._unwritten.append(entry)

    def _emit(
        self,
        row: Row,
        result: Result,
        amount: int | None = None,
        currency: str | None = None,
        sale_event_id: str | None = None,
    ) -> None:
        problems = len(self.summary.problems)
        self.summary.add(result, amount=amount, currency=currency, sale_event_id=sale_event_id)
        self._meter.count(result)
        if len(self.summary.problems) > problems:
            self.log.warning("Refund %r is %s: %s", result.event_id, result.outcome, result.message)
        self._on_result(row, result)

    def _flush_if_due(self) -> None:
        waited = time.monotonic() - self._flushed_at
        if len(self._unwritten) >= FLUSH_EVERY_RESULTS or waited >= FLUSH_EVERY_SECONDS:
            self._flush()

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        if self._ledger_to_write and self._unwritten:
            self._ledger_to_write.write(self._unwritten)
            self._unwritten.clear()

    def _save_what_is_known(self) -> None:
        """On the way out of an error or a kill, which must not be hidden by a second one."""
        self.hook.cancelled.set()
        try:
            self._collect(GRACE_AFTER_KILL)
        finally:
            try:
                self._flush()
            except LedgerError as error:
                self.log.error("%s", error)

    def _report_progress(self) -> None:
        if time.monotonic() - self._progress >= PROGRESS_EVERY_SECONDS:
            self._progress = time.monotonic()
            self._tell()
            rate = self.summary.sent / (self._progress - self._started)
            self.log.info("%s", log_text.progress(self.summary, self._total, rate))

    def _tell(self) -> None:
        self.summary.requests = self.hook.requests - self._requests_before
        self._meter.tell(self.summary.requests)


def _ignore(row: Row, result: Result) -> None:
    """The result is in the ledger; nobody else wants it."""
