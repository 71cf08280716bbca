"""What a run has done so far: its summary, the progress lines in the log, and the metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from airflow_provider_firstpromoter.api import Client
from airflow_provider_firstpromoter.calls import Result, Row, Summary
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.metrics import Metrics

PROGRESS_EVERY_SECONDS = 10.0

OnResult = Callable[[Row, Result], None]


class Progress:
    """
    Counts the results of a run as they come, and passes them on.

    :param summary: counts them
    :param client: whose requests and waits are the run's
    :param conn_id: the FirstPromoter connection, a tag of the metrics
    """

    def __init__(self, summary: Summary, client: Client, conn_id: str, log: logging.Logger) -> None:
        self.summary = summary
        self._client = client
        self._log = log
        self._metrics = Metrics(conn_id)
        self._on_result: OnResult | None = None
        self._total: int | None = None
        self._started = self._reported = time.monotonic()
        self._sent = 0
        self._requests_before = client.requests
        self._waited_before = client.rate_limiter.waited

    def start(self, on_result: OnResult | None) -> None:
        """
        Begin to measure the time.

        :param on_result: called with each row and its result
        """
        self._on_result = on_result
        self._started = self._reported = time.monotonic()

    def expect(self, total: int) -> None:
        """Set the number of refunds to be sent, for the progress lines."""
        self._total = total

    def add(self, row: Row, result: Result, *, new: bool = True, **sent: Any) -> None:
        """
        Count one result.

        :param new: False for a problem that an earlier run has reported
        :param sent: what was sent, as :meth:`Summary.add` takes it
        """
        problem = self.summary.add(result, new=new, **sent)
        self._metrics.count(result)
        if problem is not None and new:
            name = f"Refund {result.event_id!r}" if result.event_id else "A refund without an event_id"
            self._log.warning("%s is %s: %s", name, result.outcome, result.message)
        self.replace(row, result)

    def replace(self, row: Row, result: Result) -> None:
        """Pass a result on without counting it."""
        if self._on_result is not None:
            self._on_result(row, result)

    def report_if_due(self) -> None:
        """Log a line, and update the metrics, every ten seconds."""
        if time.monotonic() - self._reported >= PROGRESS_EVERY_SECONDS:
            self._reported = time.monotonic()
            self._count_requests()
            # Where none was answered since the last line, the API is down: nobody knows how much time is left.
            is_moving, self._sent = self.summary.sent > self._sent, self.summary.sent
            rate = self.summary.sent / (self._reported - self._started) if is_moving else None
            self._log.info("%s", log_text.progress(self.summary, self._total, rate))

    def finish(self) -> None:
        """Complete the summary and the metrics."""
        self.summary.seconds = round(time.monotonic() - self._started, 3)
        self._count_requests()
        self._metrics.finish(self.summary.seconds, self._client.rate_limiter.waited - self._waited_before)

    def _count_requests(self) -> None:
        self.summary.requests = self._client.requests - self._requests_before
        self._metrics.update(self.summary.requests)
