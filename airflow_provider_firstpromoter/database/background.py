"""Reads in a thread, so that a task that is killed need not wait for a response, and its process works meanwhile."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable
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
        raise SyncInterruptedError(
            "The task was killed; what was known is in the ledger, and the next run does the rest"
        )


def in_background(
    items: Iterable[T], cancelled: threading.Event | None = None, interrupt: Callable[[], object] | None = None
) -> Generator[T, None, None]:
    """
    Iterate in a thread of its own; close the generator to end early.

    :param items: an exception of it is raised here; a generator is closed by the thread
    :param cancelled: ends the iteration within :data:`INTERVAL`; a response that is still on its way is abandoned
    :param interrupt: ends what the thread waits for, if it does not end by itself
    :raises SyncInterruptedError: as soon as ``cancelled`` is set
    """
    results: queue.Queue[tuple[str, Any]] = queue.Queue(AHEAD)
    closed = threading.Event()
    cancelled = cancelled or threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                results.put((kind, value), timeout=INTERVAL)
                return True
        return False

    def read() -> None:
        end: tuple[str, Any] = ("end", None)
        try:
            for item in items:
                if not put("item", item) or closed.is_set():
                    break
        except BaseException as error:
            end = ("error", error)
        finally:
            if isinstance(items, Generator):
                items.close()
        put(*end)

    # A daemon: a statement that takes long must not keep the process from ending.
    thread = threading.Thread(target=read, name="firstpromoter-reader", daemon=True)
    thread.start()
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
        with contextlib.suppress(queue.Empty):
            results.get_nowait()  # what the thread waits to put finds room
        if interrupt is not None:
            thread.join(INTERVAL)
            if thread.is_alive():
                with contextlib.suppress(Exception):
                    interrupt()
                thread.join(4 * INTERVAL)
