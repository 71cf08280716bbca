"""Sends refunds to FirstPromoter: a queue, a few threads, and the results as they come back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from airflow_provider_firstpromoter.refunds import Result
from airflow_provider_firstpromoter.sync.job import Job
from airflow_provider_firstpromoter.sync.thread_pool import Done, ThreadPool

#: Seconds; how soon a kill is noticed.
TICK = 0.25


class Sender:
    """
    Sends refunds concurrently. Its methods are called on one thread; only ``send`` is called in others.

    :param send: sends one refund; an exception that it raises comes back in its :class:`Done`
    :param max_in_flight: how many at once
    """

    def __init__(self, send: Callable[[Job], Result], max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._threads: ThreadPool[Job, Result] = ThreadPool(send, max_in_flight)
        self._queue: deque[Job] = deque()
        self._in_flight: dict[int, Job] = {}
        self._answered = False
        self.stopped = False

    def enqueue(self, job: Job) -> None:
        """Add a refund to the queue."""
        self._queue.append(job)

    def stop(self) -> None:
        """Send nothing more; what is in flight comes back."""
        self.stopped = True

    def clear_queue(self) -> list[Job]:
        """Empty the queue, and return the refunds that were in it and are not in flight."""
        left = list(self._queue)
        self._queue.clear()
        return left

    def results(self, drain: bool = False) -> Iterator[Done[Job, Result] | None]:
        """
        Send what is queued.

        :param drain: wait also for what is in flight when the queue is empty
        :returns: what has come back; None at least four times a second, so that the caller can notice a kill
        """
        while not self.stopped and (self._queue or (drain and self._in_flight)):
            # One alone until the first response: a wrong key or host must not be tried by eight threads at once.
            most = self._max_in_flight if self._answered else 1
            while self._queue and len(self._in_flight) < most:
                job = self._queue.popleft()
                self._in_flight[job.row.position] = job
                self._threads.submit(job)
            yield self._take()

    def results_in_flight(self, seconds: float) -> Iterator[Done[Job, Result]]:
        """Return what comes back within so many seconds; nothing more is sent."""
        until = time.monotonic() + seconds
        while self._in_flight and time.monotonic() < until:
            if done := self._take():
                yield done

    def abandon(self) -> list[Job]:
        """Give up on what is in flight, and return it."""
        left = list(self._in_flight.values())
        self._in_flight.clear()
        return left

    def close(self) -> None:
        """Let the threads end, each after its request; nothing waits for them."""
        self._threads.dismiss()

    def _take(self) -> Done[Job, Result] | None:
        done = self._threads.take(TICK)
        if done is None or self._in_flight.pop(done.job.row.position, None) is None:
            return None  # nothing yet, or given up on before it came
        self._answered = True
        return done
