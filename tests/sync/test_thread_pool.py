"""A few threads that do the waiting, for whom nobody waits."""

from __future__ import annotations

import threading
import time

import pytest

from airflow_provider_firstpromoter.sync.thread_pool import BATCH, Done, ThreadPool

LONG = 10.0


def test_every_job_returns_its_value_once() -> None:
    workers: ThreadPool[int, int] = ThreadPool(lambda job: job * job, 4)
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

    workers: ThreadPool[str, str] = ThreadPool(work, 1)
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

    workers: ThreadPool[int, int] = ThreadPool(work, most)
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
    workers: ThreadPool[int, bool] = ThreadPool(lambda job: go_on.wait(LONG), 50)
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
    workers: ThreadPool[int, None] = ThreadPool(lambda job: threads.add(threading.current_thread()), 2)
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

    workers: ThreadPool[int, bool] = ThreadPool(work, 1)
    workers.submit(1)
    began = time.monotonic()
    assert workers.take(0.2) is None
    workers.dismiss()
    assert time.monotonic() - began < LONG / 2
    assert all(thread.daemon for thread in working)  # so that the process can end, too
    assert working
    go_on.set()


def test_finished_jobs_are_taken_in_batches() -> None:
    """The caller is woken for a full batch and for the last job, and looks by itself when its timeout is over."""
    go_on = threading.Semaphore(0)
    workers: ThreadPool[int, bool] = ThreadPool(lambda job: go_on.acquire(timeout=LONG), 1)
    for job in range(2 * BATCH):
        workers.submit(job)

    go_on.release(BATCH)
    began = time.monotonic()
    assert workers.take(LONG) == Done(0, True, None)
    assert time.monotonic() - began < LONG / 2, "woken by a full batch"
    assert [done.job for done in (workers.take(0.01) for _ in range(BATCH - 1)) if done] == list(range(1, BATCH))

    go_on.release(1)
    assert workers.take(0.5) == Done(BATCH, True, None), "not a full batch, but the time is over"

    go_on.release(BATCH)
    began = time.monotonic()
    assert [done.job for done in (workers.take(LONG) for _ in range(BATCH - 1)) if done] == list(
        range(BATCH + 1, 2 * BATCH)
    )
    assert time.monotonic() - began < LONG / 2, "woken by the last job, because none is left"
    workers.dismiss()


@pytest.mark.parametrize("bad", ["value", "error"])
def test_thread_waits_until_the_caller_has_seen_what_is_not_routine(bad: str) -> None:
    begun: list[int] = []

    def work(job: int) -> int:
        begun.append(job)
        if bad == "error" and job == 3:
            raise ValueError
        return job

    workers: ThreadPool[int, int] = ThreadPool(work, 1, lambda value: value != 3)
    for job in range(6):
        workers.submit(job)

    assert [done.job for done in (workers.take(LONG) for _ in range(4)) if done] == [0, 1, 2, 3]
    time.sleep(0.05)
    assert begun == [0, 1, 2, 3], "the caller may want to stop here"
    assert workers.withdraw() == [4, 5]
    workers.submit(4)
    assert workers.take(LONG) == Done(4, 4, None)
    workers.dismiss()


def test_waiting_thread_ends_when_it_is_dismissed() -> None:
    threads: list[threading.Thread] = []
    workers: ThreadPool[int, None] = ThreadPool(
        lambda job: threads.append(threading.current_thread()), 1, lambda _: False
    )
    workers.submit(1)
    assert workers.take(LONG)
    workers.dismiss()
    threads[0].join(LONG)
    assert not threads[0].is_alive()


def test_withdraw_returns_only_what_no_thread_has_begun() -> None:
    at_work = threading.Event()
    go_on = threading.Event()

    def work(job: int) -> int:
        at_work.set()
        go_on.wait(LONG)
        return job

    workers: ThreadPool[int, int] = ThreadPool(work, 1)
    for job in range(4):
        workers.submit(job)
    assert at_work.wait(LONG)
    assert workers.withdraw() == [1, 2, 3]
    assert workers.withdraw() == []
    go_on.set()
    assert workers.take(LONG) == Done(0, 0, None)
    assert workers.take(0.05) is None
    workers.dismiss()
