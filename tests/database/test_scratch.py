"""The private database on the worker's disk: nothing in it outlasts a kill."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

import pytest

from airflow_provider_firstpromoter.database import ScratchDatabase
from airflow_provider_firstpromoter.exceptions import SyncInterruptedError

#: A statement that would take minutes.
ENDLESS = "SELECT count(*) FROM number AS a, number AS b, number AS c"
SCHEMA = "CREATE TABLE number (n INTEGER)"


class TimeIsUpError(Exception):
    """What Airflow's ``execution_timeout`` raises in a signal's handler."""


def test_statement_is_ended_by_the_exception_of_a_signal_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(_: int, __: FrameType | None) -> None:
        raise TimeIsUpError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with ScratchDatabase(SCHEMA) as database:
            database.insert("INSERT INTO number VALUES (?)", [(n,) for n in range(3000)])
            began = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(TimeIsUpError):
                list(database.read(ENDLESS))
            assert time.monotonic() - began < 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("sql", [ENDLESS, f"CREATE TABLE other AS {ENDLESS}"])
def test_statement_is_ended_within_half_a_second_of_a_kill(sql: str) -> None:
    killed = threading.Event()

    def raise_if_killed() -> None:
        if killed.is_set():
            raise SyncInterruptedError("killed")

    with ScratchDatabase(SCHEMA, raise_if_killed) as database:
        database.insert("INSERT INTO number VALUES (?)", [(n,) for n in range(3000)])
        timer = threading.Timer(0.3, killed.set)
        timer.start()
        began = time.monotonic()
        with pytest.raises(SyncInterruptedError, match=r"^killed$"):
            database.run(sql)
        assert time.monotonic() - began < 0.8
        timer.join()
