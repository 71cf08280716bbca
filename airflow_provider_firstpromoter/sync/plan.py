"""
Decides what is done with the rows of one event_id: sent, reported as a problem, or counted as settled.

A query can give an event more than one row. Rows of the same content are one event. Rows that differ in the e-mail
alone are one event with more addresses to try. Rows that differ in anything else contradict each other: the first one
is sent, and the others are reported. Rows that name different uids, or that differ in very many ways, come from a join
that multiplies: none is sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_firstpromoter.calls import Outcome, Result, Row, TrackedEvent, content_token
from airflow_provider_firstpromoter.pending import Action, ClassifiedRow, decide
from airflow_provider_firstpromoter.sync.dispatcher import Dispatcher
from airflow_provider_firstpromoter.sync.recorder import Recorder
from airflow_provider_firstpromoter.sync.selection import Reading
from airflow_provider_firstpromoter.sync.spool import Group, Job


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
        """Handle several groups; the ledger is asked once for all of them."""
        rows = [row for group in groups for row in group.rows]
        classified = iter([one for batch in self._reading.classified(rows, commissions=True) for one in batch])
        for group in groups:
            self._recorder.summary.repeated += group.total - len(group.rows)
            ours = [next(classified) for _ in group.rows]
            if group.refused:
                self._refuse(ours[0], group.refused)
            else:
                self._handle_one(ours, group.action)

    def _refuse(self, first: ClassifiedRow, reason: str) -> None:
        """Reject the rows of one event_id together. The ledger remembers no content of them: each may be the right."""
        row, _, record = first
        result = Result(event_id=row.event_id, outcome=Outcome.REJECTED, message=reason)
        if record is not None:
            result = result.model_copy(update={"lost": bool(record.lost), "unmatched": bool(record.unmatched)})
        known = record is not None and record.rejected_together
        self._recorder.add_problem(row, result, record, known, contents=())

    def _handle_one(self, rows: list[ClassifiedRow], action: Action | None) -> None:
        """Handle the rows of one event_id, each of another content."""
        to_send: list[tuple[ClassifiedRow, TrackedEvent]] = []
        #: Each with its result, and whether the ledger already has the same problem.
        problems: list[tuple[ClassifiedRow, Result, bool]] = []
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
            job, repeated = job_of(to_send, action, [one.row for one, _, _ in problems])
            self._recorder.summary.repeated += repeated + len(settled)
            self._dispatcher.dispatch(job)
            return
        self._renew(settled, [one for one, _, known in problems if known], has_problems=bool(problems))
        for number, one in enumerate(settled):
            self._add_settled(one, is_repeated=number > 0)
        # The ledger has one changed amount of an event: it stands for all of them, and is written last.
        several_known = len(problems) > 1 and any(known for _, _, known in problems)
        for one, result, known in sorted(problems, key=lambda problem: problem[2]):
            if settled and one.record is not None and one.record.outcome.remembers_content:
                self._recorder.add_refused(one.row, result, one.record)
            else:
                self._recorder.add_problem(one.row, result, one.record, known or several_known, contents=(one.row,))

    def _renew(self, settled: list[ClassifiedRow], known: list[ClassifiedRow], *, has_problems: bool) -> None:
        """
        Let the ledger know these rows by what they contain now.

        An event that is recorded is still changed while another row of it has another amount.
        """
        renewed = [
            one
            for one in [*settled, *known]
            if one.action is Action.COMPARE
            or (
                self._reading.rules.needs_renewal(one.row, one.record)
                and not (has_problems and one.record is not None and one.record.recorded)
            )
        ]
        if renewed and (record := renewed[0].record) is not None:
            self._recorder.renew(record, [one.row for one in renewed])

    def _add_settled(self, one: ClassifiedRow, *, is_repeated: bool) -> None:
        summary = self._recorder.summary
        if one.record is None:
            return
        if not self._report_settled:
            summary.skipped += 1
        elif is_repeated:
            summary.repeated += 1
        else:
            self._recorder.add_settled(one.row, one.record)


def job_of(
    to_send: Sequence[tuple[ClassifiedRow, TrackedEvent]], action: Action | None, refused: Sequence[Row] = ()
) -> tuple[Job, int]:
    """
    Return the job that sends an event.

    :param to_send: the rows of its event_id that can be sent, each of another content
    :param action: what the run selected it for
    :param refused: the rows of its event_id that cannot be sent
    :returns: the job, and how many rows only repeat it, without an address that can be tried
    """
    (first, event), *rest = to_send
    contradicting = [row for row in refused if _without_email(row) != _without_email(first.row)]
    job = Job(
        first.row,
        event,
        first.record,
        action,
        alternatives=tuple((one.row, other) for one, other in rest if _is_alternative(event, other)),
        others=(*(one.row for one, other in rest if not _is_alternative(event, other)), *contradicting),
        refused=tuple(refused),
    )
    return job, len(refused) - len(contradicting)


def _without_email(row: Row) -> str:
    return content_token({**row.values, "email": None}, b"")


def _is_alternative(event: TrackedEvent, other: TrackedEvent) -> bool:
    return event == other.model_copy(update={"email": event.email})
