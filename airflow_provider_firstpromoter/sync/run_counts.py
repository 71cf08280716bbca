"""Writes the counts of a run into the run history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from airflow_provider_firstpromoter.calls import Result, Row, Summary, Totals
from airflow_provider_firstpromoter.ledger import EarlierTries, LedgerRecord, RunHistory, RunKey
from airflow_provider_firstpromoter.sync.job import Job


class RunCounts:
    """
    Keeps apart what a summary counts and what the run history counts, in which each refund occurs once.

    The summary of a list has all of its refunds. The history leaves out those that were settled before, and those that
    another task run has reversed meanwhile.

    :param history: None writes nothing
    :param summary: the counts and sums of this try
    :param run: the task run whose history it is
    """

    def __init__(self, history: RunHistory | None, summary: Summary, run: RunKey) -> None:
        self.history = history
        #: What earlier tries of the task run did.
        self.earlier = EarlierTries()
        self._summary = summary
        self._run = run
        self._settled_before = Totals()
        self._unwritten: dict[str, tuple[Row, Result, dict[str, Any]]] = {}

    def start(self) -> None:
        """
        Write the row of this try into the run history.

        :raises LedgerError: if the ledger cannot be written
        """
        if self.history is not None:
            self.earlier = self.history.start()

    def add_settled(self, record: LedgerRecord) -> None:
        """Note that the summary has counted a refund that was settled before; its sums belong to who reversed it."""
        result, sent = record.result(), record.sent()
        self._settled_before.count(result, **sent)
        if record.run != self._run:
            self._summary.attribute_elsewhere(result, **sent)
            self._settled_before.attribute_elsewhere(result, **sent)

    def add_sent(self, job: Job, result: Result) -> None:
        """Note a refund that the summary has counted, until it is written into the ledger."""
        if result.outcome.on_record and result.event_id:
            self._unwritten[result.event_id] = (job.row, result, job.sent())
        # An earlier try of the task run may have counted an outcome that no longer holds.
        record = job.record
        if record is not None and record.outcome.settled and record.run == self._run and self.earlier.tries:
            self.earlier.totals.count(record.result(), **record.sent(), times=-1)

    def attribute(self, claimed: Mapping[str, LedgerRecord]) -> Iterator[tuple[Row, LedgerRecord]]:
        """
        Leave the sums of refunds to the task run that has them on record as its own.

        :param claimed: the refunds that were written, by event_id, which another task run has on record
        :returns: their rows and what the ledger has of them
        """
        for event_id in claimed.keys() & self._unwritten.keys():
            row, result, sent = self._unwritten[event_id]
            self._summary.attribute_elsewhere(result, **sent)
            yield row, claimed[event_id]

    def all_written(self) -> None:
        """Note that the ledger has every refund."""
        self._unwritten.clear()

    def write(self, connection: Connection, claimed: Mapping[str, LedgerRecord]) -> None:
        """
        Write the counts so far, in the transaction that writes the results themselves.

        :param claimed: as :meth:`attribute` takes it
        """
        if self.history is None:
            return
        counts = self._without_settled_before()
        for event_id in claimed.keys() & self._unwritten.keys():
            _, result, sent = self._unwritten[event_id]
            counts.attribute_elsewhere(result, **sent)
        self.history.update(connection, counts)

    def finish(self, error: BaseException | None) -> None:
        """
        Write the final counts.

        :param error: the error that ends the task; None if there is none
        :raises LedgerError: if the database refuses
        """
        if self.history is not None:
            self.history.finish(self._without_settled_before(), error)

    def _without_settled_before(self) -> Summary:
        counts = self._summary.model_copy(deep=True)
        counts.subtract(self._settled_before)
        return counts
