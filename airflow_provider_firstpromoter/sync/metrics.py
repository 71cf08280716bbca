"""A run's numbers in Airflow's metrics (StatsD, OpenTelemetry)."""

from __future__ import annotations

from collections import Counter

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_firstpromoter.refunds import Result


class Metrics:
    """
    Tells Airflow's Stats what has come since it last did, so that a run of hours is seen while it runs.

    - ``firstpromoter.refunds.<outcome>``: counters, of refunds that this run sent or judged
    - ``firstpromoter.requests``: counter, retries included
    - ``firstpromoter.rate_limit_wait``: timer, milliseconds that requests were held back, all threads together
    - ``firstpromoter.run``: timer, milliseconds

    :param conn_id: the FirstPromoter connection, a tag of each
    """

    def __init__(self, conn_id: str) -> None:
        self._tags = {"conn_id": conn_id}
        self._counts: Counter[str] = Counter()
        self._told: Counter[str] = Counter()

    def count(self, result: Result) -> None:
        """Count one refund, unless the ledger knew it as settled: it was counted then."""
        if result.sent or not result.outcome.settled:
            self._counts[f"refunds.{result.outcome.value}"] += 1

    def tell(self, requests: int) -> None:
        """
        :param requests: made by this run so far
        """
        self._counts["requests"] = requests
        for name, count in (self._counts - self._told).items():
            Stats.incr(f"firstpromoter.{name}", count, tags=self._tags)
        self._told = self._counts.copy()

    def finish(self, seconds: float, waited: float) -> None:
        """
        :param seconds: that the run took
        :param waited: seconds that its requests were held back
        """
        Stats.timing("firstpromoter.run", seconds * 1000, tags=self._tags)
        Stats.timing("firstpromoter.rate_limit_wait", waited * 1000, tags=self._tags)


def report_mismatches(conn_id: str, count: int) -> None:
    """
    Tell Airflow's Stats what a reconciliation found: ``firstpromoter.mismatches``, a gauge.

    :param conn_id: the FirstPromoter connection, its tag
    """
    Stats.gauge("firstpromoter.mismatches", count, tags={"conn_id": conn_id})
