"""A few threads that do the waiting, for whom nobody waits."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from airflow_provider_firstpromoter.sync import dispatcher

#: Its jobs are any values here.
ThreadPool: Any = dispatcher.ThreadPool
Done: Any = dispatcher.Done
LONG = 10.0


def test_every_job_returns_its_value_once() -> None:
    workers = ThreadPool(lambda job: job * job, 4)
    for job in range(1, 51):
        workers.submit(job)
    done = [workers.take(LONG) for _ in range(50)]
    assert sorted(one.job for one in done if one) == list(range(1, 51))
    assert all(one == Done(one.job, one.job**2, None) for one in done if one)
    assert workers.take(0.01) is None
    workers.dismiss()


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_error_is_returned_with_its_job_and_the_thread_continues(error: BaseException) -> None:
    def work(job: str) -> str:
        if job == "bad":
            raise error
        return job

    workers = ThreadPool(work, 1)
    workers.submit("bad")
    workers.submit("good")
    assert workers.take(LONG) == Done("bad", None, error)
    assert workers.take(LONG) == Done("good", "good", None)
    workers.dismiss()


def test_jobs_at_once_are_limited() -> None:
    most = 3
    at_work = threading.Semaphore(0)
    go_on = threading.Event()

    def work(job: int) -> int:
        at_work.release()
        go_on.wait(LONG)
        return job

    workers = ThreadPool(work, most)
    for job in range(1, 11):
        workers.submit(job)
    for _ in range(most):
        assert at_work.acquire(timeout=LONG)
    assert not at_work.acquire(timeout=0.2)
    go_on.set()
    assert len([workers.take(LONG) for _ in range(10)]) == 10
    workers.dismiss()


def test_threads_started_do_not_exceed_jobs() -> None:
    before = set(threading.enumerate())
    go_on = threading.Event()
    workers = ThreadPool(lambda job: go_on.wait(LONG), 50)
    assert not set(threading.enumerate()) - before
    workers.submit(1)
    workers.submit(2)
    assert len(set(threading.enumerate()) - before) == 2
    go_on.set()
    assert workers.take(LONG)
    assert workers.take(LONG)
    workers.dismiss()


def test_dismissed_threads_finish_their_jobs_and_end() -> None:
    threads: set[threading.Thread] = set()
    workers = ThreadPool(lambda job: threads.add(threading.current_thread()), 2)
    for job in range(1, 6):
        workers.submit(job)
    workers.dismiss()
    assert all(workers.take(LONG) for _ in range(5))
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def test_dismiss_does_not_wait_for_a_working_thread() -> None:
    go_on = threading.Event()
    working: list[threading.Thread] = []

    def work(job: int) -> bool:
        working.append(threading.current_thread())
        return go_on.wait(LONG)

    workers = ThreadPool(work, 1)
    workers.submit(1)
    began = time.monotonic()
    assert workers.take(0.2) is None
    workers.dismiss()
    assert time.monotonic() - began < LONG / 2
    assert all(thread.daemon for thread in working)  # so that the process can end, too
    assert working
    go_on.set()
