"""Passes the results of a run to the summary, the log, the ledger and the run history."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from airflow_provider_firstpromoter.ledger import (
    EarlierTries,
    LedgerBatch,
    LedgerRecord,
    RefundLedger,
    RunHistory,
    RunKey,
)
from airflow_provider_firstpromoter.refunds import Outcome, Result, Row, Summary, Totals, same_amount
from airflow_provider_firstpromoter.sync import fan_out
from airflow_provider_firstpromoter.sync.ledger_writer import LedgerWriter
from airflow_provider_firstpromoter.sync.progress import Progress
from airflow_provider_firstpromoter.sync.sender import Job
from airflow_provider_firstpromoter.sync.totals import PendingTotals


class Recorder:
    """
    Counts each result and writes it.

    :param ledger: None writes nothing: a preview, or a run without a ledger
    :param history: the run history; None likewise
    :param run: the task run that the rows name
    :param fingerprint_key: the key of the rows' fingerprints
    """

    def __init__(
        self,
        ledger: RefundLedger | None,
        history: RunHistory | None,
        run: RunKey,
        fingerprint_key: bytes,
        progress: Progress,
    ) -> None:
        self.history = history
        self.earlier = EarlierTries()
        #: The event_ids of problems that this run is the first to report.
        self.new_problems: list[str] = []
        self._run = run
        self.progress = progress
        self.would_be_sent: PendingTotals | None = None
        self._writer = LedgerWriter(ledger, run, fingerprint_key, self._write_counts)
        self._settled_before = Totals()
        self._unwritten: dict[str, tuple[Row, Result, dict[str, Any]]] = {}

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
        if self.history is not None:
            self._writer.prepare(LedgerBatch(self.history.started_at))
            self.earlier = self.history.start()

    # --- results ---

    def add_settled(self, row: Row, record: LedgerRecord) -> None:
        """Count a refund that the ledger has as settled; its sums belong to the task run that reversed it."""
        result, sent = record.result(), record.sent()
        self.progress.add(row, result, **sent)
        self._settled_before.count(result, **sent)
        if record.run != self._run:
            self.summary.attribute_elsewhere(result, **sent)
            self._settled_before.attribute_elsewhere(result, **sent)

    def add_problem(self, row: Row, result: Result, record: LedgerRecord | None, known: bool) -> None:
        """
        Count a row that is not sent because it is rejected or changed.

        :param known: whether the ledger already has the same problem
        """
        self.progress.add(row, result, new=self._note_problem(row, result, record, known))

    def add_result(self, job: Job, result: Result) -> None:
        """Count and write the result of a refund that was sent."""
        if result.outcome.on_record:
            result = result.model_copy(update={"reversed_by": self._run._asdict()})
        sent = _sent(job)
        self._take_back_earlier(job.record)
        self.summary.rechecked += job.recheck
        self.summary.repeated += len(job.alternatives)
        self._writer.add(job.row, result, job.refund, job.record, tuple(row for row, _ in job.alternatives))
        if result.outcome is Outcome.REJECTED and job.row.event_id:
            self.new_problems.append(job.row.event_id)
        self.progress.add(job.row, result, **sent)
        if result.outcome.on_record and result.event_id:
            self._unwritten[result.event_id] = (job.row, result, sent)
        self._add_contradictions(job, result)

    def _add_contradictions(self, job: Job, result: Result) -> None:
        """Report the rows that were not sent because another row of their event_id was."""
        for row in job.others:
            reason = fan_out.contradiction(job.row, row)
            self.progress.add(row, Result(event_id=row.event_id, outcome=Outcome.CHANGED, message=reason))
            if result.outcome.on_record and result.event_id and not same_amount(job.row.amount, row.amount):
                self._writer.note_changed(LedgerRecord(result.event_id, result.outcome), row.amount)
                self.new_problems.append(result.event_id)

    def add_would_be_sent(self, job: Job) -> None:
        """Count a refund that a preview does not send."""
        if self.would_be_sent is not None:
            self.would_be_sent.add(job.refund)
        self.add_pending(job.row, _sent(job), left=False)
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

    def renew(self, record: LedgerRecord, row: Row) -> None:
        """Store what identifies a settled row as unchanged the next time."""
        self._writer.renew(record, row)

    def _note_problem(self, row: Row, result: Result, record: LedgerRecord | None, known: bool) -> bool:
        """Write a problem, and return whether no earlier run has reported it."""
        if row.event_id is None:
            return True  # it cannot be remembered
        reported = known and record is not None and record.reported_at is not None
        # The task run that reported it reports it again, when it is cleared or retried.
        by_this_run = record is not None and self._run.run_id is not None and record.reported_run_id == self._run.run_id
        new = not reported or by_this_run
        if record is None or result.outcome is Outcome.REJECTED:
            if known:
                self._writer.note_seen(row.event_id)
            else:
                self._writer.add(row, result, None, record)
        else:
            self._writer.note_changed(record, row.amount)
        if new:
            self.new_problems.append(row.event_id)
        return new

    def _take_back_earlier(self, record: LedgerRecord | None) -> None:
        """Subtract a refund from the totals of earlier tries if one of them counted an outcome that no longer holds."""
        if record is not None and record.outcome.settled and record.run == self._run and self.earlier.tries:
            self.earlier.totals.count(record.result(), **record.sent(), times=-1)

    # --- writing ---

    def flush(self, *, only_if_due: bool = False) -> None:
        """
        Write what was collected.

        :raises LedgerError: if the database refuses
        """
        claimed = self._writer.flush_if_due() if only_if_due else self._writer.flush()
        for event_id, record in claimed.items():
            if event_id in self._unwritten:
                row, result, sent = self._unwritten[event_id]
                self.summary.attribute_elsewhere(result, **sent)
                self.progress.replace(row, record.result())
        if not self._writer.has_unwritten:
            self._unwritten.clear()

    def finish(self, error: BaseException | None) -> None:
        """
        Complete the summary, and write it into the run history.

        :param error: the error that ends the task; None if there is none
        :raises LedgerError: if the database refuses
        """
        self.progress.finish()
        if self.would_be_sent is not None:
            self.summary.would_be_sent = self.would_be_sent.to_json()
        if self.history is not None:
            self.history.finish(self._decided_now(), error)

    def _decided_now(self) -> Summary:
        """Return the summary without the stored results of a list: the run history counts each refund once."""
        counts = self.summary.model_copy(deep=True)
        counts.subtract(self._settled_before)
        return counts

    def _write_counts(self, connection: Connection, claimed: dict[str, LedgerRecord]) -> None:
        if self.history is None:
            return
        counts = self._decided_now()
        for event_id in claimed.keys() & self._unwritten.keys():
            _, result, sent = self._unwritten[event_id]
            counts.attribute_elsewhere(result, **sent)
        self.history.update(connection, counts)


def _sent(job: Job) -> dict[str, Any]:
    refund = job.refund
    return {"amount": refund.amount, "currency": refund.currency, "sale_event_id": refund.sale_event_id}
