"""Fixtures of the tests that run tasks in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.processes import TaskServer


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
