"""Refunds on their way to FirstPromoter: a queue, a few threads, and the results as they come back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from airflow_provider_firstpromoter.refunds import Refund, Result, Row
from airflow_provider_firstpromoter.sync.thread_pool import Done, ThreadPool

#: Seconds; how soon a kill is noticed.
TICK = 0.25


@dataclass(frozen=True, slots=True)
class Job:
    """A refund that is to be sent."""

    row: Row
    refund: Refund
    recheck: bool


class Sender:
    """
    Sends refunds side by side. Its methods belong on one thread; only ``send`` is called in others.

    :param send: sends one refund; what it raises comes back in its :class:`Done`
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
        """Have a refund sent when its turn comes."""
        self._queue.append(job)

    def stop(self) -> None:
        """Send no more than what is in flight already."""
        self.stopped = True

    def results(self, drain: bool = False) -> Iterator[Done[Job, Result] | None]:
        """
        Send what is queued.

        :param drain: wait also for what is in flight when the queue is empty
        :returns: what has come back; None at least four times a second, so that the caller can see to other things
        """
        while not self.stopped and (self._queue or (drain and self._in_flight)):
            # One alone until the first response: a wrong key or host must not be tried eight times over.
            most = self._max_in_flight if self._answered else 1
            while self._queue and len(self._in_flight) < most:
                job = self._queue.popleft()
                self._in_flight[job.row.position] = job
                self._threads.submit(job)
            yield self._take()

    def results_in_flight(self, seconds: float) -> Iterator[Done[Job, Result]]:
        """What comes back within so many seconds of what is in flight; nothing more is sent."""
        until = time.monotonic() + seconds
        while self._in_flight and time.monotonic() < until:
            if done := self._take():
                yield done

    def abandon(self) -> list[Job]:
        """Give up on everything that is queued or in flight, and return it."""
        left = [*self._in_flight.values(), *self._queue]
        self._in_flight.clear()
        self._queue.clear()
        return left

    def close(self) -> None:
        """Let the threads end; those at work end after their request, and nothing waits for them."""
        self._threads.dismiss()

    def _take(self) -> Done[Job, Result] | None:
        done = self._threads.take(TICK)
        if done is None or self._in_flight.pop(done.job.row.position, None) is None:
            return None  # nothing yet, or given up on before it came
        self._answered = True
        return done
