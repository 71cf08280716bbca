"""
A few daemon threads that run jobs.

Not a ``ThreadPoolExecutor``: Python joins its threads when the process ends, and a killed task must not wait for an
API.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

Input = TypeVar("Input")
Value = TypeVar("Value")


class Done(NamedTuple, Generic[Input, Value]):
    """A finished job: its value, or the exception that ended it."""

    job: Input
    value: Value | None
    error: BaseException | None


class ThreadPool(Generic[Input, Value]):
    """
    Runs jobs concurrently in daemon threads.

    :param work: called with each job, in one of the threads
    :param most: the most threads; one is started with each job until this number is reached
    """

    def __init__(self, work: Callable[[Input], Value], most: int) -> None:
        self._work = work
        self._most = most
        # SimpleQueues only: an exception of a signal handler cannot leave a lock of theirs locked.
        self._jobs: queue.SimpleQueue[Input | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Done[Input, Value]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, job: Input) -> None:
        """Give a job to the next free thread, or to a new one while there are fewer than ``most``."""
        if len(self._threads) < self._most:
            thread = threading.Thread(target=self._run, name="firstpromoter", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put(job)

    def take(self, timeout: float) -> Done[Input, Value] | None:
        """
        Return the next finished job.

        :returns: None if none finished within so many seconds
        """
        try:
            return self._done.get(timeout=timeout)
        except queue.Empty:
            return None

    def dismiss(self) -> None:
        """Let idle threads end; those at work end after their job, and nothing waits for them."""
        for _ in self._threads:
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._done.put(Done(job, self._work(job), None))
            except BaseException as error:
                self._done.put(Done(job, None, error))
