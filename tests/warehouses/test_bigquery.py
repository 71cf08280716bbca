"""BigQuery, by Airflow's own hook and Google's own client: rows; the ledger lives in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("google.cloud.bigquery", reason="needs an environment of its own: make test-warehouses")

from airflow_provider_firstpromoter.exceptions import EventsFailedError, InputError, LedgerError, SourceError
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from tests.support import event_ids, ledger_outcomes, nonzero_outcomes
from tests.transfers.syncing import refund, refunds, sent, sync_task
from tests.warehouses.bigquery_server import PROJECT

ALL = f"SELECT * FROM `{PROJECT}.finance.refunds`"


@pytest.fixture(autouse=True)
def ledger(firstpromoter: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]) -> Any:
    """The ledger's PostgreSQL."""
    connect(max_attempts=1, ledger_conn_id="ledger")
    return new_database("postgresql", "ledger")


def test_second_run_sends_nothing(bigquery: Any, ledger: Any, sandbox: Sandbox) -> None:
    bigquery.fill(refunds(12))
    task = sync_task(ALL)

    assert nonzero_outcomes(task.run()) == {"recorded": 10, "not_referred": 2}

    assert sorted(sent(sandbox)) == [f"re_{number:05}" for number in range(12)]
    assert len(task.ti.pushed["rewards"]) == 10
    assert len(ledger_outcomes(ledger)) == 12
    bigquery.fill(refunds(1, start=12))
    assert sync_task(ALL, run_id="manual__2").run()["requests"] == 1
    assert sync_task(ALL, run_id="manual__3").run()["requests"] == 0


@pytest.mark.parametrize("kind", ["TIMESTAMP", "DATETIME", "DATE", "STRING"])
def test_what_is_new_is_read_by_a_column_of_each_type(kind: str, bigquery: Any, sandbox: Sandbox) -> None:
    def load(number: int, **back: float) -> None:
        moment = datetime.now(UTC) - timedelta(**back)
        values = {"DATE": moment.date(), "DATETIME": moment.replace(tzinfo=None), "STRING": moment.isoformat()}
        bigquery.fill([refund(number, loaded_at=values.get(kind, moment))], loaded_at=kind)

    load(0, days=30)
    load(1, days=30)
    sandbox.fault("status", status=500, event_id="re_00001", times=1)
    with pytest.raises(EventsFailedError):
        sync_task(ALL, run_id="first", incremental_column="loaded_at").run()
    for number, back in ((2, {"minutes": 1}), (3, {"days": 30})):
        load(number, **back)

    second = sync_task(ALL, run_id="second", incremental_column="loaded_at").run()

    assert second["read"].startswith("since ")
    assert sorted(sent(sandbox, after=2)) == ["re_00001", "re_00002"]


def test_query_is_standard_sql_although_the_hook_defaults_to_legacy(bigquery: Any, sandbox: Sandbox) -> None:
    bigquery.fill(refunds(1))

    sync_task(ALL).run()

    assert {query["useLegacySql"] for query in bigquery.queries} == {False}


def test_connection_of_type_google_cloud_platform_is_read_too(
    bigquery: Any, set_connection: Callable[..., str], sandbox: Sandbox
) -> None:
    set_connection("warehouse", **{**bigquery.connection, "conn_type": "google_cloud_platform"})
    bigquery.fill(refunds(1))

    assert sync_task(ALL).run()["requests"] == 1


@pytest.mark.parametrize(
    ("where", "parameters"),
    [
        (" WHERE event_id = %s AND amount >= %s", ["re_00001", 1]),
        (" WHERE event_id = %(id)s AND amount >= %(least)s -- 100%%", {"id": "re_00001", "least": 1}),
        (" WHERE event_id LIKE '%1' AND ':x' <> '?' -- 100%", None),
    ],
    ids=["list", "mapping", "none"],
)
def test_parameters_join_in_the_authors_style(where: str, parameters: Any, bigquery: Any, sandbox: Sandbox) -> None:
    bigquery.fill(refunds(3))

    for run_id in ("manual__1", "manual__2"):
        sync_task(ALL + where, parameters=parameters, run_id=run_id).run()

    assert sent(sandbox) == ["re_00001"]


def test_numeric_is_sent_to_the_cent(bigquery: Any, sandbox: Sandbox) -> None:
    bigquery.fill(
        [
            refund(1, event_id=9007199254740993, amount="19.99", currency="USD"),
            refund(2, event_id=2, amount="45035996273.71", currency="USD"),
        ],
        event_id="INT64",
        amount="NUMERIC(20, 2)",
    )

    sync_task(ALL, amount_unit="major").run()

    assert sorted((one.body["event_id"], int(one.body["amount"])) for one in sandbox.refund_requests()) == [
        ("2", 4503599627371),
        ("9007199254740993", 1999),
    ]
    assert sync_task(ALL, amount_unit="major", run_id="manual__2").run()["requests"] == 0


def test_rows_come_in_pages(bigquery: Any, sandbox: Sandbox) -> None:
    sql = "SELECT CONCAT('re_', CAST(n AS STRING)) AS event_id, n AS amount, 'cus_1' AS uid"

    sync_task(f"{sql} FROM UNNEST(GENERATE_ARRAY(1, 2500)) AS n", preview=True).run()

    assert bigquery.further_pages == 2
    assert sent(sandbox) == []


def test_sensor_finds_what_is_not_settled(bigquery: Any) -> None:
    bigquery.fill(refunds(2))
    sync_task(ALL).run()
    sensor = UnrecordedRefundSensor(task_id="find", sql=ALL, sql_conn_id="warehouse")
    assert not sensor.poke({}).is_done

    bigquery.fill(refunds(1, start=2))

    assert event_ids(sensor.poke({}).xcom_value) == ["re_00002"]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 'secret@example.com' AS email FROM finance.nope", "nope"),
        ("SELECT 'secret@example.com' AS email FROM FROM", "connection 'warehouse'"),
    ],
    ids=["no-table", "no-sql"],
)
def test_error_of_bigquery_is_one_line_without_values(sql: str, message: str, bigquery: Any, sandbox: Sandbox) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        sync_task(sql).run()

    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert sent(sandbox) == []


def test_missing_column_raises_before_any_request(bigquery: Any, sandbox: Sandbox) -> None:
    with pytest.raises(InputError, match="lacks the column"):
        sync_task("SELECT 1 AS amount, 'cus_1' AS uid").run()
    assert sent(sandbox) == []


def test_ledger_in_bigquery_is_refused_before_any_request(
    bigquery: Any, connect: Callable[..., str], sandbox: Sandbox
) -> None:
    connect(ledger_conn_id="warehouse")
    bigquery.fill(refunds(1))

    with pytest.raises((LedgerError, ValueError, Exception), match=r"PostgreSQL.*Snowflake") as caught:
        sync_task(ALL).run()

    assert type(caught.value).__module__ == "airflow_provider_firstpromoter.exceptions"
    assert sent(sandbox) == []
