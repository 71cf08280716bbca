"""What a run has done so far: its summary, the log's progress line, and the metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from airflow_provider_firstpromoter.api import Transport
from airflow_provider_firstpromoter.ledger import LedgerRecord
from airflow_provider_firstpromoter.refunds import Refund, Result, Row, Summary
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.metrics import Metrics

PROGRESS_EVERY_SECONDS = 10.0

OnResult = Callable[[Row, Result], None]


class Progress:
    """
    Counts the results of a run as they come, and passes them on.

    :param summary: what they add up to
    :param transport: whose requests and waits are the run's
    :param conn_id: the FirstPromoter connection, a tag of the metrics
    """

    def __init__(self, summary: Summary, transport: Transport, conn_id: str, log: logging.Logger) -> None:
        self.summary = summary
        self._transport = transport
        self._log = log
        self._meter = Metrics(conn_id)
        self._on_result: OnResult | None = None
        self._total: int | None = None
        self._started = self._reported = time.monotonic()
        self._requests_before = transport.requests
        self._waited_before = transport.rate_limiter.waited

    def start(self, on_result: OnResult | None, total: int | None) -> None:
        """
        :param on_result: called with each row and its result
        :param total: how many rows there are; None if that is not known
        """
        self._on_result = on_result
        self._total = total
        self._started = self._reported = time.monotonic()

    def add(
        self,
        row: Row,
        result: Result,
        amount: int | None = None,
        currency: str | None = None,
        sale_event_id: str | None = None,
    ) -> None:
        """Count one result."""
        problems = len(self.summary.problems)
        self.summary.add(result, amount=amount, currency=currency, sale_event_id=sale_event_id)
        self._meter.count(result)
        if len(self.summary.problems) > problems:
            self._log.warning("Refund %r is %s: %s", result.event_id, result.outcome, result.message)
        if self._on_result is not None:
            self._on_result(row, result)

    def add_stored(self, row: Row, record: LedgerRecord) -> None:
        """Count a result that the ledger already has."""
        self.add(row, record.result(), record.sent_amount, record.sent_currency, record.sale_event_id)

    def add_sent(self, row: Row, result: Result, refund: Refund) -> None:
        """Count what came of a refund that was sent, or would be."""
        self.add(row, result, refund.amount, refund.currency, refund.sale_event_id)

    def report_if_due(self) -> None:
        """Log a line, and update the metrics, every ten seconds."""
        if time.monotonic() - self._reported >= PROGRESS_EVERY_SECONDS:
            self._reported = time.monotonic()
            self._count_requests()
            rate = self.summary.sent / (self._reported - self._started)
            self._log.info("%s", log_text.progress(self.summary, self._total, rate))

    def finish(self) -> None:
        """Complete the summary and the metrics."""
        self.summary.seconds = round(time.monotonic() - self._started, 3)
        self._count_requests()
        self._meter.finish(self.summary.seconds, self._transport.rate_limiter.waited - self._waited_before)

    def _count_requests(self) -> None:
        self.summary.requests = self._transport.requests - self._requests_before
        self._meter.tell(self.summary.requests)
