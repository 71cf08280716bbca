"""``incremental_column`` of SqlToFirstPromoterOperator and the sensors: what is read, and which runs are complete."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_firstpromoter.calls import REFUND
from airflow_provider_firstpromoter.exceptions import EventsFailedError, EventsRejectedError, RunRefusedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, RunHistory, RunKey
from airflow_provider_firstpromoter.ledger.views import Tables, views
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.support import ALL_REFUNDS, Task, ledger_outcomes
from tests.transfers.syncing import refund, sent, sync_task

INCREMENTAL: dict[str, Any] = {"incremental_column": "loaded_at", "lookback": timedelta(days=3)}
TEXT = "VARCHAR(40)"


def ago(**time: float) -> str:
    return f"{datetime.now(UTC) - timedelta(**time):%Y-%m-%d %H:%M:%S}"


class Warehouse:
    """Runs of one query, each of another DAG run, with the ledger beside the refunds or elsewhere."""

    def __init__(self, database: Any, ledger: Any, sandbox: Sandbox) -> None:
        self.database = database
        self.ledger = ledger
        self.sandbox = sandbox
        self.runs = 0
        self.seen = 0

    def load(self, number: int, loaded_at: str | None, **values: Any) -> None:
        self.database.fill([refund(number, loaded_at=loaded_at, **values)], loaded_at=TEXT)

    def run(self, sql: str = ALL_REFUNDS, *, run_id: str | None = None, **options: Any) -> tuple[str, list[str]]:
        """Run, and return what the summary says was read, and what was sent."""
        self.runs += 1
        task = sync_task(sql, run_id=run_id or f"run_{self.runs}", **{**INCREMENTAL, **options})
        try:
            task.run()
        finally:
            read = str(task.ti.pushed.get("summary", {}).get("read")).partition(" ")[0]
            new = sent(self.sandbox, self.seen)
            self.seen += len(new)
            self.last = (read, sorted(new))
        return self.last

    def age(self, **time: float) -> None:
        """Let all runs be so much older."""
        text = f"{datetime.now(UTC) - timedelta(**time):%Y-%m-%d %H:%M:%S.000000}"
        self.ledger.run(f"UPDATE firstpromoter_refunds_runs SET started_at = '{text}' WHERE started_at > '{text}'")

    def history(self) -> list[tuple[str | None, bool]]:
        """Of each try, what it has read, and whether it is complete."""
        rows = self.ledger.run("SELECT read, completed FROM firstpromoter_refunds_runs ORDER BY run_id")
        return [(read and read.partition(" ")[0], completed is not None) for read, completed in rows]


@pytest.fixture(params=["sqlite", "postgresql", "elsewhere"])
def warehouse(
    request: pytest.FixtureRequest, new_database: Callable[..., Any], sandbox: Sandbox, connect: Callable[..., str]
) -> Warehouse:
    kind = "sqlite" if request.param == "elsewhere" else request.param
    database = ledger = new_database(kind, "warehouse")
    if request.param == "elsewhere":
        ledger = new_database("sqlite", "ledger")
        connect(max_attempts=1, ledger_conn_id="ledger")
    made = Warehouse(database, ledger, sandbox)
    made.load(0, ago(days=30))
    return made


def test_second_run_reads_what_is_new_and_what_has_no_time(warehouse: Warehouse) -> None:
    assert warehouse.run() == ("all", ["re_00000"])
    for number, loaded_at in enumerate([ago(minutes=1), ago(days=2), None, ago(days=30)], 1):
        warehouse.load(number, loaded_at)

    assert warehouse.run() == ("since", ["re_00001", "re_00002", "re_00003"])
    assert warehouse.run() == ("since", [])
    assert warehouse.history() == [("all", True), ("since", True), ("since", True)]

    warehouse.age(hours=25)
    assert warehouse.run() == ("all", ["re_00004"]), "the late row is sent by the next full scan"


def test_run_that_is_told_to_or_changed_reads_everything(warehouse: Warehouse) -> None:
    warehouse.run()
    assert warehouse.run()[0] == "since"
    assert warehouse.run(lookback=timedelta(days=9), full_scan_every=timedelta(days=9))[0] == "since"
    for options in (
        {"full_scan": True},
        {"full_scan": "True"},
        {"sql": f"{ALL_REFUNDS} WHERE amount > 0"},
        {"identify_by": ("uid",)},
        {"skip_email_notification": True},
        {"recheck_unreferred": timedelta(days=30)},
        {"retry_rejected": True},
        {"full_scan_every": timedelta(0)},
    ):
        assert warehouse.run(**options)[0] == "all", options
    assert warehouse.run(full_scan="false")[0] == "since"


def test_failed_refunds_are_sent_again_and_do_not_hold_the_bound(warehouse: Warehouse, sandbox: Sandbox) -> None:
    sandbox.fault("status", status=500, event_id="re_00000", times=1)
    with pytest.raises(EventsFailedError):
        warehouse.run()
    assert warehouse.history() == [("all", True)]

    assert warehouse.run() == ("since", ["re_00000"])
    assert warehouse.run() == ("since", [])


@pytest.mark.parametrize(
    ("options", "error"),
    [({"limit": 1}, None), ({"max_pending": 1}, RunRefusedError), ({"preview": True}, None)],
    ids=repr,
)
def test_run_that_left_something_is_not_complete(
    options: dict[str, Any], error: type[Exception] | None, warehouse: Warehouse
) -> None:
    for number in (1, 2):
        warehouse.load(number, ago(days=30))
    with suppress(*([error] if error else [])):
        warehouse.run(**options)

    read, rest = warehouse.run()

    assert read == "all"
    assert len(rest) == (2 if "limit" in options else 3)


def test_run_that_the_brakes_stopped_is_not_complete(warehouse: Warehouse, sandbox: Sandbox) -> None:
    for number in range(1, 15):
        warehouse.load(number, ago(days=30))
    sandbox.fault("status", status=500, times=None, path="/track/refund")
    with pytest.raises(AirflowException):
        warehouse.run(max_in_flight=1)
    sandbox.clear_faults()

    assert warehouse.history() == [("all", False)]
    read, rest = warehouse.run()
    assert read == "all"
    assert len(rest) == 15


def test_killed_run_is_not_complete(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RunHistory, "finish", lambda *_: None)  # as SIGKILL: its row stays as it is
        warehouse.run()

    assert warehouse.history() == [("all", False)]
    assert warehouse.run()[0] == "all"


def test_result_that_the_ledger_refuses_keeps_the_run_from_being_complete(warehouse: Warehouse) -> None:
    if warehouse.ledger.kind != "sqlite":
        pytest.skip("the trigger is SQLite's")
    warehouse.run()
    warehouse.ledger.run(
        "CREATE TRIGGER refuse BEFORE INSERT ON firstpromoter_refunds "
        "BEGIN SELECT RAISE(ABORT, 'refused') WHERE NEW.event_id = 're_00001'; END"
    )
    for number in (1, 2):
        warehouse.load(number, ago(minutes=1))
    assert warehouse.run() == ("since", ["re_00001", "re_00002"])
    assert warehouse.history() == [("all", True), ("since", False)]


def test_preview_says_what_it_would_read_and_writes_nothing(warehouse: Warehouse) -> None:
    assert warehouse.run(preview=True)[0] == "all"
    warehouse.run()
    before = warehouse.history()

    assert warehouse.run(preview=True)[0] == "since"
    assert warehouse.history() == before


def test_rows_that_contradict_each_other_are_refused_together_though_one_is_old(warehouse: Warehouse) -> None:
    warehouse.run()
    warehouse.load(7, ago(days=30), uid="cus_1")
    warehouse.load(7, ago(minutes=1), uid="cus_2")

    with pytest.raises(EventsRejectedError, match="uid"):
        warehouse.run()
    assert warehouse.last == ("since", [])
    # Nor does it look like a correction later, when only one of them is new.
    assert warehouse.run() == ("since", [])


def test_cleared_run_is_red_again_for_a_problem_that_its_bound_would_not_show(warehouse: Warehouse) -> None:
    warehouse.load(1, ago(days=30), amount=0)
    for _ in range(2):
        with pytest.raises(EventsRejectedError):
            warehouse.run(run_id="cleared")
        assert warehouse.last[0] == "all"

    assert warehouse.run()[0] == "since"


def test_view_open_keeps_what_a_bounded_run_did_not_look_at(warehouse: Warehouse) -> None:
    def shown() -> set[str]:
        ledger = Ledger.required(FirstPromoterHook().account, call=REFUND)
        tables = Tables(ledger.table, ledger.commissions.table, RunHistory(ledger, RunKey()).table, None)
        (view,) = [one.query for one in views(tables) if one.name == "open"]
        with ledger, ledger.engine.connect() as connection:
            return {row.event_id for row in connection.execute(view)}

    warehouse.load(1, ago(days=30), amount=0)
    warehouse.run(max_rejected=None)
    warehouse.age(hours=1)
    seen = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%d %H:%M:%S.000000}"
    warehouse.ledger.run(f"UPDATE firstpromoter_refunds SET last_seen_at = '{seen}' WHERE outcome = 'rejected'")
    assert warehouse.run()[0] == "since"
    assert shown() == {"re_00001"}

    warehouse.database.run("DELETE FROM refunds WHERE amount = 0")
    assert warehouse.run()[0] == "since"
    assert shown() == {"re_00001"}, "only a run that looks at every row knows that it is gone"
    assert warehouse.run(full_scan=True)[0] == "all"
    assert shown() == set()


def test_sensor_takes_the_bound_of_the_operators_runs(warehouse: Warehouse, caplog: pytest.LogCaptureFixture) -> None:
    def look(**options: Any) -> list[str]:
        sensor = UnrecordedRefundSensor(
            task_id="find", sql=ALL_REFUNDS, sql_conn_id="warehouse", **{**INCREMENTAL, **options}
        )
        found: Any = sensor.poke({})
        return sorted(row["event_id"] for row in found.xcom_value)

    assert look() == ["re_00000"]
    warehouse.run()
    for number, loaded_at in enumerate([ago(days=30), ago(minutes=1)], 1):
        warehouse.load(number, loaded_at)

    assert look() == ["re_00002"]
    assert look(full_scan=True) == ["re_00001", "re_00002"]
    assert look(incremental_column=None) == ["re_00001", "re_00002"]
    assert warehouse.history() == [("all", True)], "a sensor writes nothing"


@pytest.mark.parametrize(
    "parameters",
    [{"lookback": timedelta(days=-1)}, {"full_scan_every": timedelta(days=-1)}],
    ids=repr,
)
def test_parameters_are_checked_when_the_dag_is_parsed(parameters: dict[str, Any]) -> None:
    for operator in (SqlToFirstPromoterOperator, UnrecordedRefundSensor):
        with pytest.raises(ValueError, match=next(iter(parameters))):
            operator(task_id="sync", sql=ALL_REFUNDS, sql_conn_id="warehouse", **parameters)


def test_sales_are_read_incrementally_too(sqlite: Any, sandbox: Sandbox) -> None:
    sqlite.fill([refund(1, loaded_at=ago(days=30)), refund(2, loaded_at=ago(minutes=1))], loaded_at=TEXT)
    reads = []
    for number in range(2):
        task = Task(
            SqlToFirstPromoterOperator(
                task_id="sales", call="sale", sql=ALL_REFUNDS, sql_conn_id="warehouse", **INCREMENTAL
            ),
            run_id=f"run_{number}",
        )
        task.run()
        reads.append(task.summary["read"].partition(" ")[0])

    assert reads == ["all", "since"]


def test_summary_and_log_say_what_was_read(
    sqlite: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    def logged() -> str:
        text = caplog.text + "".join(capsys.readouterr())  # a task's log goes elsewhere in each version of Airflow
        caplog.clear()
        return text

    sqlite.fill([refund(1, loaded_at=ago(days=30))], loaded_at=TEXT)
    caplog.set_level("INFO")
    sync_task(run_id="first", **INCREMENTAL).run()
    assert "read: all" in logged()

    task = sync_task(run_id="second", **INCREMENTAL)
    task.run()

    assert f"read: {task.summary['read']}" in logged()
    since = datetime.fromisoformat(task.summary["read"].removeprefix("since "))
    assert abs(datetime.now(UTC) - timedelta(days=3) - since) < timedelta(minutes=5)
    assert ledger_outcomes(sqlite) == {"re_00001": "recorded"}
