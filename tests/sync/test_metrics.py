"""Airflow's metrics while a run goes on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Stats

from airflow_provider_firstpromoter.exceptions import AccessRefusedError, EventsFailedError
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sync import log_text
from tests.support import Task, refund


@pytest.fixture(autouse=True)
def firstpromoter(sandbox: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]) -> Sandbox:
    """A FirstPromoter that knows ``cus_0`` to ``cus_9``, with its ledger in the warehouse."""
    new_database("sqlite", "warehouse")
    connect(max_attempts=2, ledger_conn_id="warehouse")
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(10))
    return sandbox


def track(*rows: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    """Returns the summary."""
    task = Task(TrackRefundOperator(task_id="task", refunds=list(rows), **parameters))
    task.run()
    return task.summary


class Metrics:
    """What came to Airflow's Stats, in place of a StatsD server."""

    def __init__(self) -> None:
        self.told: dict[str, list[float]] = defaultdict(list)
        self.tags: list[Any] = []

    def take(self, name: str, value: float = 1, *, tags: dict[str, str] | None = None) -> None:
        if name.startswith("firstpromoter."):
            self.told[name.removeprefix("firstpromoter.")].append(value)
            self.tags.append(tags)

    @property
    def counts(self) -> dict[str, float]:
        return {name: sum(values) for name, values in self.told.items() if name not in ("run", "rate_limit_wait")}


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    metrics = Metrics()
    for name in ("incr", "timing"):
        monkeypatch.setattr(Stats, name, staticmethod(metrics.take), raising=False)
    return metrics


def test_metrics_have_outcomes_requests_and_time(sandbox: Sandbox, metrics: Metrics, impatient: None) -> None:
    sandbox.fault("status", status=503, event_id="re_2")
    sandbox.fault("status", status=503, event_id="re_3", times=None)
    rows = [refund(0), refund(1), refund(2), refund(3), refund(50), refund(4, amount=-1), refund(5, currency="ZZZ")]

    with pytest.raises(EventsFailedError):
        track(*rows, max_rejected=None)

    assert metrics.counts == {
        "refunds.recorded": 3,
        "refunds.failed": 1,
        "refunds.not_referred": 1,
        "refunds.rejected": 2,
        "requests": 8,
    }
    assert len(metrics.told["run"]) == len(metrics.told["rate_limit_wait"]) == 1
    assert 1 < metrics.told["run"][0] < 60_000, "milliseconds"
    assert metrics.told["rate_limit_wait"] == [0]
    assert {tuple(tags) for tags in metrics.tags} == {("conn_id",)}
    assert {tags["conn_id"] for tags in metrics.tags} == {"firstpromoter_default"}


def test_metrics_are_sent_during_the_run_and_add_up(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_text, "PROGRESS_EVERY_SECONDS", 0.01)
    rows = [refund(number % 10, event_id=f"re_{number}") for number in range(600)]

    summary = track(*rows)

    assert metrics.counts == {"refunds.recorded": 600, "requests": 600}
    assert len(metrics.told["requests"]) > 1
    assert summary["requests"] == 600


def test_metrics_do_not_count_settled_refunds_again(metrics: Metrics) -> None:
    track(refund(0), refund(1))
    assert metrics.counts["requests"] == 2

    track(refund(0), refund(1), refund(2))

    assert metrics.counts == {"refunds.recorded": 3, "requests": 3}, "what was counted once is not counted again"
    assert len(metrics.told["run"]) == 2


def test_metrics_of_refused_access_count_one_request(metrics: Metrics, connect: Callable[..., str]) -> None:
    connect(password="another-key", ledger_conn_id="warehouse")

    with pytest.raises(AccessRefusedError):
        track(refund(0), refund(1))

    assert metrics.counts["requests"] == 1
    assert len(metrics.told["run"]) == 1


def test_metrics_have_the_wait_for_the_rate_limit(sandbox: Sandbox, metrics: Metrics) -> None:
    sandbox.fault("status", status=429, retry_after="1", event_id="re_1")

    track(*(refund(number % 10, event_id=f"re_{number}") for number in range(200)), max_in_flight=4)

    ((waited),) = metrics.told["rate_limit_wait"]
    assert 100 < waited < 60_000, "milliseconds, of the threads whose requests a 429 held back"
