"""Sends refunds to FirstPromoter: a queue, a few threads, and the results as they come back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from airflow_provider_firstpromoter.calls import Result
from airflow_provider_firstpromoter.sync.job import Job
from airflow_provider_firstpromoter.sync.thread_pool import BATCH, Done, ThreadPool

#: Seconds; how soon a kill is noticed.
TICK = 0.25
#: Refunds that the threads have beside those in flight, so that none waits for the main thread.
AHEAD = 2 * BATCH


class Sender:
    """
    Sends refunds concurrently. Its methods are called on one thread; only ``send`` is called in others.

    :param send: sends one refund; an exception that it raises comes back in its :class:`Done`
    :param max_in_flight: how many at once
    :param room: returns how many more results can be collected before they are written
    """

    def __init__(self, send: Callable[[Job], Result], max_in_flight: int, room: Callable[[], int]) -> None:
        self._max_in_flight = max_in_flight
        self._room = room
        # After any other result, the run may have to stop.
        self._threads: ThreadPool[Job, Result] = ThreadPool(send, max_in_flight, lambda result: result.outcome.settled)
        self._queue: deque[Job] = deque()
        self._submitted: dict[int, Job] = {}
        self._answered = False
        self.stopped = False

    def enqueue(self, job: Job) -> None:
        """Add a refund to the queue."""
        self._queue.append(job)

    def stop(self) -> None:
        """Send nothing more; what is in flight comes back."""
        self.stopped = True
        self._withdraw()

    def clear_queue(self) -> list[Job]:
        """Empty the queue, and return the refunds that were in it and are not in flight."""
        self._withdraw()
        left = list(self._queue)
        self._queue.clear()
        return left

    def results(self, drain: bool = False) -> Iterator[Done[Job, Result] | None]:
        """
        Send what is queued.

        :param drain: wait also for what is in flight when the queue is empty
        :returns: what has come back; None at least four times a second, so that the caller can notice a kill
        """
        while not self.stopped and (self._queue or (drain and self._submitted)):
            while self._queue and len(self._submitted) < self._most():
                job = self._queue.popleft()
                self._submitted[job.row.position] = job
                self._threads.submit(job)
            yield self._take()

    def results_in_flight(self, seconds: float) -> Iterator[Done[Job, Result]]:
        """Return what comes back within so many seconds; nothing more is sent."""
        self._withdraw()
        until = time.monotonic() + seconds
        while self._submitted and time.monotonic() < until:
            if done := self._take():
                yield done

    def abandon(self) -> list[Job]:
        """Give up on what is in flight, and return it."""
        left = list(self._submitted.values())
        self._submitted.clear()
        return left

    def close(self) -> None:
        """Let the threads end, each after its request; nothing waits for them."""
        self._threads.dismiss()

    def _take(self) -> Done[Job, Result] | None:
        done = self._threads.take(TICK)
        if done is None or self._submitted.pop(done.job.row.position, None) is None:
            return None  # nothing yet, or given up on before it came
        self._answered = True
        return done

    def _most(self) -> int:
        """Return how many refunds the threads may have."""
        if not self._answered:
            return 1  # a wrong key or host must not be tried by eight threads at once
        # A killed process has sent no more than a batch of results and what was in flight without writing it.
        return self._max_in_flight + max(0, min(AHEAD, self._room()))

    def _withdraw(self) -> None:
        """Put the refunds that no thread has begun to send back into the queue."""
        for job in reversed(self._threads.withdraw()):
            del self._submitted[job.row.position]
            self._queue.appendleft(job)
