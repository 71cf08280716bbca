"""Writes rejected and changed rows into the ledger, and tells which of them no earlier run has reported."""

from __future__ import annotations

from airflow_provider_firstpromoter.calls import Outcome, Result, Row
from airflow_provider_firstpromoter.ledger import LedgerRecord, RunKey
from airflow_provider_firstpromoter.sync.ledger_writer import LedgerWriter


class Problems:
    """
    The rows of a run that need attention.

    :param run: the task run that reports them
    """

    def __init__(self, writer: LedgerWriter, run: RunKey) -> None:
        self._writer = writer
        self._run = run
        self._new: list[str] = []

    def add(self, row: Row, result: Result, record: LedgerRecord | None, known: bool) -> bool:
        """
        Write a problem.

        :param known: whether the ledger already has the same problem
        :returns: whether this run is the first to report it
        """
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
            self._new.append(row.event_id)
        return new

    def add_rejected(self, result: Result) -> None:
        """Note a refund that FirstPromoter rejected, and that is written as the other results are."""
        if result.outcome is Outcome.REJECTED and result.event_id:
            self._new.append(result.event_id)

    def add_contradiction(self, sent: Result, amount: str | None) -> None:
        """
        Write that a recorded refund has another row with another amount.

        :param sent: the result of the row that was sent
        """
        if sent.outcome.on_record and sent.event_id:
            self._writer.note_changed(LedgerRecord(sent.event_id, sent.outcome), amount)
            self._new.append(sent.event_id)

    def take_new(self) -> list[str]:
        """Return the event_ids of the problems that this run is the first to report, each once."""
        new, self._new = self._new, []
        return new
