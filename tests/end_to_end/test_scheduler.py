"""Waiting in the triggerer, in an Airflow with a scheduler and a triggerer: the one of ``make ui``."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.metadata import version

import pytest

from tests.end_to_end.ui import Ui

pytestmark = pytest.mark.skipif(
    version("apache-airflow").startswith("2."),
    reason="Its server is Airflow 3's (without a login); the sensor is alike",
)


def test_a_deferred_sensor_leaves_the_only_slot_to_others(ui: Ui) -> None:
    assert ui.post("pools", {"name": "single_slot", "slots": 1})
    waiting = ui.start("waits")
    ui.wait_until(lambda: ui.state("waits", waiting) == "deferred", "The deferral")
    working = ui.start("works")
    ui.wait_until(lambda: ui.state("works", working) == "success", "The other task")
    assert ui.state("waits", waiting) == "deferred"

    refund = {"event_id": "re_waits", "amount": 1999, "uid": "u1"}
    with closing(sqlite3.connect(ui.warehouse)) as database, database:
        columns = {**refund, "status": "for a test", "refunded_at": "2025-11-01"}
        database.execute(f"INSERT INTO refunds ({', '.join(columns)}) VALUES (?, ?, ?, ?, ?)", list(columns.values()))
    ui.wait_until(lambda: ui.state("waits", waiting) == "success", "The sensor")
    passed = ui.get(f"dags/waits/dagRuns/{waiting}/taskInstances/find/xcomEntries/return_value?deserialize=true")
    (row,) = passed["value"]
    assert row.items() >= refund.items()
