"""UnrecordedRefundSensor in every mode, on the worker."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)

from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, InputError
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from tests.sensors.waiting import FOR_EVER, refund, sensor, track
from tests.support import TaskInstance, event_ids

# --- one look ---


def test_poke_returns_pending_refunds(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill([refund(1), refund(2, amount=2000), refund(3)])
    track(refund(1), refund(3))
    before = sandbox.request_counts()

    look = sensor().poke({})

    assert (look.is_done, event_ids(look.xcom_value)) == (True, ["re_00002"])
    assert look.xcom_value[0]["amount"] == 2000
    assert json.loads(json.dumps(look.xcom_value)) == look.xcom_value
    assert sandbox.request_counts() == before


def test_poke_without_pending_refunds_waits_and_writes_nothing(warehouse: Any) -> None:
    warehouse.fill([])

    assert not sensor().poke({}).is_done

    catalogue = "pg_tables WHERE table_name" if warehouse.kind == "postgresql" else "sqlite_master WHERE name"
    catalogue = catalogue.replace("table_name", "tablename")
    assert warehouse.run(f"SELECT 1 FROM {catalogue} = 'firstpromoter_refunds'") == []


def test_poke_returns_at_most_limit_refunds(warehouse: Any) -> None:
    warehouse.fill([refund(number) for number in range(5)])

    assert event_ids(sensor(limit=2).poke({}).xcom_value) == ["re_00000", "re_00001"]


@pytest.mark.parametrize(
    "multiplied",
    [
        [refund(1, uid=f"cus_{number}") for number in range(3)],
        [refund(1, email=f"a{number}@example.com") for number in range(7)],
    ],
    ids=["uids", "contents"],
)
def test_limit_keeps_the_rows_of_an_event_together_so_that_a_multiplied_one_is_not_sent(
    multiplied: list[dict[str, Any]], sqlite: Any, sandbox: Sandbox
) -> None:
    first, *others = multiplied
    sqlite.fill([first, refund(2), *others, refund(3)])

    found = sensor(sql="SELECT * FROM refunds ORDER BY rowid", limit=2).poke({}).xcom_value

    assert event_ids(found) == ["re_00001"] * min(len(multiplied), 6) + ["re_00002"]
    track(*found)
    assert [recorded.event_id for recorded in sandbox.recorded()] == ["re_00002"]


def test_poke_passes_on_the_rejected_row_beside_a_new_one_of_its_event(sqlite: Any, sandbox: Sandbox) -> None:
    """The new row names another uid: without the rejected one, the task downstream would send it."""
    sandbox.fault("status", status=422, event_id="re_00001", message="no", times=1)
    sqlite.fill([refund(1, uid="cus_1")])
    track(refund(1, uid="cus_1"))
    sqlite.fill([refund(1, uid="cus_2")])

    found = sensor().poke({}).xcom_value

    assert sorted(row["uid"] for row in found) == ["cus_1", "cus_2"]
    track(*found)
    assert sandbox.recorded() == []


@pytest.mark.parametrize("ledger", ["warehouse", "elsewhere"])
def test_poke_skips_unchanged_rejected_rows(
    ledger: str, warehouse: Any, connect: Callable[..., str], new_database: Callable[..., Any]
) -> None:
    if ledger == "elsewhere":
        new_database("sqlite", "elsewhere")
    connect(max_attempts=1, ledger_conn_id=ledger)
    rejected = [refund(number, amount=-1) for number in range(1200)]
    warehouse.fill(rejected)
    track(*rejected)
    assert not sensor(limit=2).poke({}).is_done

    warehouse.fill([refund(5000), refund(5001)])
    warehouse.run("UPDATE refunds SET amount = -2 WHERE event_id = 're_00700'")

    new = {"re_05000", "re_05001"}
    assert set(event_ids(sensor(limit=2).poke({}).xcom_value)) == new, "they come first"
    *first, last = event_ids(sensor(limit=3).poke({}).xcom_value)
    assert (set(first), last) == (new, "re_00700"), "then the one that has changed"


def test_poke_is_not_done_for_rows_that_only_need_attention(sqlite: Any) -> None:
    sqlite.fill([refund(1)])
    track(refund(1))
    sqlite.run("UPDATE refunds SET amount = 5")
    sqlite.fill([refund(2, event_id=None)])
    assert not sensor().poke({}).is_done

    sqlite.fill([refund(3)])

    found = event_ids(sensor().poke({}).xcom_value)
    assert (found[0], set(found[1:])) == ("re_00003", {None, "re_00001"})


def test_missing_column_ledger_and_invalid_limit_are_reported(sqlite: Any, connect: Callable[..., str]) -> None:
    sqlite.fill([])
    with pytest.raises(InputError, match="lacks the column amount"):
        sensor(sql="SELECT event_id, uid FROM refunds").poke({})
    connect()
    with pytest.raises(ConnectionSettingsError, match="ledger_conn_id"):
        sensor().poke({})
    with pytest.raises(ValueError, match="limit must be at least 1"):
        sensor(limit=0)


# --- poke and reschedule ---


def test_poke_mode_waits_until_a_refund_is_pending(sqlite: Any) -> None:
    sqlite.fill([])
    task = sensor(poke_interval=0.05, timeout=FOR_EVER)
    looked = threading.Event()
    poke = task.poke

    def poke_and_tell(context: Any) -> Any:
        look = poke(context)
        looked.set()
        return look

    task.poke = poke_and_tell
    late = threading.Thread(target=lambda: looked.wait(FOR_EVER) and sqlite.fill([refund(1)]))
    late.start()

    found = task.execute({"ti": TaskInstance("find")})

    late.join()
    assert event_ids(found) == ["re_00001"]


@pytest.mark.parametrize(("soft_fail", "error"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
def test_poke_mode_times_out(soft_fail: bool, error: type[Exception], sqlite: Any) -> None:
    sqlite.fill([])

    with pytest.raises(error):
        sensor(poke_interval=0.05, timeout=0.1, soft_fail=soft_fail).execute({"ti": TaskInstance("find")})


def test_reschedule_mode_frees_its_slot_between_pokes(sqlite: Any, airflow_db: None) -> None:
    from airflow.exceptions import AirflowRescheduleException

    sqlite.fill([])
    task = sensor(mode="reschedule", poke_interval=60)

    with pytest.raises(AirflowRescheduleException) as later:
        task.execute({"ti": TaskInstance("find")})
    assert later.value.reschedule_date > pendulum.now("UTC").add(seconds=30)
    sqlite.fill([refund(1)])

    assert event_ids(task.execute({"ti": TaskInstance("find")})) == ["re_00001"]


# --- deferrable: the sensor's side ---


def deferred(task: Any, event: Any = None) -> TaskDeferred:
    """What the sensor asks of the triggerer."""
    with pytest.raises(TaskDeferred) as raised:
        task.execute({}) if event is None else task.execute_complete({}, event)
    assert raised.value.method_name == "execute_complete"
    return raised.value


def test_deferrable_sensor_returns_pending_refunds_without_deferring(sqlite: Any) -> None:
    sqlite.fill([refund(1)])

    assert event_ids(sensor(deferrable=True).execute({})) == ["re_00001"]


def test_trigger_has_the_parameters_of_the_sensor_and_no_refund(sqlite: Any) -> None:
    sqlite.fill([refund(1, loaded_at="2026-01-01")], loaded_at="VARCHAR(40)")
    track(refund(1))
    month = timedelta(days=30)
    given = {
        "sql": "SELECT * FROM refunds WHERE amount > :least",
        "parameters": {"least": 5},
        "ledger_conn_id": "warehouse",
        "ledger_table": "firstpromoter_refunds",
        "recheck_unreferred": month,
        "retry_rejected": True,
        "incremental_column": "loaded_at",
        "lookback": month,
        "full_scan_every": month,
        "full_scan": "True",
    }
    before = time.time()

    trigger = deferred(sensor(deferrable=True, timeout=500, poke_interval=7, limit=3, **given)).trigger

    path, kwargs = trigger.serialize()
    assert path == "airflow_provider_firstpromoter.triggers.unrecorded.UnrecordedTrigger"
    assert before + 500 <= kwargs.pop("end_time") <= time.time() + 500
    assert kwargs == {
        **given,
        "call": "refund",
        "sql_conn_id": "warehouse",
        "firstpromoter_conn_id": "firstpromoter_default",
        "poke_interval": 7,
    }


def test_execute_complete_reads_the_rows_itself(sqlite: Any) -> None:
    sqlite.fill([refund(1), refund(2)])

    assert event_ids(sensor().execute_complete({}, {"status": "pending", "end_time": 0.5})) == ["re_00001", "re_00002"]


def test_execute_complete_without_pending_refunds_defers_until_the_same_end(sqlite: Any) -> None:
    sqlite.fill([refund(1)])
    track(refund(1))
    end = time.time() + 500

    trigger = deferred(sensor(timeout=9999), {"status": "pending", "end_time": end}).trigger

    assert trigger.serialize()[1]["end_time"] == end


@pytest.mark.parametrize("event", [{"status": "timeout"}, {"status": "pending", "end_time": 0.5}], ids=str)
@pytest.mark.parametrize(("soft_fail", "error"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
def test_deferred_sensor_that_times_out_fails_or_skips(
    event: dict[str, Any], soft_fail: bool, error: type[Exception], sqlite: Any
) -> None:
    sqlite.fill([])

    with pytest.raises(error, match="No refund was pending for 500 seconds"):
        sensor(timeout=500, soft_fail=soft_fail).execute_complete({}, event)


def test_trigger_error_fails_the_task_with_its_message() -> None:
    with pytest.raises(AirflowException, match="The trigger failed: no such table") as failed:
        sensor().execute_complete({}, {"status": "error", "message": "no such table"})
    assert not isinstance(failed.value, AirflowSensorTimeout)


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        [],
        "pending",
        {"status": "pending"},
        {"status": "pending", "end_time": "jane@example.com"},
        {"status": "pending", "end_time": None},
        {"status": "success", "rows": ["jane@example.com"]},
        {"status": "error"},
        {"end_time": 0.5},
    ],
    ids=repr,
)
def test_unexpected_trigger_event_is_refused_and_not_repeated(event: Any) -> None:
    with pytest.raises(AirflowException, match="The trigger sent something unexpected") as refused:
        sensor().execute_complete({}, event)
    assert "jane" not in str(refused.value)


def test_deferrable_defaults_to_airflows_configuration(tmp_path: Path) -> None:
    assert not sensor().deferrable, "as Airflow's own default is"
    environment = {
        "PATH": "/usr/bin:/bin",
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True",
    }
    program = (
        "from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor as S\n"
        "make = lambda **more: S(task_id='find', sql='SELECT 1', sql_conn_id='warehouse', **more).deferrable\n"
        "print('deferrable', make(), make(deferrable=True), make(deferrable=False))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert "deferrable True True False" in done.stdout, done.stderr


# --- soft_fail: only the time-out skips ---

BROKEN = {"sql": "SELECT * FROM no_such_table"}
LACKS_A_COLUMN = {"sql": "SELECT event_id, uid FROM refunds"}
NO_LEDGER = {"ledger_conn_id": "no_such_connection"}


@pytest.mark.parametrize("mistake", [BROKEN, LACKS_A_COLUMN, NO_LEDGER], ids=str)
@pytest.mark.parametrize("mode", [{"mode": "poke"}, {"deferrable": True}], ids=str)
def test_soft_fail_of_a_mistake_fails_at_once(mode: dict[str, Any], mistake: dict[str, str], sqlite: Any) -> None:
    sqlite.fill([])
    failing = sensor(soft_fail=True, timeout=FOR_EVER, **mode, **mistake)

    with pytest.raises(AirflowException) as failed:
        failing.execute({"ti": TaskInstance("find")})

    assert not isinstance(failed.value, AirflowSkipException)


def test_soft_fail_of_an_execution_timeout_fails(sqlite: Any) -> None:
    """It is the limit of a look that hangs, and no end of the wait."""
    task = sensor(soft_fail=True)

    def hang(context: Any) -> Any:
        raise AirflowTaskTimeout("a look hangs")

    task.poke = hang
    with pytest.raises(AirflowTaskTimeout, match="a look hangs"):
        task.execute({"ti": TaskInstance("find")})


def resume(task: Any, event: Any, method: str = "execute_complete") -> Any:
    """Go on after a deferral, as Airflow does on the worker."""
    return task.resume_execution(method, event if method == "__fail__" else {"event": event}, {})


@pytest.mark.parametrize(
    ("event", "mistake"),
    [
        ({"status": "error", "message": "no such table"}, {}),
        ({"status": "something else"}, {}),
        (None, {}),
        *(({"status": "pending", "end_time": 1e12}, mistake) for mistake in (BROKEN, LACKS_A_COLUMN, NO_LEDGER)),
    ],
    ids=str,
)
def test_soft_fail_of_an_error_after_a_deferral_fails(event: Any, mistake: dict[str, str], sqlite: Any) -> None:
    sqlite.fill([])

    with pytest.raises(AirflowException) as failed:
        resume(sensor(soft_fail=True, **mistake), event)

    assert not isinstance(failed.value, AirflowSkipException)


@pytest.mark.parametrize("error", ["Trigger failure", "Trigger timeout"])
def test_soft_fail_of_a_trigger_that_died_fails(error: str) -> None:
    """Airflow ends a trigger that raises, and one whose task has an execution_timeout."""
    with pytest.raises(AirflowException) as failed:
        resume(sensor(soft_fail=True), {"error": error, "traceback": ["Killed"]}, "__fail__")

    assert not isinstance(failed.value, AirflowSkipException)


@pytest.mark.parametrize("event", [{"status": "timeout"}, {"status": "pending", "end_time": 0.5}], ids=str)
def test_soft_fail_of_a_time_out_after_a_deferral_skips(event: dict[str, Any], sqlite: Any) -> None:
    sqlite.fill([])

    with pytest.raises(AirflowSkipException):
        resume(sensor(soft_fail=True, timeout=500), event)


# --- in a DAG ---


class Sensor(UnrecordedRefundSensor):
    """While it is on its way to the triggerer, a refund comes in."""

    warehouse: Any = None

    def defer(self, **kwargs: Any) -> Any:
        type(self).warehouse.fill([refund(7)])
        return super().defer(**kwargs)


@pytest.mark.parametrize("deferrable", [True, False])
def test_found_refunds_are_tracked_by_the_next_task(
    deferrable: bool, sqlite: Any, sandbox: Sandbox, tmp_path: Path, run_dag: Callable[..., Any]
) -> None:
    sqlite.fill([refund(1)])
    track(refund(1))
    if not deferrable:
        sqlite.fill([refund(7)])
    Sensor.warehouse = sqlite
    (tmp_path / "pending.sql").write_text("SELECT * FROM {{ params.table }} WHERE amount > :least -- it's all\n")
    with DAG(
        f"find_{deferrable}".lower(),
        schedule=None,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        template_searchpath=str(tmp_path),
        params={"table": "refunds"},
    ) as dag:
        find = Sensor(
            task_id="find",
            sql="pending.sql",
            sql_conn_id="{{ params.table and 'warehouse' }}",
            parameters={"least": 5},
            deferrable=deferrable,
            poke_interval=0.1,
            timeout=FOR_EVER,
        )
        TrackRefundOperator(task_id="track", refunds=find.output)

    run = run_dag(dag)

    assert run.states == {"find": "success", "track": "success"}
    assert event_ids(run.xcom("find")) == ["re_00007"]
    assert [recorded.event_id for recorded in sandbox.recorded()] == ["re_00001", "re_00007"]
    assert [result["outcome"] for result in run.xcom("track")] == ["recorded"]
