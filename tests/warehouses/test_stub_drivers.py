"""The read path of databases that cannot run here: Airflow's own hooks, against stubs of their drivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("redshift_connector", reason="needs an environment of its own: make test-warehouses")

from airflow_provider_firstpromoter.database import CallQuery
from airflow_provider_firstpromoter.exceptions import SourceError
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from tests.support import ledger_outcomes, nonzero_outcomes
from tests.transfers.syncing import sent, sync_task
from tests.warehouses.stub_drivers import DRIVERS, ROWS, Driver, Stub, StubError

PLAIN = "SELECT event_id, amount, currency, uid FROM refunds WHERE event_id LIKE 're%' -- 100% :x ?\n"
IDS = [row[0] for row in ROWS]


@pytest.fixture(autouse=True)
def ledger(firstpromoter: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]) -> Any:
    """The ledger's SQLite."""
    connect(max_attempts=1, ledger_conn_id="ledger")
    return new_database("sqlite", "ledger")


@pytest.fixture(params=list(DRIVERS))
def driver(request: pytest.FixtureRequest) -> Driver:
    return DRIVERS[request.param]


@pytest.fixture
def stub(driver: Driver, set_connection: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Stub:
    """The driver's stub, behind the Airflow connection ``warehouse``."""
    stub = driver.stub()
    set_connection("warehouse", **driver.connection)
    monkeypatch.setattr(driver.target, lambda *args, **kwargs: driver.wrap(stub.connect(*args, **kwargs)))
    return stub


def assert_read_twice_and_sent_once(stub: Stub, sandbox: Sandbox, ledger: Any, sql: str, parameters: Any) -> None:
    summary = sync_task(sql, parameters=parameters).run()
    again = sync_task(sql, parameters=parameters, run_id="manual__2").run()

    assert nonzero_outcomes(summary) == {"recorded": len(IDS)}
    assert again["requests"] == 0
    assert sorted(sent(sandbox)) == IDS
    assert ledger_outcomes(ledger) == dict.fromkeys(IDS, "recorded")
    assert stub.open == 0, "a connection was left open"
    assert {statement.sql for statement in stub.statements} == {sql}, "the author's SQL and nothing else"


def test_rows_are_read_without_parameters(stub: Stub, sandbox: Sandbox, ledger: Any) -> None:
    assert_read_twice_and_sent_once(stub, sandbox, ledger, PLAIN, None)
    assert {statement.parameters for statement in stub.statements} == {None}


@pytest.mark.parametrize("style", ["by_list", "by_mapping"])
def test_rows_are_read_with_parameters_in_the_drivers_style(
    style: str, driver: Driver, stub: Stub, sandbox: Sandbox, ledger: Any
) -> None:
    if getattr(driver, style) is None:
        pytest.skip("the driver takes no parameters of this kind")
    condition, parameters = getattr(driver, style)

    sql = f"SELECT event_id, amount, currency, uid FROM refunds WHERE {condition}"
    assert_read_twice_and_sent_once(stub, sandbox, ledger, sql, parameters)


def test_more_rows_than_one_fetch_are_read(stub: Stub, sandbox: Sandbox) -> None:
    stub.rows = [(f"re_{number:05}", 1, "USD", "cus_1") for number in range(4500)]

    task = sync_task(PLAIN, preview=True)
    task.run()

    assert nonzero_outcomes(task.summary) == {"pending": 4500}
    assert sent(sandbox) == []
    assert stub.open == 0


def test_one_source_opens_a_new_connection_for_each_look(stub: Stub) -> None:
    # Databricks' hook would return the connection that the first look has closed.
    query = CallQuery.from_connection("warehouse", PLAIN)

    for _ in range(3):
        assert len(list(query.rows())) == len(IDS)

    assert stub.open == 0


def test_sensor_finds_refunds_at_each_look(stub: Stub) -> None:
    rows, stub.rows = stub.rows, []
    sensor = UnrecordedRefundSensor(task_id="find", sql=PLAIN, sql_conn_id="warehouse")
    assert not sensor.poke({}).is_done

    stub.rows = rows

    assert len(sensor.poke({}).xcom_value or ()) == len(IDS)
    assert stub.open == 0


def test_error_of_the_driver_is_one_line_without_values(stub: Stub, sandbox: Sandbox) -> None:
    stub.error = StubError("near line 1: syntax error at 'secret@example.com'\nLINE 1: SELECT secret")

    with pytest.raises(SourceError, match="connection 'warehouse' failed: near line 1") as caught:
        sync_task(PLAIN).run()

    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert stub.open == 0
    assert sent(sandbox) == []


def test_ledger_is_refused_before_any_request_with_the_databases_that_can_have_it(
    stub: Stub, sandbox: Sandbox, connect: Callable[..., str]
) -> None:
    connect(ledger_conn_id="warehouse")

    with pytest.raises(Exception, match=r"PostgreSQL.*Snowflake") as caught:
        sync_task(PLAIN).run()

    assert type(caught.value).__module__ == "airflow_provider_firstpromoter.exceptions"
    assert (sent(sandbox), stub.statements) == ([], [])
