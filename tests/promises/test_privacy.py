"""Secrets and people: looked for in everything that a run leaves behind, logs at DEBUG and tracebacks included."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from sqlalchemy import inspect

from airflow_provider_firstpromoter.api import Client
from airflow_provider_firstpromoter.exceptions import EventsRejectedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import SECRET, Sandbox
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from airflow_provider_firstpromoter.triggers.unrecorded import UnrecordedTrigger
from tests.support import REFUNDS_WITH_REWARDS, Task, TaskInstance

UID = "uid-of-jane-7731"
EMAIL = "jane.doe-7731@customers.example"
LOUD = ("sqlalchemy", "sqlalchemy.engine", "sqlalchemy.pool", "urllib3", "requests", "airflow", "airflow.task")
#: A message as a server might write it that means well.
ECHO = f"Error. Nothing is known of {UID} <{EMAIL}>, 'uid': '{UID}'."


class Traces:
    """What runs leave behind, as one text."""

    def __init__(self, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
        self._caplog = caplog
        self._capsys = capsys
        self._kept: list[str] = []

    def run(self, operator: Any) -> dict[str, Any]:
        """
        Run it as a task does.

        :returns: what it pushed to XCom
        """
        task = Task(operator)
        try:
            task.run()
        except Exception as error:
            self.keep("".join(traceback.format_exception(error)), repr(error))
        if not isinstance(operator, UnrecordedRefundSensor):  # it hands the refunds themselves on
            self.keep(json.dumps(task.ti.pushed))
        return task.ti.pushed

    def keep(self, *texts: Any) -> None:
        self._kept.extend(map(str, texts))

    def text(self) -> str:
        printed = self._capsys.readouterr()
        self._kept += [printed.out, printed.err, self._caplog.text]
        return "\n".join(self._kept)


@pytest.fixture
def traces(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Traces:
    caplog.set_level(logging.DEBUG)
    for name in LOUD:
        caplog.set_level(logging.DEBUG, name)
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
    return Traces(caplog, capsys)


def rows(count: int = 3) -> list[dict[str, Any]]:
    return [{"event_id": f"re_{n}", "amount": 1000 + n, "uid": UID, "email": EMAIL} for n in range(count)]


def everyone() -> list[Any]:
    """An operator of each kind, on the same refunds."""
    sql = "SELECT * FROM refunds ORDER BY event_id"
    return [
        UnrecordedRefundSensor(task_id="find", sql=sql, sql_conn_id="warehouse", timeout=0.2, poke_interval=0.1),
        TrackRefundOperator(task_id="track", refunds=rows(), ledger_table="of_track"),
        SqlToFirstPromoterOperator(task_id="sync", sql=sql, sql_conn_id="warehouse", recover_rewards=True),
        ReconcileRefundsOperator(task_id="reconcile", ledger_table="of_track"),
    ]


def written(database: Any) -> str:
    """All that the database holds but for the refunds."""
    tables = set(inspect(database.engine()).get_table_names()) - {"refunds"}
    return "\n".join(str(row) for table in sorted(tables) for row in database.run(f"SELECT * FROM {table}"))


def assert_nothing_leaked(text: str, key: str) -> None:
    for what, private in {
        "API key": key,
        "credential or tax form": SECRET,
        "uid": UID,
        "e-mail": EMAIL,
    }.items():
        assert private not in text, f"{what}: …{text[max(text.index(private) - 300, 0) :][:400]}…"


ANSWERS: dict[str, list[dict[str, Any]]] = {
    "recorded": [],
    "already recorded": [{"kind": "status", "status": 500, "recorded": True, "message": ECHO}],
    **{
        f"{status}": [{"kind": "status", "status": status, "message": ECHO}]
        for status in (400, 401, 403, 404, 409, 422, 500)
    },
    "429": [{"kind": "status", "status": 429, "message": ECHO, "times": 3}],
    **{
        kind: [{"kind": kind}] for kind in ("reset_before", "reset_after", "truncated", "malformed", "html", "bare_404")
    },
    "slow": [{"kind": "latency", "seconds": 1.5}],
}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [*((answer, "sqlite") for answer in ANSWERS), ("recorded", "postgresql"), ("400", "postgresql")],
)
def test_runs_leave_no_secret_and_no_personal_data(
    answer: str,
    kind: str,
    new_database: Callable[..., Any],
    sandbox: Sandbox,
    connect: Callable[..., str],
    traces: Traces,
    impatient: None,
) -> None:
    connect(ledger_conn_id="warehouse", max_attempts=2, timeout=0.5)
    sandbox.add_lead(uid=UID, email=EMAIL, promoter="anna")
    sandbox.add_commission(uid=UID, sale_amount=-700, event_id="re_of_somebody_else")
    warehouse = new_database(kind, "warehouse")
    warehouse.fill(rows())
    for fault in ANSWERS[answer]:
        sandbox.fault(**{"times": None, **fault})

    _, tracked, synced, reconciled = (traces.run(operator) for operator in everyone())

    assert sandbox.refund_requests()
    assert "summary" in tracked
    assert "summary" in synced
    assert "missing_in_ledger" in str(reconciled) or answer != "recorded"
    traces.keep(written(warehouse))
    text = traces.text()
    assert "urllib3.connectionpool" in text
    assert "sqlalchemy.engine.Engine" in text
    assert "INSERT INTO firstpromoter_refunds" in text or answer in ("401", "403")
    assert_nothing_leaked(text, sandbox.api_key)


def test_unexpected_error_of_a_worker_leaves_no_personal_data(
    new_database: Callable[..., Any], connect: Callable[..., str], traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bug would raise it: with the row in its text."""

    def fail(*_: Any, **request: Any) -> Any:
        raise KeyError(f"{request} {UID} {EMAIL}")

    connect(ledger_conn_id="warehouse")
    warehouse = new_database("sqlite", "warehouse")
    warehouse.fill(rows())
    monkeypatch.setattr(Client, "request", fail)

    for operator in everyone()[1:3]:
        pushed = traces.run(operator)
        assert pushed["summary"]["outcomes"]["failed"] == 3

    traces.keep(written(warehouse))
    text = traces.text()
    assert "an unexpected KeyError" in text
    assert_nothing_leaked(text, FirstPromoterHook().account.api_key.get_secret_value())


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        ("postgresql", "SELECT event_id, CAST(uid AS INTEGER) AS amount, email FROM refunds"),
        ("postgresql", "SELECT event_id, amount, CAST(email AS DATE) AS uid FROM refunds"),
        ("duckdb", "SELECT event_id, CAST(uid AS INTEGER) AS amount, email FROM refunds"),
        ("sqlite", "SELECT event_id, amount, CAST(CAST(uid AS BLOB) || X'FF' AS TEXT) AS uid FROM refunds"),
    ],
)
def test_database_error_does_not_repeat_the_unreadable_value(
    kind: str, sql: str, new_database: Callable[..., Any], connect: Callable[..., str], traces: Traces
) -> None:
    connect(ledger_conn_id="ledger")
    new_database("sqlite", "ledger")
    warehouse = new_database(kind, "warehouse")
    warehouse.fill(rows())
    warehouse.dispose()  # DuckDB opens a file in one way at a time
    sensor = UnrecordedRefundSensor(task_id="find", sql=sql, sql_conn_id="warehouse")

    traces.run(sensor)
    traces.run(SqlToFirstPromoterOperator(task_id="sync", sql=sql, sql_conn_id="warehouse"))
    traces.keep(*events_of(UnrecordedTrigger(sql=sql, sql_conn_id="warehouse", end_time=0.0)))

    text = traces.text()
    if kind == "sqlite":  # it hands out the bytes, which cost their row alone
        assert "uid has a control character or half a surrogate pair" in text
    else:
        assert text.count("The query on connection 'warehouse' failed: ") >= 3
    assert_nothing_leaked(text, FirstPromoterHook().account.api_key.get_secret_value())


def events_of(trigger: UnrecordedTrigger) -> list[Any]:
    """What a trigger fires, as Airflow would keep it."""

    async def fired() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    return asyncio.run(fired())


def test_deferred_sensor_stores_no_refund_in_the_metadata_database(
    new_database: Callable[..., Any], sandbox: Sandbox, connect: Callable[..., str], traces: Traces
) -> None:
    """Triggers and their events are kept there: neither may say which refunds are pending."""
    connect(ledger_conn_id="warehouse")
    warehouse = new_database("sqlite", "warehouse")
    warehouse.fill([])
    sql = "SELECT * FROM refunds"
    sensor = UnrecordedRefundSensor(task_id="find", sql=sql, sql_conn_id="warehouse", deferrable=True, timeout=60)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({"ti": TaskInstance()})
    trigger = deferred.value.trigger
    warehouse.fill(rows())

    events = events_of(trigger)

    assert [event["status"] for event in events] == ["pending"]
    assert [row["uid"] for row in sensor.execute_complete({"ti": TaskInstance()}, events[0])] == [UID] * 3
    traces.keep(trigger.serialize(), trigger.__dict__, *events, deferred.value)
    assert_nothing_leaked(traces.text(), sandbox.api_key)


# --- text is data ---

REFUND = {"event_id": "re_1", "amount": 5, "uid": UID}

HOSTILE = [
    "'; DROP TABLE firstpromoter_refunds; --",
    '"; DROP TABLE refunds; --',
    "%s %(x)s %% :x ? $1 {0} ${x}",
    "{{ conn.firstpromoter_default.password }}",
    "re&q=other&page=9#x",
    "../../company/promoters?per_page=1",
    "\\' OR 1=1 --",
    "re/1 é 😀 \u202e",
]


def test_hostile_text_is_sent_and_stored_unchanged(
    warehouse: Any, sandbox: Sandbox, connect: Callable[..., str], impatient: None
) -> None:
    """In every statement, URL and body. A recorded refund's commission is found by exactly that text as well."""
    connect(ledger_conn_id="warehouse")
    lost = HOSTILE[::2]
    for text in HOSTILE:
        sandbox.add_lead(uid=text)
    for text in lost:
        sandbox.add_commission(uid=text, sale_amount=-500, event_id=text)
    warehouse.fill([{"event_id": text, "amount": 500, "uid": text, "sale_event_id": text} for text in HOSTILE])
    task = SqlToFirstPromoterOperator(
        task_id="sync", sql="SELECT * FROM refunds", sql_conn_id="warehouse", recover_rewards=True, max_in_flight=1
    )

    summary = task.execute({"ti": TaskInstance()})

    assert (summary["outcomes"]["recorded"], summary["outcomes"]["already_recorded"]) == (4, 4)
    assert summary["rewards_unknown"] == 0
    bodies = [request.body for request in sandbox.refund_requests()]
    sent = [{body["event_id"], body["uid"], body["sale_event_id"]} for body in bodies]
    assert sorted(sent, key=str) == sorted(({text} for text in HOSTILE), key=str)
    kept = warehouse.run(f"SELECT event_id, sale_event_id, reward_amount FROM {REFUNDS_WITH_REWARDS}")
    assert {(event_id, sale) for event_id, sale, reward in kept if reward < 0} == {(text, text) for text in HOSTILE}

    assert task.execute({"ti": TaskInstance()})["requests"] == 0, "the database leaves them out"


@pytest.mark.parametrize("value", ["re_1\r\nX-Evil: 1", "re_1\nX-Evil: 1", "re_1\x00"], ids=repr)
@pytest.mark.parametrize("column", ["event_id", "uid", "email", "sale_event_id", "currency"])
def test_line_end_in_a_row_reaches_no_request(
    column: str, value: str, sandbox: Sandbox, connect: Callable[..., str]
) -> None:
    connect()
    task, ti = TrackRefundOperator(task_id="track", refunds={**REFUND, column: value}), TaskInstance()

    with pytest.raises(EventsRejectedError):
        task.execute({"ti": ti})

    assert ti.pushed["return_value"]["outcome"] == "rejected"
    assert sandbox.request_counts() == {}


@pytest.mark.parametrize(
    "name",
    ['weird "name; drop', "x; DROP TABLE refunds; --", "x'y", "100%s", ":x ?", "x) UNION SELECT 1 --", "{{ ds }}"],
)
def test_table_name_is_always_quoted(name: str, warehouse: Any, sandbox: Sandbox, connect: Callable[..., str]) -> None:
    """Made, written, joined against and read back by that very name."""
    connect(ledger_conn_id="warehouse", ledger_table=name)
    sandbox.add_lead(uid=UID)
    warehouse.fill(rows())
    sql = "SELECT * FROM refunds"
    task = SqlToFirstPromoterOperator(task_id="sync", sql=sql, sql_conn_id="warehouse")

    summaries = [task.execute({"ti": TaskInstance()}) for _ in range(2)]

    assert [summary["requests"] for summary in summaries] == [3, 0]
    assert [summary["outcomes"]["recorded"] for summary in summaries] == [3, 3]
    ReconcileRefundsOperator(task_id="reconcile").execute({"ti": TaskInstance()})
    beside = {f"{name}_{part}" for part in ("mismatches", "runs", "salt", "commissions")}
    assert {"refunds", name} <= set(inspect(warehouse.engine()).get_table_names()) <= {"refunds", name} | beside
    sensor = UnrecordedRefundSensor(task_id="find", sql=sql, sql_conn_id="warehouse")
    assert not sensor.poke({"ti": TaskInstance()}).is_done


# --- the sandbox ---


def test_sandbox_listens_on_loopback_only(sandbox: Sandbox) -> None:
    port = int(sandbox.base_url.split(":")[2].split("/")[0])
    here = psutil.Process().net_connections(kind="inet")
    assert {one.laddr.ip for one in here if one.laddr.port == port and one.status == psutil.CONN_LISTEN} == {
        "127.0.0.1"
    }
