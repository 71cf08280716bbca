"""The trigger with which the sensor waits in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

#: Seconds that the warehouse may take for one query, where it has such a limit.
STATEMENT_TIMEOUT = 300.0


class UnrecordedTrigger(BaseTrigger):
    """
    Fires when the query has events that are not settled in the ledger.

    Its event says only that there are some, never which: Airflow keeps events in its metadata database. After a restart
    of the triggerer it waits until the same end. It holds no database connection between two queries.

    :param end_time: when to give up, in seconds since the epoch
    :param poke_interval: seconds between two queries
    :param lookup: what is looked for: the fields of :class:`PendingEvents`, as the sensor gives them
    """

    def __init__(self, *, end_time: float, poke_interval: float = 60.0, **lookup: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.end_time = end_time
        self.poke_interval = poke_interval
        self._lookup = lookup

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the parameters from which the triggerer recreates the trigger."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {**self._lookup, "end_time": self.end_time, "poke_interval": self.poke_interval},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Query until an event is pending, or until the end time."""
        while True:
            try:
                pending = await self._look()
            except Exception as error:
                from airflow_provider_firstpromoter.database import first_line

                yield _event("error", message=first_line(error))
                return
            if pending:
                yield _event("pending", end_time=self.end_time)
                return
            left = self.end_time - time.time()
            if left <= 0:
                yield _event("timeout")
                return
            await asyncio.sleep(min(self.poke_interval, left))

    # Airflow 3.0 to 3.2.1 reads connections safely only in threads that asgiref makes: in one of asyncio.to_thread it
    # mixes up its own responses, and the whole triggerer ends. Thread-sensitive calls would share a single thread.
    @sync_to_async(thread_sensitive=False)
    def _look(self) -> bool:
        from airflow_provider_firstpromoter.pending import PendingEvents

        return PendingEvents(**self._lookup, statement_timeout=STATEMENT_TIMEOUT).exists()


def _event(status: str, **more: Any) -> TriggerEvent:
    return TriggerEvent({"status": status, **more})  # type: ignore[no-untyped-call]
