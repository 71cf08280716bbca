"""Passes the results of a run to the summary, the log, the ledger and the run history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_firstpromoter.calls import Outcome, Result, Row, Summary, same_amount
from airflow_provider_firstpromoter.ledger import LedgerBatch, LedgerRecord, RefundLedger, RunHistory, RunKey
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.job import Job
from airflow_provider_firstpromoter.sync.ledger_writer import LedgerWriter
from airflow_provider_firstpromoter.sync.problems import Problems
from airflow_provider_firstpromoter.sync.progress import Progress
from airflow_provider_firstpromoter.sync.run_counts import RunCounts
from airflow_provider_firstpromoter.sync.selection import PendingTotals


class Recorder:
    """
    Counts each result and writes it.

    :param ledger: None writes nothing: a preview, or a run without a ledger
    :param history: the run history; None likewise
    :param run: the task run that the rows name
    :param would_be_sent: adds up what a preview does not send; None unless it is one
    """

    def __init__(
        self,
        ledger: RefundLedger | None,
        history: RunHistory | None,
        run: RunKey,
        progress: Progress,
        would_be_sent: PendingTotals | None = None,
    ) -> None:
        self.progress = progress
        self.would_be_sent = would_be_sent
        self.counts = RunCounts(history, progress.summary, run)
        self._run = run
        self._writer = LedgerWriter(ledger, run, self.counts.write)
        self.problems = Problems(self._writer, run)

    @property
    def summary(self) -> Summary:
        """The counts and sums of this try."""
        return self.progress.summary

    def start(self) -> None:
        """
        Write the row of this try into the run history.

        This happens before the first request, so that a ledger that cannot be written is noticed.

        :raises LedgerError: if the ledger cannot be written
        """
        history = self.counts.history
        if history is not None:
            self._writer.prepare(LedgerBatch(history.started_at))
        self.counts.start()

    # --- results ---

    def add_settled(self, row: Row, record: LedgerRecord) -> None:
        """Count a refund that the ledger has as settled; its sums belong to the task run that reversed it."""
        self.progress.add(row, record.result(), **record.sent())
        self.counts.add_settled(record)

    def add_problem(self, row: Row, result: Result, record: LedgerRecord | None, known: bool) -> None:
        """
        Count a row that is not sent because it is rejected or changed.

        :param known: whether the ledger already has the same problem
        """
        self.progress.add(row, result, new=self.problems.add(row, result, record, known))

    def add_refused(self, row: Row, result: Result, record: LedgerRecord) -> None:
        """Count a row that is rejected beside a settled row of its event_id: the refund's own outcome stays."""
        self.progress.add(row, result)
        self._writer.renew(record, [row])

    def add_result(self, job: Job, result: Result) -> None:
        """Count and write the result of a refund that was sent."""
        if result.outcome.on_record:
            result = result.model_copy(update={"reported_by": self._run._asdict()})
        self.summary.rechecked += job.recheck
        self.summary.repeated += len(job.alternatives)
        # A refund whose first id was refused may still be sent by its others.
        tried = () if result.outcome is Outcome.REJECTED else (row for row, _ in job.alternatives)
        contents = (*job.refused, *tried)
        self._writer.add(job.row, result, job.refund, job.record, contents)
        self.problems.add_rejected(result)
        self.progress.add(job.row, result, **job.sent())
        self.counts.add_sent(job, result)
        self._add_contradictions(job, result)

    def _add_contradictions(self, job: Job, result: Result) -> None:
        """Report the rows that were not sent because another row of their event_id was."""
        for row in job.others:
            reason = log_text.contradiction(job.row, row)
            self.progress.add(row, Result(event_id=row.event_id, outcome=Outcome.CHANGED, message=reason))
            if not same_amount(job.row.amount, row.amount):
                self.problems.add_contradiction(result, row.amount)

    def add_would_be_sent(self, job: Job) -> None:
        """Count a refund that a preview does not send."""
        if self.would_be_sent is not None:
            self.would_be_sent.add(job.refund)
        self.add_pending(job.row, job.sent(), left=False)
        self._add_contradictions(job, Result(event_id=job.row.event_id, outcome=Outcome.PENDING))

    def add_pending(self, row: Row, sent: dict[str, Any] | None = None, *, left: bool = True) -> None:
        """Count a refund that is not sent, or not yet."""
        self.summary.left_pending += left
        self.progress.add(row, Result(event_id=row.event_id, outcome=Outcome.PENDING), **(sent or {}))

    def add_interrupted(self, job: Job, *, lost: bool, unmatched: bool) -> None:
        """
        Count a refund that was under way when the run ended: FirstPromoter may have recorded it.

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
        self._writer.add(job.row, result, job.refund, job.record)
        self.add_pending(job.row)

    def renew(self, record: LedgerRecord, rows: Sequence[Row]) -> None:
        """Store what identifies the rows of a settled refund as unchanged the next time."""
        self._writer.renew(record, rows)

    # --- writing ---

    @property
    def room(self) -> int:
        """How many more results can be collected before they are written."""
        return self._writer.room

    def flush(self, *, only_if_due: bool = False) -> None:
        """
        Write what was collected.

        :raises LedgerError: if the database refuses
        """
        claimed = self._writer.flush_if_due() if only_if_due else self._writer.flush()
        for row, record in self.counts.attribute(claimed):
            self.progress.replace(row, record.result())
        if not self._writer.has_unwritten:
            self.counts.all_written()

    def finish(self, error: BaseException | None) -> None:
        """
        Complete the summary, and write it into the run history.

        :param error: the error that ends the task; None if there is none
        :raises LedgerError: if the database refuses
        """
        self.progress.finish()
        if self.would_be_sent is not None:
            self.summary.would_be_sent = self.would_be_sent.to_json()
            self.summary.warnings += self.would_be_sent.warnings()
        self.counts.finish(error)
