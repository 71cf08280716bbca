"""``sql`` may name a file; a parameter is a value, whatever it looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.sensors.waiting import FOR_EVER, refund
from tests.support import event_ids

SQL = "SELECT * FROM {{ params.table }} WHERE sale_event_id = :shop -- it's all\n"


@pytest.fixture
def dag(tmp_path: Path) -> DAG:
    (tmp_path / "pending.sql").write_text(SQL)
    start = pendulum.datetime(2025, 1, 1, tz="UTC")
    params = {"table": "refunds", "shop": "acme.sql"}
    return DAG("files", schedule=None, start_date=start, template_searchpath=str(tmp_path), params=params)


@pytest.mark.parametrize(
    "kind",
    [UnrecordedRefundSensor, SqlToFirstPromoterOperator, ReconcileRefundsOperator],
    ids=lambda kind: kind.__name__,
)
@pytest.mark.parametrize(
    ("parameters", "rendered"),
    [
        ({"shop": "acme.sql"}, {"shop": "acme.sql"}),
        (["acme.sql", 5], ["acme.sql", 5]),
        (("pending.sql",), ("pending.sql",)),
        ({"shop": "{{ params.shop }}"}, {"shop": "acme.sql"}),
        ({"shops": ["acme.sql"]}, {"shops": ["acme.sql"]}),
        (None, None),
    ],
    ids=str,
)
def test_parameter_that_ends_in_sql_stays_a_parameter(kind: Any, parameters: Any, rendered: Any, dag: DAG) -> None:
    task = kind(task_id="find", dag=dag, sql="pending.sql", sql_conn_id="warehouse", parameters=parameters)
    dag.resolve_template_files()

    task.render_template_fields({"params": dag.params})

    assert task.sql.strip() == SQL.replace("{{ params.table }}", "refunds").strip()
    assert task.parameters == rendered


def test_mapped_tasks_read_the_file_and_their_parameters(dag: DAG, sqlite: Any, run_dag: Callable[..., Any]) -> None:
    sqlite.fill([refund(1, sale_event_id="acme.sql"), refund(2, sale_event_id="pending.sql")])
    with dag:
        UnrecordedRefundSensor.partial(
            task_id="find", sql="pending.sql", sql_conn_id="warehouse", timeout=FOR_EVER
        ).expand(parameters=[{"shop": "acme.sql"}, {"shop": "pending.sql"}])

    run = run_dag(dag)

    assert [event_ids(run.xcom("find", map_index=index)) for index in (0, 1)] == [["re_00001"], ["re_00002"]]
