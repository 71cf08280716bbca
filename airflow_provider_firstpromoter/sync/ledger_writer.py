"""The results of a run on their way into the ledger, in batches."""

from __future__ import annotations

import time

from airflow_provider_firstpromoter.ledger import LedgerWrite, RefundLedger, RunKey
from airflow_provider_firstpromoter.refunds import Refund, Result, Row

#: Results are written this often, whichever comes first.
FLUSH_EVERY_RESULTS = 500
FLUSH_EVERY_SECONDS = 30.0


class LedgerWriter:
    """
    Collects results and writes them.

    :param ledger: None writes nothing: a preview, or a run without a ledger
    :param run: which task run the entries are to name
    :param fingerprint_key: for the fingerprints of the rows
    """

    def __init__(self, ledger: RefundLedger | None, run: RunKey, fingerprint_key: bytes) -> None:
        self._ledger = ledger
        self._run = run
        self._fingerprint_key = fingerprint_key
        self._unwritten: list[LedgerWrite] = []
        self._flushed_at = time.monotonic()

    def prepare(self) -> None:
        """
        Make the ledger's table if it is not there.

        :raises LedgerError: if it cannot be made or lacks a column
        """
        if self._ledger is not None:
            self._ledger.ensure()
        self._flushed_at = time.monotonic()

    def add(self, row: Row, result: Result, refund: Refund | None = None) -> None:
        """
        Take in one result; it is written with the next batch.

        :param refund: what was sent; None where validation refused the row
        """
        if self._ledger is not None and row.event_id:
            self._unwritten.append(LedgerWrite(result, row.amount, row.fingerprint(self._fingerprint_key), refund, self._run))

    def flush_if_due(self) -> None:
        """Write what there is, if it is much or has waited long."""
        waited = time.monotonic() - self._flushed_at
        if len(self._unwritten) >= FLUSH_EVERY_RESULTS or waited >= FLUSH_EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        """
        Write what there is.

        :raises LedgerError: if the database refuses; the results are then kept
        """
        self._flushed_at = time.monotonic()
        if self._ledger is not None and self._unwritten:
            self._ledger.write(self._unwritten)
            self._unwritten.clear()
