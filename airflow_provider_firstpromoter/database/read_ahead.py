"""Reading from a database in the background, so that two databases and this process work at the same time."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")

#: Batches that wait to be taken.
DEPTH = 2


def read_ahead(batches: Generator[T, None, None]) -> Generator[T, None, None]:
    """
    Return what another generator yields, while a thread already gets what comes next.

    The first item is awaited here: whatever a generator opens when it starts, it opens on this thread. Close the
    returned generator to end early; the other one is then closed by the thread, as soon as it has got its next item.
    """
    try:
        first = next(batches)
    except StopIteration:
        return
    items: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(DEPTH)
    stopped = threading.Event()

    def put(item: Any, error: BaseException | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                items.put((item, error), timeout=0.1)
                break

    def read() -> None:
        try:
            for item in batches:
                put(item, None)
                if stopped.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)
        finally:
            batches.close()

    # A daemon: a statement that takes long must not keep the process from ending.
    threading.Thread(target=read, name="firstpromoter-read-ahead", daemon=True).start()
    try:
        yield first
        while True:
            item, error = items.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
