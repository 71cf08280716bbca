"""Reports a run to Airflow's metrics (StatsD, OpenTelemetry)."""

from __future__ import annotations

from collections import Counter

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_firstpromoter.calls import Result


class Metrics:
    """
    Reports to Airflow's Stats while the run goes on, so that a run of hours can be watched.

    - ``firstpromoter.refunds.<outcome>``: counters, refunds that this run sent or rejected
    - ``firstpromoter.requests``: counter, retries included
    - ``firstpromoter.rate_limit_wait``: timer, milliseconds that all requests waited for the rate limit
    - ``firstpromoter.run``: timer, milliseconds

    :param conn_id: the FirstPromoter connection, a tag of each
    """

    def __init__(self, conn_id: str) -> None:
        self._tags = {"conn_id": conn_id}
        self._counts: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()

    def count(self, result: Result) -> None:
        """Count one refund, unless the ledger had it as settled: then an earlier run has counted it."""
        if result.sent or not result.outcome.settled:
            self._counts[f"refunds.{result.outcome.value}"] += 1

    def update(self, requests: int) -> None:
        """
        Report what was counted since the last call.

        :param requests: made by this run so far
        """
        self._counts["requests"] = requests
        for name, count in (self._counts - self._reported).items():
            Stats.incr(f"firstpromoter.{name}", count, tags=self._tags)
        self._reported = self._counts.copy()

    def finish(self, seconds: float, waited: float) -> None:
        """
        Report the times of the run.

        :param seconds: that the run took
        :param waited: seconds that its requests waited for the rate limit
        """
        Stats.timing("firstpromoter.run", seconds * 1000, tags=self._tags)
        Stats.timing("firstpromoter.rate_limit_wait", waited * 1000, tags=self._tags)


def report_mismatches(conn_id: str, count: int) -> None:
    """
    Report what a reconciliation found: ``firstpromoter.mismatches``, a gauge.

    :param conn_id: the FirstPromoter connection, its tag
    """
    Stats.gauge("firstpromoter.mismatches", count, tags={"conn_id": conn_id})
