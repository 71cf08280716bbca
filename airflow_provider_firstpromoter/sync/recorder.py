"""
Records what becomes of the rows of a run: the only writer of its summary, its ledger and its run history.

The outcome of a row is counted when it is known, and its sums when the ledger has it: then it is known which task run
reports them.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from airflow_provider_firstpromoter.calls import Outcome, Result, Row, Summary, Totals, same_amount
from airflow_provider_firstpromoter.ledger import LedgerRecord, LedgerWrite, RunHistory, RunKey, counts_of, key_of, now
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.log_text import Progress
from airflow_provider_firstpromoter.sync.spool import Job

#: Results are written when this number has been collected, or this number of seconds has passed.
FLUSH_EVERY_RESULTS = 500
FLUSH_EVERY_SECONDS = 30.0

OnResult = Callable[[Row, Result], None]


class Recorder:
    """
    Counts each result, passes it downstream, and writes it.

    :param summary: the counts and sums of this try
    :param run: the task run that reports the results
    :param history: where they are written; None writes nothing: a preview, or a run without a ledger
    :param command: returns a command on the run's ledger: takes its name, and event_ids
    """

    def __init__(
        self,
        summary: Summary,
        run: RunKey,
        history: RunHistory | None,
        progress: Progress,
        log: logging.Logger,
        command: Callable[..., str],
    ) -> None:
        self.summary = summary
        self.progress = progress
        #: Whether the result of an event could not be stored, so that nothing is known of it.
        self.is_unstored = False
        #: How many earlier tries of the task run there are.
        self.earlier_tries = 0
        self._run = run
        self._history = history
        self._log = log
        self._command = command
        self._key = b""
        self._seen_at = history.started_at if history else now()
        self._on_result: OnResult | None = None
        #: What this try has decided: the summary of a list also has what was settled before.
        self._decided = Totals()
        self._writes: list[LedgerWrite] = []
        self._new_problems: list[str] = []
        #: The results on record that are not in the sums yet, by event_id.
        self._recorded: dict[str, tuple[Row, Result, LedgerWrite]] = {}
        self._flushed_at = time.monotonic()

    def history(self) -> list[dict[str, Any]]:
        """Return what the run history says of the task run; see :meth:`RunHistory.report`."""
        return self._history.report() if self._history is not None else []

    def start(self, on_result: OnResult | None = None) -> None:
        """
        Write the row of this try into the run history.

        This happens before the first request, so that a ledger that cannot be written is noticed.

        :param on_result: called with each row and its result
        """
        self._on_result = on_result
        if self._history is not None:
            self.earlier_tries = self._history.start()
            self._key = self._history.ledger.salt.encode()

    # --- results ---

    def add_settled(self, row: Row, record: LedgerRecord) -> None:
        """Count an event that the ledger has as settled; its sums belong to the task run that reports it."""
        result = record.result()
        self.summary.add(result)
        self._pass_on(row, result)
        if record.run == self._run:
            self.summary.add_sums(result, **record.sent(row.call))

    def add_problem(
        self, row: Row, result: Result, record: LedgerRecord | None, known: bool, contents: Sequence[Row]
    ) -> None:
        """
        Count and write a row that is not sent because it is rejected or changed.

        :param known: whether the ledger already has the same problem
        :param contents: the rows whose contents have this problem
        """
        reported = known and record is not None and record.reported_at is not None
        # The task run that reported it reports it again, when it is cleared or retried.
        by_this_run = record is not None and self._run.run_id is not None and record.reported_run_id == self._run.run_id
        new = not reported or by_this_run
        result = result.fitted()
        key = key_of(row, self._key)
        if known and record is not None:
            self._writes.append(LedgerWrite.of_seen(record, self._seen_at))
        elif record is None or result.outcome is Outcome.REJECTED:
            self._write(row, result.model_copy(update={"event_id": key}), None, record, contents)
        else:
            self._writes.append(LedgerWrite.of_changed(record.event_id, record.outcome, row.amount, self._seen_at))
        if new:
            self._new_problems.append(key)
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
        self.summary.rechecked += job.is_recheck
        self.summary.repeated += len(job.alternatives)
        # An event whose first id was refused may still be sent by its others.
        tried = () if result.outcome is Outcome.REJECTED else (row for row, _ in job.alternatives)
        write = self._write(job.row, result, job, job.record, (job.row, *job.refused, *tried))
        if result.outcome is Outcome.REJECTED:
            self._new_problems.append(write.event_id)
        if result.outcome.on_record:
            self._recorded[write.event_id] = (job.row, result, write)
        self._count(job.row, result)
        self._add_contradictions(job, result)
        # Two customers can share an e-mail address.
        self.summary.matched_by_email += result.matched_by == "email" and job.event.uid is not None
        if result.outcome.on_record and result.lead_differs:
            undo = f"{self._command('revert')} {shlex.quote(f'--event-id={write.event_id}')}"
            reason = log_text.other_lead(undo, self._command("accept", write.event_id))
            self._new_problems.append(write.event_id)
            self._decide(job.row, Result(event_id=write.event_id, outcome=Outcome.CHANGED, message=reason))

    def _add_contradictions(self, job: Job, result: Result) -> None:
        """Report the rows that were not sent because another row of their event_id was."""
        for row in job.others:
            reason = log_text.contradiction(job.row, row)
            self._count(row, Result(event_id=row.event_id, outcome=Outcome.CHANGED, message=reason))
            if result.outcome.on_record and not same_amount(job.row.amount, row.amount):
                event_id = str(result.event_id)
                self._writes.append(LedgerWrite.of_changed(event_id, result.outcome, row.amount, self._seen_at))
                self._new_problems.append(event_id)

    def add_unsent(self, job: Job) -> None:
        """Count an event that a preview does not send."""
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

    def _count(self, row: Row, result: Result, *, new: bool = True) -> None:
        self._decide(row, result, new=new)
        self._pass_on(row, result)

    def _decide(self, row: Row, result: Result, *, new: bool = True) -> None:
        self._decided.outcomes[result.outcome] += 1
        problem = self.summary.add(result, new=new)
        if problem is not None and new:
            kind = row.call.name
            name = f"{kind.capitalize()} {result.event_id!r}" if result.event_id else f"A {kind} without an event_id"
            self._log.warning("%s is %s: %s", name, result.outcome, result.message)

    def _pass_on(self, row: Row, result: Result) -> None:
        if self._on_result is not None:
            self._on_result(row, result)

    def take_new_problems(self) -> list[str]:
        """Return the ledger's keys of the problems that this run is the first to report, each once."""
        new, self._new_problems = self._new_problems, []
        return new

    # --- writing ---

    def _write(
        self,
        row: Row,
        result: Result,
        job: Job | None,
        record: LedgerRecord | None,
        contents: Iterable[Row] | None = None,
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

    def keep_up(self) -> None:
        """Write what was collected, and log a line, where it is time to."""
        if len(self._writes) >= FLUSH_EVERY_RESULTS or time.monotonic() - self._flushed_at >= FLUSH_EVERY_SECONDS:
            self.flush()
        self.progress.report_if_due(self._decided.outcomes)

    def flush(self) -> None:
        """Write what was collected."""
        self._flushed_at = time.monotonic()
        claimed: Mapping[str, LedgerRecord] = {}
        if self._history is not None and self._writes:
            written = self._history.ledger.write(self._writes, self._run, self._write_counts)
            claimed = written.claimed
            self.is_unstored |= bool(written.refused)
            for event_id, reason in {**written.noted, **written.refused}.items():
                what = "could not be stored" if event_id in written.refused else "was stored without a text of its row"
                warning = f"The result of {event_id!r} {what}: {reason}"
                self._log.error("%s", warning)
                self.summary.warnings.append(warning)
        self._writes = []
        recorded, self._recorded = self._recorded, {}
        for event_id, (row, result, write) in recorded.items():
            if event_id in claimed:
                self._pass_on(row, claimed[event_id].result())
            else:
                for totals in (self.summary, self._decided):
                    totals.add_sums(result, **write.sent(row.call))

    def _write_counts(self, connection: Connection, claimed: Mapping[str, LedgerRecord]) -> None:
        """Write the counts into the run history, in the transaction of the collected results."""
        assert self._history is not None
        totals = self._decided.model_copy(deep=True)
        for event_id, (row, result, write) in self._recorded.items():
            if event_id not in claimed:
                totals.add_sums(result, **write.sent(row.call))
        self._history.update(connection, counts_of(totals, self.summary))

    def finish(self, error: BaseException | None, completed: str | None = None) -> None:
        """
        Complete the summary, and write it into the run history.

        :param error: the error that ends the task; None if there is none
        :param completed: what identifies the query, if all that was to be read of it was handled
        """
        self.progress.finish(self._decided.outcomes)
        if self._history is not None:
            self._history.finish({**counts_of(self._decided, self.summary), "completed": completed}, error)

    def total(self) -> Summary:
        """Return the summary of the whole task run: what its tries settled is read from the ledger."""
        return self.summary if self._history is None else self.summary.with_settled(self._history.settled())

    def since_last_event(self, *, only_recorded: bool) -> Totals:
        """Return what the task has done since its last asset event, from the run history."""
        if self._history is None:
            return self.total()
        return self._history.report_by_event(only_recorded=only_recorded)
