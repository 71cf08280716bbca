"""Names a Celery worker, so that Airflow stores which worker ran a task although all run on one machine."""

from __future__ import annotations

import os


def name() -> str:
    """Return the name of this worker, as Airflow's setting ``hostname_callable`` needs it."""
    return os.environ.get("WORKER_NAME", "localhost")
