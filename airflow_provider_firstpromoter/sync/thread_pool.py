"""
A few daemon threads that run jobs.

Not a ``ThreadPoolExecutor``: Python joins its threads when the process ends, and a killed task must not wait for an
API.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

Job = TypeVar("Job")
Value = TypeVar("Value")

#: Finished jobs that wake the thread that takes them: to wake it for each one would cost as much as a tenth of a
#: request. It looks by itself when its timeout is over.
BATCH = 16


class Done(NamedTuple, Generic[Job, Value]):
    """A finished job: its value, or the exception that ended it."""

    job: Job
    value: Value | None
    error: BaseException | None


class ThreadPool(Generic[Job, Value]):
    """
    Runs jobs concurrently in daemon threads.

    :param work: called with each job, in one of the threads
    :param most: the most threads; one is started with each job until this number is reached
    :param is_routine: whether the next job may begin before the caller has seen this value. After any other value, and
        after an exception, the thread waits until the caller takes the next finished job.
    """

    def __init__(
        self, work: Callable[[Job], Value], most: int, is_routine: Callable[[Value], bool] = lambda _: True
    ) -> None:
        self._work = work
        self._most = most
        self._is_routine = is_routine
        # Deques and SimpleQueues only: an exception of a signal handler cannot leave a lock of theirs locked.
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done: deque[tuple[Done[Job, Value], bool]] = deque()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._seen: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread_waits = False
        self._threads: list[threading.Thread] = []

    def submit(self, job: Job) -> None:
        """Give a job to the next free thread, or to a new one while there are fewer than ``most``."""
        if len(self._threads) < self._most:
            thread = threading.Thread(target=self._run, name="firstpromoter", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put(job)

    def withdraw(self) -> list[Job]:
        """Withdraw the jobs that no thread has begun, and return them in their order."""
        jobs = []
        with contextlib.suppress(queue.Empty):
            while (job := self._jobs.get_nowait()) is not None:
                jobs.append(job)
        return jobs

    def take(self, timeout: float) -> Done[Job, Value] | None:
        """
        Return the next finished job; the caller has then seen the one before.

        :param timeout: seconds to wait while fewer than :data:`BATCH` have finished and there are more to come
        :returns: None if none finished in time
        """
        if self._thread_waits:
            self._thread_waits = False
            self._seen.put(None)
        until = time.monotonic() + timeout
        with contextlib.suppress(queue.Empty):
            while not self._done:
                self._wake.get(timeout=max(0.0, until - time.monotonic()))
        if not self._done:
            return None
        done, self._thread_waits = self._done.popleft()
        return done

    def dismiss(self) -> None:
        """Let idle threads end; those at work end after their job, and nothing waits for them."""
        for _ in self._threads:
            self._jobs.put(None)
            self._seen.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            done, waits = self._finish(job)
            self._done.append((done, waits))
            if (waits or len(self._done) >= BATCH or self._jobs.empty()) and self._wake.empty():
                self._wake.put(None)
            if waits:
                self._seen.get()

    def _finish(self, job: Job) -> tuple[Done[Job, Value], bool]:
        """Do a job; also returns whether the thread then waits until the caller has seen it."""
        try:
            value = self._work(job)
            return Done(job, value, None), not self._is_routine(value)
        except BaseException as error:
            return Done(job, None, error), True
