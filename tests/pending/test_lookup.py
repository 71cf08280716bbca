"""A look for pending refunds holds no connection when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.pending import PendingEvents
from airflow_provider_firstpromoter.triggers.unrecorded import UnrecordedTrigger
from tests.pending.joining import Side
from tests.support import ALL_REFUNDS, refund_with_id

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture(params=["warehouse", "elsewhere"])
def database(request: pytest.FixtureRequest, new_database: Callable[..., Any], connect: Callable[..., str]) -> Any:
    """A PostgreSQL with one settled refund, which is all that the query has; the ledger is in it, or elsewhere."""
    database = new_database("postgresql", "warehouse")
    ledger = database if request.param == "warehouse" else new_database("postgresql", "elsewhere")
    connect(login="acc", ledger_conn_id=request.param)
    database.fill([refund_with_id("re_1")])
    Side(ledger).settle("re_1", account=FirstPromoterHook().account.key)
    return database


def connections(database: Any) -> int:
    """The number of connections to the warehouse, apart from the test's own."""
    (row,) = database.run(OTHERS)
    return int(row[0])


def wait_until_closed(database: Any, own: int) -> None:
    """A server notes the end of a connection a moment later."""
    until = time.monotonic() + 10
    while connections(database) > own:
        assert time.monotonic() < until, "a connection is still open"
        time.sleep(0.02)


def test_look_leaves_no_connection_open(database: Any) -> None:
    own = connections(database)

    for _ in range(3):
        assert PendingEvents(ALL_REFUNDS, "warehouse").find(limit=1) == []

    wait_until_closed(database, own)


def test_many_deferred_sensors_share_few_connections(database: Any) -> None:
    own = connections(database)
    seen: list[int] = []

    async def watch() -> None:
        triggers = [
            UnrecordedTrigger(sql=ALL_REFUNDS, sql_conn_id="warehouse", poke_interval=0.05, end_time=time.time() + 4)
            for _ in range(5)
        ]

        async def wait(trigger: Any) -> Any:
            return (await anext(trigger.run())).payload["status"]

        tasks = [asyncio.create_task(wait(trigger)) for trigger in triggers]
        while not all(task.done() for task in tasks):
            seen.append(await asyncio.to_thread(connections, database) - own)
            await asyncio.sleep(0.02)
        assert {task.result() for task in tasks} == {"timeout"}

    asyncio.run(watch())

    assert max(seen) <= 10, "two for each look at most: the query's and the ledger's"
    wait_until_closed(database, own)
