"""Names a Celery worker, so that Airflow notes which of them ran a task though they share a machine."""

from __future__ import annotations

import os


def name() -> str:
    return os.environ.get("WORKER_NAME", "localhost")
