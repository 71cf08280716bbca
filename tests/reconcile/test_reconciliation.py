"""A whole reconciliation: errors, many pages, memory and privacy."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, ReadError
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.reconcile.world import World, refund


def test_reconciliation_without_a_ledger_raises(world: World, connect: Callable[..., str]) -> None:
    connect()
    with pytest.raises(ConnectionSettingsError, match="No ledger is named"):
        world.reconcile()


def test_unreadable_commissions_change_nothing(world: World, impatient: None) -> None:
    world.track(refund(1))
    world.reconcile()
    before = world.everything()
    world.sandbox.store.execute("DELETE FROM commissions")
    world.sandbox.fault("status", status=503, times=None, path="/company/commissions")

    with pytest.raises(ReadError, match="answered 503 in 3 tries"):
        world.reconcile()

    assert world.everything() == before


def test_many_pages_of_commissions_are_read(world: World) -> None:
    world.sandbox.add_commissions(
        {"event_id": f"x_{n:05}", "uid": f"cus_{n % 1000}", "sale_amount": -(100_000 + n)} for n in range(1730)
    )

    told = world.reconcile(adopt=True)

    assert (told["adopted"], told["requests"], told["commissions"]) == (1730, 18, 1730)
    assert world.reconcile()["matched"] == 1730


def test_memory_does_not_grow_with_the_commissions(
    sandbox: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]
) -> None:
    connect(ledger_conn_id="warehouse")
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(1000))
    world = World(sandbox, new_database("sqlite", "warehouse"))

    def peak(first: int, count: int) -> float:
        sandbox.add_commissions(
            {"event_id": f"x_{n:05}", "uid": f"cus_{n % 1000}", "sale_amount": -(100_000 + n)}
            for n in range(first, first + count)
        )
        tracemalloc.start()
        try:
            assert world.reconcile(adopt=True)["adopted"] == count
            return tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()

    peak(0, 600)  # what is loaded once is no growth
    small, large = peak(600, 600), peak(1200, 3000)

    assert large - small < 2, f"{small:.1f} MiB for 1,200 commissions, {large:.1f} MiB for 4,200"


def test_table_and_result_have_no_email_and_no_uid(world: World) -> None:
    world.sandbox.add_lead(uid="cus_secret", email="secret@example.com")
    world.track(refund(1, uid="cus_secret"))
    world.commission("stripe_1", "cus_secret", 1001)
    told = world.reconcile(adopt=True)

    text = json.dumps(told) + str(world.everything())
    assert "re_0001" in text
    assert "secret" not in text
