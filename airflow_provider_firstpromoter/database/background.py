"""Reads in a thread, so that a task that is killed need not wait for FirstPromoter's response."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from airflow_provider_firstpromoter.exceptions import SyncInterruptedError

T = TypeVar("T")
#: Seconds between two looks at whether the task was killed.
INTERVAL = 0.25
#: The number of items that are read ahead.
AHEAD = 2


def stop_if_cancelled(cancelled: threading.Event) -> None:
    """
    End a task that was killed.

    :raises SyncInterruptedError: if ``cancelled`` is set
    """
    if cancelled.is_set():
        raise SyncInterruptedError("The task was asked to stop")


def in_background(items: Iterable[T], cancelled: threading.Event) -> Iterator[T]:
    """
    Iterate in a thread of its own.

    :param items: does HTTP only; an exception of it is raised here
    :param cancelled: ends the iteration within :data:`INTERVAL`; a response that is still on its way is abandoned
    :raises SyncInterruptedError: as soon as ``cancelled`` is set
    """
    results: queue.Queue[tuple[str, Any]] = queue.Queue(AHEAD)
    closed = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not closed.is_set():
            try:
                results.put((kind, value), timeout=INTERVAL)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
        except BaseException as error:
            put("error", error)
        else:
            put("end", None)

    threading.Thread(target=read, name="firstpromoter-reconcile", daemon=True).start()
    try:
        while True:
            stop_if_cancelled(cancelled)
            try:
                kind, value = results.get(timeout=INTERVAL)
            except queue.Empty:
                continue
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        closed.set()
