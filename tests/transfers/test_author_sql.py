"""The DAG author's SQL goes to the database as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.support import ALL_REFUNDS, nonzero_outcomes
from tests.transfers.syncing import refunds, sent, sync_task

BOTH = ("sqlite", "postgresql")


@pytest.mark.parametrize("again", [False, True], ids=["first-run", "with-a-ledger"])
@pytest.mark.parametrize(
    ("warehouse", "sql", "parameters"),
    [
        pytest.param(kind, sql, parameters, id=f"{kind}-{sql}")
        for kinds, sql, parameters in [
            (BOTH, ALL_REFUNDS + ";", None),
            (BOTH, ALL_REFUNDS + " -- all of them; really", None),
            (BOTH, ALL_REFUNDS + "; -- that is it\n-- %s :name ?\n", None),
            (BOTH, "/* 100% :of ? %(them)s */ " + ALL_REFUNDS, None),
            (BOTH, ALL_REFUNDS + " WHERE event_id LIKE 're%' AND event_id NOT LIKE '%x'", None),
            (BOTH, ALL_REFUNDS + " WHERE '12:30:00' <> ':name' AND '?' <> '%s'", None),
            (BOTH, "WITH r AS (SELECT * FROM refunds) SELECT * FROM r", None),
            (
                BOTH,
                "SELECT 'b' AS event_id, 5 AS amount, 'cus_1' AS uid UNION ALL SELECT 'a', 6, 'cus_2'",
                None,
            ),
            (BOTH, ALL_REFUNDS + " ORDER BY event_id LIMIT 2", None),
            (
                ("postgresql",),
                "SELECT event_id::varchar, amount::numeric, uid::text FROM refunds WHERE '5'::int = 5",
                None,
            ),
            (("postgresql",), """SELECT *, '{"a": [1]}'::jsonb #>> '{a,0}' AS one FROM refunds""", None),
            (
                ("postgresql",),
                ALL_REFUNDS + " WHERE event_id = %(name)s OR event_id LIKE '%%_00001'",
                {"name": "re_00000"},
            ),
            (("postgresql",), ALL_REFUNDS + " WHERE event_id = ANY(%s) -- 100%%", [["re_00000", "re_00001"]]),
            (("sqlite",), ALL_REFUNDS + " WHERE event_id = :name OR event_id LIKE '%_00001'", {"name": "re_00000"}),
            (("sqlite",), ALL_REFUNDS + " WHERE event_id IN (?, ?) -- really?", ["re_00000", "re_00001"]),
        ]
        for kind in kinds
    ],
    indirect=["warehouse"],
)
def test_authors_sql_reaches_the_database_unchanged(
    sql: str, parameters: Any, again: bool, warehouse: Any, sandbox: Sandbox
) -> None:
    warehouse.fill(refunds(2))
    if again:
        # With a ledger beside it, the query is joined with it inside the database.
        sync_task("SELECT 'other' AS event_id, 1 AS amount, 'cus_0' AS uid").run()
    before = len(sandbox.refund_requests())

    summary = sync_task(sql, parameters=parameters, run_id="manual__2").run()

    assert nonzero_outcomes(summary) == {"recorded": 2}
    assert len(sandbox.refund_requests()) == before + 2
    assert sync_task(sql, parameters=parameters, run_id="manual__3").run()["requests"] == 0


def test_sql_file_and_parameters_are_templated(
    warehouse: Any, sandbox: Sandbox, tmp_path: Path, run_dag: Callable[..., Any]
) -> None:
    warehouse.fill(refunds(10))
    place = ":first" if warehouse.kind == "sqlite" else "%(first)s"
    (tmp_path / "refunds.sql").write_text(f"SELECT * FROM {{{{ params.table }}}} WHERE event_id >= {place} -- all\n")
    dag = DAG(
        "from_file",
        schedule=None,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        template_searchpath=str(tmp_path),
        params={"table": "refunds", "number": 8},
    )
    SqlToFirstPromoterOperator(
        task_id="sync",
        sql="refunds.sql",
        sql_conn_id="{{ params.table and 'warehouse' }}",
        parameters={"first": "re_{{ '%05d' % params.number }}"},
        dag=dag,
    )

    run = run_dag(dag)

    assert run.states == {"sync": "success"}
    assert sorted(sent(sandbox)) == ["re_00008", "re_00009"]
    assert run.xcom("sync").items() <= run.xcom("sync", "summary").items()
    assert [result["event_id"] for result in run.xcom("sync", "rewards")] == ["re_00008", "re_00009"]
