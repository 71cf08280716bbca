"""
Decides what is done with the rows of one event_id: sent, reported as a problem, or counted as settled.

A query can give an event more than one row. Rows of the same content are one event. Rows that differ in the e-mail
alone are one event with more addresses to try. Rows that differ in anything else contradict each other: the first one
is sent, and the others are reported. Rows that name different uids, or that differ in very many ways, come from a join
that multiplies: none is sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_firstpromoter.calls import Outcome, Result, Row, TrackedEvent, content_token, is_known_content
from airflow_provider_firstpromoter.pending import Action, ClassifiedRow, decide
from airflow_provider_firstpromoter.sync.dispatcher import Dispatcher
from airflow_provider_firstpromoter.sync.job import Job
from airflow_provider_firstpromoter.sync.recorder import Recorder
from airflow_provider_firstpromoter.sync.selection import Reading
from airflow_provider_firstpromoter.sync.spool import Group

#: A row that is rejected or changed, its result, and whether the ledger already has the same problem.
Problem = tuple[ClassifiedRow, Result, bool]


class GroupHandler:
    """
    Handles the rows of a run, one event_id after the other.

    :param report_settled: whether settled events are counted with their stored results, or only as skipped
    """

    def __init__(self, reading: Reading, dispatcher: Dispatcher, recorder: Recorder, *, report_settled: bool) -> None:
        self._reading = reading
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
        classified = iter([one for batch in self._reading.classified(rows, commissions=True) for one in batch])
        for group in groups:
            self._dispatcher.enter_rank(group.rank)
            self._recorder.summary.repeated += group.total - len(group.rows)
            ours = [next(classified) for _ in group.rows]
            if group.refused:
                self._refuse(ours[0], group.refused)
            else:
                self._handle_one(ours, group.rank)

    def _refuse(self, first: ClassifiedRow, reason: str) -> None:
        """Reject the rows of one event_id together. The ledger remembers no row of them: each may be the right one."""
        event_id, record = first.row.event_id, first.record
        nothing = Row(first.row.position, {"event_id": event_id}, event_id, None, call=first.row.call)
        result = Result(event_id=event_id, outcome=Outcome.REJECTED, message=reason)
        known = False
        if record is not None:
            is_known = is_known_content(record.fingerprint, {}, self._reading.rules.key)
            known = record.outcome is Outcome.REJECTED and is_known
            result = result.model_copy(update={"lost": bool(record.lost), "unmatched": bool(record.unmatched)})
        self._recorder.add_problem(nothing, result, record, known)

    def _handle_one(self, rows: list[ClassifiedRow], rank: int) -> None:
        """Handle the rows of one event_id, each of another content."""
        to_send: list[tuple[ClassifiedRow, TrackedEvent]] = []
        problems: list[Problem] = []
        settled: list[ClassifiedRow] = []
        for one in rows:
            decision = decide(one, self._reading.how)
            if decision.event is not None:
                to_send.append((one, decision.event))
            elif decision.result is not None:
                problems.append((one, decision.result, decision.known))
            else:
                settled.append(one)
        if to_send:
            job, repeated = job_of(to_send, rank, [one.row for one, _, _ in problems])
            self._recorder.summary.repeated += repeated + len(settled)
            self._dispatcher.dispatch(job)
            return
        self._renew(settled, problems)
        self._add_settled(settled)
        self._add_problems(problems, beside_settled=bool(settled))

    def _renew(self, settled: list[ClassifiedRow], problems: list[Problem]) -> None:
        """Let the ledger know these rows by what they contain now."""
        rules = self._reading.rules
        renewed = [
            one
            for one in [*settled, *(one for one, _, known in problems if known)]
            if one.action is Action.COMPARE
            or (rules.needs_renewal(one.row, one.record) and not _is_one_of_several(one, problems))
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
        # The ledger has one changed amount of an event: it stands for all of them, and is written last.
        several_known = len(problems) > 1 and any(known for _, _, known in problems)
        for one, result, known in sorted(problems, key=lambda problem: problem[2]):
            record = one.record
            if beside_settled and record is not None and record.outcome.remembers_content:
                self._recorder.add_refused(one.row, result, record)
            else:
                self._recorder.add_problem(one.row, result, record, known or several_known)


def _is_one_of_several(one: ClassifiedRow, problems: Sequence[Problem]) -> bool:
    """Return whether the event is recorded and another row of it has another amount: then it is still changed."""
    return bool(problems) and one.record is not None and one.record.recorded


def job_of(
    rows: Sequence[tuple[ClassifiedRow, TrackedEvent]], rank: int, refused: Sequence[Row] = ()
) -> tuple[Job, int]:
    """
    Return the job that sends an event.

    :param rows: the rows of its event_id that can be sent, each of another content
    :param rank: its place in the order of the run
    :param refused: the rows of its event_id that cannot be sent
    :returns: the job, and how many rows only repeat it, without an address that can be tried
    """
    (first, event), *rest = rows
    contradicting = [row for row in refused if _without_email(row) != _without_email(first.row)]
    job = Job(
        first.row,
        event,
        first.record,
        rank,
        recheck=first.action is Action.RECHECK,
        alternatives=tuple((one.row, other) for one, other in rest if _is_alternative(event, other)),
        others=(*(one.row for one, other in rest if not _is_alternative(event, other)), *contradicting),
        refused=tuple(refused),
    )
    return job, len(refused) - len(contradicting)


def _without_email(row: Row) -> str:
    return content_token({**row.values, "email": None}, b"")


def _is_alternative(event: TrackedEvent, other: TrackedEvent) -> bool:
    return event == other.model_copy(update={"email": event.email})
