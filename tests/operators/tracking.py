"""TrackRefundOperator as a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.support import Task


def track_task(**parameters: Any) -> Task:
    """Return the operator as a task."""
    return Task(TrackRefundOperator(task_id="track", **parameters))


def outcomes(results: Sequence[dict[str, Any]]) -> list[str]:
    return [result["outcome"] for result in results]


def requests_of(sandbox: Sandbox) -> int:
    return len(sandbox.refund_requests())
