"""Fixtures of the tests that run tasks in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.end_to_end.processes import TaskServer
from tests.end_to_end.ui import Ui, running_ui
from tests.http_server import serve

__all__ = ["serve"]


@pytest.fixture(scope="session")
def ui(new_airflow_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """The Airflow of ``make ui``, started once for each process that runs tests."""
    with running_ui(tmp_path_factory.mktemp("make-ui"), new_airflow_db) as ui:
        yield ui


@pytest.fixture(scope="session")
def _task_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskServer]:
    tasks = TaskServer(tmp_path_factory.mktemp("spool"))
    yield tasks
    tasks.close()


@pytest.fixture
def tasks(_task_server: TaskServer) -> Iterator[TaskServer]:
    """Starts tasks in processes of their own, and kills those that are left after the test."""
    yield _task_server
    _task_server.kill_all()


@pytest.fixture
def firstpromoter(sandbox: Sandbox, connect: Callable[..., str]) -> Sandbox:
    """A FirstPromoter that knows ``cus_0`` to ``cus_9``; the ledger is in the warehouse, as the examples want it."""
    connect(ledger_conn_id="warehouse", max_attempts=1)
    sandbox.add_leads({"uid": f"cus_{number}", "promoter": "anna" if number % 2 else "ben"} for number in range(10))
    return sandbox
