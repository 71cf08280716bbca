"""Collects the results of a run and writes them into the ledger, in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sqlalchemy.engine import Connection

from airflow_provider_firstpromoter.calls import Refund, Result, Row, add_digest, fingerprint
from airflow_provider_firstpromoter.ledger import LedgerBatch, LedgerRecord, LedgerWrite, RefundLedger, RunKey

#: Results are written when this number has been collected, or this number of seconds has passed.
FLUSH_EVERY_RESULTS = 500
FLUSH_EVERY_SECONDS = 30.0

#: Called in the transaction that writes results, with the refunds that another task run has on record as its own.
WriteCounts = Callable[[Connection, dict[str, LedgerRecord]], None]


class LedgerWriter:
    """
    Collects changes of the ledger and writes them.

    :param ledger: None writes nothing: a preview, or a run without a ledger
    :param run: the task run that the rows name
    :param write_counts: writes the run's counts, in the transaction that writes the results themselves
    """

    def __init__(self, ledger: RefundLedger | None, run: RunKey, write_counts: WriteCounts) -> None:
        self._ledger = ledger
        self._run = run
        self._write_counts = write_counts
        self._flushed_at = time.monotonic()
        self._batch: LedgerBatch | None = None

    def prepare(self, batch: LedgerBatch) -> None:
        """
        Begin to collect, and make the ledger's table if it does not exist.

        :param batch: an empty one; it says when the run began
        :raises LedgerError: if the table cannot be created or lacks a column
        """
        if self._ledger is not None:
            self._ledger.ensure()
            self._batch = batch
        self._flushed_at = time.monotonic()

    def add(
        self,
        row: Row,
        result: Result,
        refund: Refund | None = None,
        record: LedgerRecord | None = None,
        contents: tuple[Row, ...] = (),
    ) -> None:
        """
        Add one result; it is written with the next batch.

        :param refund: what was sent; None where validation refused the row
        :param record: what the ledger had before
        :param contents: further rows of the event_id whose content was tried as well
        """
        if self._batch is not None and row.event_id:
            self._batch.writes.append(
                LedgerWrite.of(
                    row,
                    result,
                    refund,
                    record,
                    key=self._key,
                    seen_at=self._batch.seen_at,
                    contents=contents,
                )
            )

    @property
    def _key(self) -> bytes:
        return self._ledger.salt.encode() if self._ledger is not None else b""

    def note_seen(self, event_id: str) -> None:
        """Note that a problem that the ledger already has was seen again."""
        if self._batch is not None:
            self._batch.seen.append(event_id)

    def note_changed(self, record: LedgerRecord, amount: str | None) -> None:
        """
        Note that the row of a recorded refund has another amount now.

        :param amount: the row's text; None where it is no usable amount
        """
        if self._batch is not None:
            self._batch.changed.append((record, amount or "", self._batch.seen_at))

    def renew(self, record: LedgerRecord, rows: Sequence[Row]) -> None:
        """
        Store what identifies the contents of a settled refund as unchanged the next time.

        :param rows: at least one, each of another content
        """
        if self._batch is None:
            return
        tokens, digests = record.fingerprint, record.row_digest
        for row in rows:
            tokens = fingerprint(row.values, self._key, tokens)
            digests = add_digest(digests, row.digest)
        if not record.outcome.remembers_content:
            tokens = digests = None
        self._batch.renewed.append((record, rows[0], tokens, digests))

    def flush_if_due(self) -> dict[str, LedgerRecord]:
        """Write what was collected, if the batch is full or the time is over; returns what :meth:`flush` does."""
        if self._batch is None:
            return {}
        waited = time.monotonic() - self._flushed_at
        if len(self._batch) >= FLUSH_EVERY_RESULTS or waited >= FLUSH_EVERY_SECONDS:
            return self.flush()
        return {}

    def flush(self) -> dict[str, LedgerRecord]:
        """
        Write what was collected.

        :returns: the refunds among them that another task run has on record as its own
        :raises LedgerError: if the database refuses; the results are then kept
        """
        self._flushed_at = time.monotonic()
        if self._ledger is None or self._batch is None or not len(self._batch):
            return {}
        claimed = self._ledger.write(self._batch, self._run, also=self._write_counts)
        self._batch = LedgerBatch(self._batch.seen_at)
        return claimed

    @property
    def room(self) -> int:
        """How many more results fit into the batch before it is written."""
        return FLUSH_EVERY_RESULTS - (len(self._batch) if self._batch is not None else 0)

    @property
    def has_unwritten(self) -> bool:
        """Whether something was collected and not written yet."""
        return self._batch is not None and len(self._batch) > 0
