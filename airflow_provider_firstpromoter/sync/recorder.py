"""
Records what becomes of the rows of a run: the only writer of its summary, its ledger and its run history.

The outcome of a row is counted when it is known, and its sums when the ledger has it: then it is known which task run
reports them.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from airflow.providers.common.compat.sdk import Stats
from sqlalchemy.engine import Connection

from airflow_provider_firstpromoter.calls import Outcome, Result, Row, Summary, Totals, same_amount
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import (
    Ledger,
    LedgerRecord,
    LedgerWrite,
    RunHistory,
    RunKey,
    counts_of,
    key_of,
    now,
)
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.job import Job
from airflow_provider_firstpromoter.sync.selection import PendingTotals

#: Results are written when this number has been collected, or this number of seconds has passed.
FLUSH_EVERY_RESULTS = 500
FLUSH_EVERY_SECONDS = 30.0
PROGRESS_EVERY_SECONDS = 10.0

OnResult = Callable[[Row, Result], None]


class _Recorded(NamedTuple):
    """A result that is on record, and not yet in the sums."""

    row: Row
    result: Result
    sent: Mapping[str, Any]


class Recorder:
    """
    Counts each result, passes it downstream, and writes it.

    :param ledger: None writes nothing: a preview, or a run without a ledger
    :param run: the task run that the rows name
    :param summary: the counts and sums of this try
    :param history: the run history; None likewise
    :param would_be_sent: adds up what a preview does not send; None unless it is one
    """

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: Ledger | None,
        run: RunKey,
        summary: Summary,
        *,
        log: logging.Logger,
        history: RunHistory | None = None,
        would_be_sent: PendingTotals | None = None,
    ) -> None:
        self.summary = summary
        self.history = history
        self.would_be_sent = would_be_sent
        #: How many earlier tries of the task run there are.
        self.earlier_tries = 0
        self._ledger = ledger
        self._run = run
        self._log = log
        self._client = hook.client
        self._tags = {"conn_id": hook.firstpromoter_conn_id}
        self._on_result: OnResult | None = None
        self._expected: int | None = None
        self._sent = 0
        #: What this try has decided: the summary of a list also has what was settled before.
        self._decided = Totals()
        self._writes: list[LedgerWrite] = []
        self._recorded: dict[str, _Recorded] = {}
        self._new_problems: list[str] = []
        self._counts: Counter[str] = Counter()
        self._reported_counts: Counter[str] = Counter()
        self._began = self._flushed_at = self._reported_at = time.monotonic()
        self._seen_at = now()
        self._before = (self._client.requests, self._client.rate_limiter.waited)

    def start(self, on_result: OnResult | None = None) -> None:
        """
        Write the row of this try into the run history.

        This happens before the first request, so that a ledger that cannot be written is noticed.

        :param on_result: called with each row and its result
        :raises LedgerError: if the ledger cannot be written
        """
        self._on_result = on_result
        if self._ledger is not None and self.history is not None:
            self._ledger.ensure()
            self.earlier_tries = self.history.start()
            self._seen_at = self.history.started_at
        self._began = self._flushed_at = self._reported_at = time.monotonic()

    def expect(self, events: int) -> None:
        """Set the number of events to be sent, for the progress lines."""
        self._expected = events

    # --- results ---

    def add_settled(self, row: Row, record: LedgerRecord) -> None:
        """Count an event that the ledger has as settled; its sums belong to the task run that reports it."""
        result = record.result()
        self._count(row, result, decided=False)
        if record.run == self._run:
            self._add_sums(result, record.sent(row.call), self.summary)

    def add_problem(self, row: Row, result: Result, record: LedgerRecord | None, known: bool) -> None:
        """
        Count and write a row that is not sent because it is rejected or changed.

        :param known: whether the ledger already has the same problem
        """
        reported = known and record is not None and record.reported_at is not None
        # The task run that reported it reports it again, when it is cleared or retried.
        by_this_run = record is not None and self._run.run_id is not None and record.reported_run_id == self._run.run_id
        new = not reported or by_this_run
        result = result.fitted()
        if known and record is not None:
            self._writes.append(LedgerWrite.of_seen(record, self._seen_at))
        elif record is None or result.outcome is Outcome.REJECTED:
            self._write(row, result.model_copy(update={"event_id": key_of(row, self._key)}), None, record)
        else:
            self._writes.append(LedgerWrite.of_changed(record, row.amount, self._seen_at))
        if new:
            self._new_problems.append(key_of(row, self._key))
        self._count(row, result, new=new)

    def add_refused(self, row: Row, result: Result, record: LedgerRecord) -> None:
        """Count a row that is rejected beside a settled row of its event_id: the event's own outcome stays."""
        self._count(row, result.fitted())
        self.renew(record, [row])

    def add_result(self, job: Job, result: Result) -> None:
        """Count and write the result of an event that was sent."""
        result = result.fitted()
        if result.outcome.on_record:
            result = result.model_copy(update={"reported_by": self._run._asdict()})
        self.summary.rechecked += job.recheck
        self.summary.repeated += len(job.alternatives)
        # An event whose first id was refused may still be sent by its others.
        tried = () if result.outcome is Outcome.REJECTED else (row for row, _ in job.alternatives)
        write = self._write(job.row, result, job, job.record, (*job.refused, *tried))
        if result.outcome is Outcome.REJECTED:
            self._new_problems.append(write.event_id)
        if result.outcome.on_record:
            self._recorded[write.event_id] = _Recorded(job.row, result, write.sent(job.row.call))
        self._count(job.row, result)
        self._add_contradictions(job, result)
        self._note_identity(job, result)

    def _note_identity(self, job: Job, result: Result) -> None:
        """Count a match by e-mail of a row that names a uid, and report a lead that has another uid."""
        self.summary.matched_by_email += result.matched_by == "email" and job.event.uid is not None
        if result.outcome.on_record and result.lead_differs:
            problem = Result(
                event_id=result.event_id, outcome=Outcome.CHANGED, message=log_text.other_lead(str(result.event_id))
            )
            self._decided.outcomes[Outcome.CHANGED] += 1
            self._new_problems.append(str(result.event_id))
            if self.summary.add(problem) is not None:
                self._log.warning("Refund %r is %s: %s", problem.event_id, problem.outcome, problem.message)

    def _add_contradictions(self, job: Job, result: Result) -> None:
        """Report the rows that were not sent because another row of their event_id was."""
        for row in job.others:
            reason = log_text.contradiction(job.row, row)
            self._count(row, Result(event_id=row.event_id, outcome=Outcome.CHANGED, message=reason))
            if result.outcome.on_record and not same_amount(job.row.amount, row.amount):
                record = LedgerRecord(event_id=str(result.event_id), outcome=result.outcome)
                self._writes.append(LedgerWrite.of_changed(record, row.amount, self._seen_at))
                self._new_problems.append(record.event_id)

    def add_would_be_sent(self, job: Job) -> None:
        """Count an event that a preview does not send."""
        if self.would_be_sent is not None:
            self.would_be_sent.add(job.event)
        self.add_pending(job.row, left=False)
        self._add_contradictions(job, Result(event_id=job.row.event_id, outcome=Outcome.PENDING))

    def add_pending(self, row: Row, *, left: bool = True) -> None:
        """Count an event that is not sent, or not yet."""
        self.summary.left_pending += left
        self._count(row, Result(event_id=row.event_id, outcome=Outcome.PENDING))

    def add_interrupted(self, job: Job, *, lost: bool, unmatched: bool) -> None:
        """
        Count an event that was under way when the run ended: FirstPromoter may have recorded it.

        The ledger keeps that, so that the next run looks up the commissions before it accepts a 404 or a 409.

        :param lost: whether a request was sent whose response is not known
        :param unmatched: whether one of its requests was, or may have been, answered with 204 or 404
        """
        result = Result(
            event_id=job.row.event_id,
            outcome=Outcome.FAILED,
            sent=True,
            message="the run was stopped before the response came",
            lost=lost,
            unmatched=unmatched,
        )
        self._write(job.row, result, job, job.record)
        self.add_pending(job.row)

    def renew(self, record: LedgerRecord, rows: Sequence[Row]) -> None:
        """Store what identifies the rows of a settled event as unchanged the next time."""
        self._writes += LedgerWrite.of_settled(record, rows, self._key)

    def take_new_problems(self) -> list[str]:
        """Return the ledger's keys of the problems that this run is the first to report, each once."""
        new, self._new_problems = self._new_problems, []
        return new

    def _count(self, row: Row, result: Result, *, new: bool = True, decided: bool = True) -> None:
        problem = self.summary.add(result, new=new)
        self._decided.outcomes[result.outcome] += decided
        if result.sent or not result.outcome.settled:  # else an earlier run has counted it
            self._counts[f"{row.call.plural}.{result.outcome.value}"] += 1
        if problem is not None and new:
            kind = row.call.name
            name = f"{kind.capitalize()} {result.event_id!r}" if result.event_id else f"A {kind} without an event_id"
            self._log.warning("%s is %s: %s", name, result.outcome, result.message)
        self._pass_on(row, result)

    def _pass_on(self, row: Row, result: Result) -> None:
        if self._on_result is not None:
            self._on_result(row, result)

    def _add_sums(self, result: Result, sent: Mapping[str, Any], *totals: Totals) -> None:
        for one in totals:
            one.add_sums(result, **sent)

    # --- writing ---

    @property
    def room(self) -> int:
        """How many more results can be collected before they are written."""
        return FLUSH_EVERY_RESULTS - len(self._writes)

    @property
    def _key(self) -> bytes:
        return self._ledger.salt.encode() if self._ledger is not None else b""

    def _write(
        self, row: Row, result: Result, job: Job | None, record: LedgerRecord | None, contents: Sequence[Row] = ()
    ) -> LedgerWrite:
        write = LedgerWrite.of_row(
            row,
            result,
            job.event if job else None,
            record,
            self._run,
            key=self._key,
            at=now(),
            seen_at=self._seen_at,
            contents=contents,
        )
        self._writes.append(write)
        return write

    def flush(self, *, only_if_due: bool = False) -> None:
        """
        Write what was collected.

        :raises LedgerError: if the database refuses; the results are then kept
        """
        due = self.room <= 0 or time.monotonic() - self._flushed_at >= FLUSH_EVERY_SECONDS
        if not self._writes or (only_if_due and not due):
            return
        self._flushed_at = time.monotonic()
        claimed: Mapping[str, LedgerRecord] = {}
        if self._ledger is not None:
            written = self._ledger.write(self._writes, self._run, also=self._write_counts)
            claimed = written.claimed
            for event_id, reason in {**written.noted, **written.refused}.items():
                what = "could not be stored" if event_id in written.refused else "was stored without a text of its row"
                self._warn(f"The result of {event_id!r} {what}: {reason}")
        self._writes = []
        recorded, self._recorded = self._recorded, {}
        for event_id, (row, result, sent) in recorded.items():
            if event_id in claimed:
                self._pass_on(row, claimed[event_id].result())
            else:
                self._add_sums(result, sent, self.summary, self._decided)

    def _write_counts(self, connection: Connection, claimed: Mapping[str, LedgerRecord]) -> None:
        """Write the counts so far, in the transaction that writes the results themselves."""
        if self.history is None:
            return
        totals = self._decided.model_copy(deep=True)
        for event_id, (_, result, sent) in self._recorded.items():
            if event_id not in claimed:
                self._add_sums(result, sent, totals)
        self.history.update(connection, counts_of(totals, self.summary))

    def finish(self, error: BaseException | None) -> None:
        """
        Complete the summary, and write it into the run history.

        :param error: the error that ends the task; None if there is none
        :raises LedgerError: if the database refuses
        """
        self.summary.seconds = round(time.monotonic() - self._began, 3)
        self._report_metrics()
        waited = self._client.rate_limiter.waited - self._before[1]
        Stats.timing("firstpromoter.run", self.summary.seconds * 1000, tags=self._tags)
        Stats.timing("firstpromoter.rate_limit_wait", waited * 1000, tags=self._tags)
        if self.would_be_sent is not None:
            self.summary.would_be_sent = self.would_be_sent.to_json()
            self.summary.warnings += self.would_be_sent.warnings()
        if self.history is not None:
            self.history.finish(counts_of(self._decided, self.summary), error)

    def total(self) -> Summary:
        """Return the summary of the whole task run: what its tries settled is read from the ledger."""
        if self._ledger is None:
            return self.summary
        return self.summary.with_settled(self._ledger.totals_of_run(self._run))

    # --- while the run goes on ---

    def report_if_due(self) -> None:
        """Log a line, and update the metrics, every ten seconds."""
        if time.monotonic() - self._reported_at >= PROGRESS_EVERY_SECONDS:
            self._reported_at = time.monotonic()
            self._report_metrics()
            # Where none was answered since the last line, the API is down: nobody knows how much time is left.
            is_moving, self._sent = self.summary.sent > self._sent, self.summary.sent
            rate = self.summary.sent / (self._reported_at - self._began) if is_moving else None
            self._log.info("%s", log_text.progress(self.summary, self._expected, rate))

    def _report_metrics(self) -> None:
        """
        Report to Airflow's Stats what was counted since the last call.

        ``firstpromoter.refunds.<outcome>`` (``.sales.`` for sales) counts what this run sent or rejected;
        ``firstpromoter.requests`` counts retries too.
        """
        self.summary.requests = self._counts["requests"] = self._client.requests - self._before[0]
        for name, count in (self._counts - self._reported_counts).items():
            Stats.incr(f"firstpromoter.{name}", count, tags=self._tags)
        self._reported_counts = self._counts.copy()

    def _warn(self, warning: str) -> None:
        self._log.error("%s", warning)
        self.summary.warnings.append(warning)


def report_mismatches(conn_id: str, count: int) -> None:
    """
    Report what a reconciliation found: ``firstpromoter.mismatches``, a gauge.

    :param conn_id: the FirstPromoter connection, its tag
    """
    Stats.gauge("firstpromoter.mismatches", count, tags={"conn_id": conn_id})
