"""What the tests of the sensor and of its trigger share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from tests import support
from tests.support import Task

ALL = "SELECT * FROM refunds ORDER BY event_id"


WHERE: dict[str, Any] = {"sql": ALL, "sql_conn_id": "warehouse"}


#: Seconds; what a test that hangs costs.
FOR_EVER = 30.0


def refund(number: int, **values: Any) -> dict[str, Any]:
    return support.refund(number, digits=5, **values)


def sensor(**parameters: Any) -> Any:
    return UnrecordedRefundSensor(task_id="find", **{**WHERE, **parameters})


def track(*rows: dict[str, Any]) -> None:
    """Send refunds, so that the ledger records what became of each."""
    Task(TrackRefundOperator(task_id="track", refunds=list(rows), max_rejected=None)).run()


@pytest.fixture(autouse=True)
def firstpromoter(sandbox: Sandbox, connect: Callable[..., str]) -> Sandbox:
    """A FirstPromoter that knows ``cus_0`` to ``cus_9``; its connection says that the ledger is in the warehouse."""
    connect(max_attempts=1, ledger_conn_id="warehouse")
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(10))
    return sandbox


@pytest.fixture
def sqlite(new_database: Callable[..., Any]) -> Any:
    return new_database("sqlite", "warehouse")


@pytest.fixture
def postgresql(new_database: Callable[..., Any]) -> Any:
    return new_database("postgresql", "warehouse")
