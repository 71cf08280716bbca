"""Decides what is done with the rows of one event_id: sent, reported as a problem, or counted as settled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from airflow_provider_firstpromoter.calls import Refund, Result, Validation
from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.pending import Action, ClassifiedRow, PendingRules, classify_rows, decide
from airflow_provider_firstpromoter.sync import fan_out
from airflow_provider_firstpromoter.sync.dispatcher import Dispatcher
from airflow_provider_firstpromoter.sync.recorder import Recorder
from airflow_provider_firstpromoter.sync.spool import Group


class Problem(NamedTuple):
    """
    A row that is rejected or changed.

    :param known: whether the ledger already has the same problem
    """

    row: ClassifiedRow
    result: Result
    known: bool


class GroupHandler:
    """
    Handles the rows of a run, one event_id after the other.

    :param validation: how rows are to be read
    :param report_settled: whether settled refunds are counted with their stored results, or only as skipped
    """

    def __init__(
        self,
        ledger: RefundLedger | None,
        rules: PendingRules,
        validation: Validation,
        dispatcher: Dispatcher,
        recorder: Recorder,
        *,
        report_settled: bool,
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._validation = validation
        self._dispatcher = dispatcher
        self._recorder = recorder
        self._report_settled = report_settled

    def handle(self, groups: Sequence[Group]) -> None:
        """
        Handle several groups; the ledger is asked once for all of them.

        :raises LedgerError: if the ledger's database refuses
        :raises SyncInterruptedError: if the task was killed
        """
        rows = [row for group in groups for row in group.rows]
        found = {one.row.position: one for batch in classify_rows(rows, self._ledger, self._rules) for one in batch}
        for group in groups:
            self._dispatcher.enter_rank(group.rank)
            first, repeated = fan_out.distinct(group.rows, self._rules.key)
            self._recorder.summary.repeated += len(repeated)
            self._handle_one([found[row.position] for row in first], group.rank)

    def _handle_one(self, rows: list[ClassifiedRow], rank: int) -> None:
        """Handle the rows of one event_id, each of another content."""
        to_send: list[tuple[ClassifiedRow, Refund]] = []
        problems: list[Problem] = []
        settled: list[ClassifiedRow] = []
        for one in rows:
            decision = decide(one, self._validation)
            if decision.refund is not None:
                to_send.append((one, decision.refund))
            elif decision.result is not None:
                problems.append(Problem(one, decision.result, decision.known))
            else:
                settled.append(one)
        if to_send:
            refused = [problem.row.row for problem in problems]
            job, repeated = fan_out.job_of(to_send, rank, refused, self._rules.key)
            self._recorder.summary.repeated += repeated + len(settled)
            self._dispatcher.dispatch(job)
            return
        self._renew(settled, problems)
        self._add_settled(settled)
        self._add_problems(problems, beside_settled=bool(settled))

    def _renew(self, settled: list[ClassifiedRow], problems: list[Problem]) -> None:
        """Let the ledger know these rows by what they contain now."""
        unchanged = [*settled, *(problem.row for problem in problems if problem.known)]
        renewed = [
            one for one in unchanged if one.action is Action.COMPARE or self._rules.needs_renewal(one.row, one.record)
        ]
        if renewed and (record := renewed[0].record) is not None:
            self._recorder.renew(record, [one.row for one in renewed])

    def _add_settled(self, rows: list[ClassifiedRow]) -> None:
        summary = self._recorder.summary
        for number, one in enumerate(rows):
            if one.record is None:
                continue
            if not self._report_settled:
                summary.skipped += 1
            elif number:
                summary.repeated += 1
            else:
                self._recorder.add_settled(one.row, one.record)

    def _add_problems(self, problems: list[Problem], *, beside_settled: bool) -> None:
        """
        Add the rows of one event_id that are rejected or changed.

        :param beside_settled: whether another row of the event_id is settled
        """
        if len(problems) > 1 and any(problem.known for problem in problems):
            # The ledger has one changed amount of a refund: it stands for all of them, and is written last.
            by_known = sorted(problems, key=lambda problem: problem.known)
            problems = [problem._replace(known=True) for problem in by_known]
        for one, result, known in problems:
            record = one.record
            if beside_settled and record is not None and record.outcome.remembers_content:
                self._recorder.add_refused(one.row, result, record)
            else:
                self._recorder.add_problem(one.row, result, record, known)
