"""UnrecordedTrigger: when it wakes the sensor, and that its events hold no refund."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest

from airflow_provider_firstpromoter.triggers import unrecorded as triggers
from airflow_provider_firstpromoter.triggers.unrecorded import UnrecordedTrigger
from tests.sensors.waiting import FOR_EVER, WHERE, refund, track


def trigger(**parameters: Any) -> UnrecordedTrigger:
    return UnrecordedTrigger(**{**WHERE, "end_time": time.time() + FOR_EVER, "poke_interval": 0.05, **parameters})


async def event_of(trigger: UnrecordedTrigger) -> Any:
    """The payload of its one event."""
    payloads = [event.payload async for event in trigger.run()]
    assert len(payloads) == 1
    return payloads[0]


def test_trigger_event_has_a_status_and_no_refund(warehouse: Any) -> None:
    warehouse.fill([refund(1, email="jane@example.com")])
    waiting = trigger()

    event = asyncio.run(event_of(waiting))

    assert event == {"status": "pending", "end_time": waiting.end_time}
    assert json.loads(json.dumps(event)) == event


def test_trigger_waits_until_a_refund_is_pending(warehouse: Any) -> None:
    warehouse.fill([refund(1)])
    track(refund(1))

    async def story() -> Any:
        waiting = asyncio.create_task(event_of(trigger()))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await asyncio.to_thread(warehouse.fill, [refund(2)])
        return await asyncio.wait_for(waiting, FOR_EVER)

    assert asyncio.run(story())["status"] == "pending"


def test_trigger_sends_a_timeout_event_at_its_end(sqlite: Any) -> None:
    sqlite.fill([])

    assert asyncio.run(event_of(trigger(end_time=time.time() + 0.2))) == {"status": "timeout"}
    assert asyncio.run(event_of(trigger(end_time=0.0))) == {"status": "timeout"}

    sqlite.fill([refund(1)])
    assert asyncio.run(event_of(trigger(end_time=0.0)))["status"] == "pending", "it always looks once"


def test_trigger_error_event_is_one_line_without_values(postgresql: Any) -> None:
    event = asyncio.run(event_of(trigger(sql="SELECT 'jane@example.com'::int AS event_id, 1 AS amount, 'c' AS uid")))

    assert event["status"] == "error"
    assert "invalid input syntax for type integer" in event["message"]
    assert "jane" not in event["message"]
    assert "\n" not in event["message"]


@contextmanager
def lock(database: Any) -> Iterator[Callable[[], None]]:
    """Holds PostgreSQL's advisory lock 1, and gives the function that releases it; at the end it is released anyway."""
    connection = database.engine().raw_connection()
    connection.cursor().execute("SELECT pg_advisory_lock(1)")
    released = threading.Lock()

    def release() -> None:
        if released.acquire(blocking=False):
            connection.cursor().execute("SELECT pg_advisory_unlock(1)")

    timer = threading.Timer(FOR_EVER, release)
    timer.start()
    try:
        yield release
    finally:
        timer.cancel()
        release()
        connection.close()


SLOW = "SELECT r.*, pg_advisory_lock_shared(1)::text AS waits FROM refunds r"


def test_slow_query_blocks_neither_event_loop_nor_other_triggers(postgresql: Any) -> None:
    postgresql.fill([refund(1)])

    async def story() -> tuple[bool, Any, Any]:
        with lock(postgresql) as release:
            slow = [asyncio.create_task(event_of(trigger(sql=SLOW))) for _ in range(3)]
            for _ in range(20):
                await asyncio.sleep(0.02)
            quick = await event_of(trigger())
            still_waiting = not any(one.done() for one in slow)
            release()
            return still_waiting, quick, await asyncio.gather(*slow)

    still_waiting, quick, slow = asyncio.run(story())

    assert still_waiting, "the loop went on, and another trigger came and went, while they waited for the database"
    assert {event["status"] for event in [quick, *slow]} == {"pending"}


def test_trigger_query_ends_at_the_statement_timeout(postgresql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "STATEMENT_TIMEOUT", 0.3)
    postgresql.fill([refund(1)])

    with lock(postgresql):
        event = asyncio.run(event_of(trigger(sql=SLOW)))

    assert event["status"] == "error"
    assert "statement timeout" in event["message"]


@pytest.mark.parametrize(
    "parameters",
    [None, {"least": 5, "names": ["a", "b"]}, [5, ["a", "b"]], [5, ("a", "b")]],
    ids=["none", "named", "lists", "tuples"],
)
def test_trigger_survives_a_restart_of_the_triggerer(parameters: Any, sqlite: Any) -> None:
    """By way of Airflow's metadata database, in which its parameters are kept."""
    from airflow.models.trigger import Trigger

    waiting = trigger(
        parameters=parameters,
        recheck_unreferred=timedelta(days=30),
        ledger_conn_id="warehouse",
        ledger_table="finance",
        poke_interval=7.5,
    )
    kept = Trigger.from_object(waiting)
    module, name = kept.classpath.rsplit(".", 1)
    again = getattr(import_module(module), name)(**kept.kwargs)

    assert again.serialize() == waiting.serialize()


def test_restarted_trigger_keeps_its_end_time(sqlite: Any) -> None:
    sqlite.fill([])
    first = trigger(end_time=time.time() + 0.3)

    async def killed_and_begun_again() -> Any:
        task = asyncio.create_task(event_of(first))
        await asyncio.sleep(0.1)
        task.cancel()
        _, kwargs = first.serialize()
        return await event_of(UnrecordedTrigger(**kwargs))

    assert asyncio.run(killed_and_begun_again()) == {"status": "timeout"}
    assert time.time() >= first.end_time
