"""Real DAG runs: text that stays text, template fields that are rendered, and outputs of other tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests import support


def refund(number: int, **values: Any) -> dict[str, Any]:
    return support.refund(number, **{"amount": 1000, **values})


# --- text from the warehouse is data ---

TEMPLATE = "{{ conn.firstpromoter_default.password }}"


def injected(event_id: str) -> dict[str, Any]:
    return {"event_id": event_id, "amount": 100, "uid": TEMPLATE, "sale_event_id": "{{ dag.dag_id }}.sql"}


def test_text_in_a_refund_is_never_rendered_as_a_template(
    firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any]
) -> None:
    warehouse = new_database("sqlite", "warehouse")
    warehouse.fill([injected("transfer")])
    warehouse.fill([injected("sensor")], table="waiting")
    firstpromoter.add_lead(uid=TEMPLATE)

    with DAG("injection", schedule=None, start_date=pendulum.datetime(2025, 1, 1, tz="UTC")) as dag:

        @task
        def find(event_ids: list[str]) -> list[dict[str, Any]]:
            return [injected(event_id) for event_id in event_ids]

        TrackRefundOperator(task_id="literal_mapping", refunds=injected("literal mapping"))
        TrackRefundOperator(task_id="literal_list", refunds=[injected("literal list")])
        TrackRefundOperator(task_id="by_list", refunds=find.override(task_id="find_1")(["list"]))
        TrackRefundOperator.partial(task_id="by_expand").expand(
            refunds=find.override(task_id="find_2")(["expand 1", "expand 2"])
        )
        TrackRefundOperator.partial(task_id="by_literal_expand").expand(refunds=[injected("literal expand")])
        rows = find.override(task_id="find_3")(["expand_kwargs 1", "expand_kwargs 2"])
        TrackRefundOperator.partial(task_id="by_expand_kwargs").expand_kwargs(rows.map(lambda row: {"refunds": row}))
        found = UnrecordedRefundSensor(task_id="find_4", sql="SELECT * FROM waiting", sql_conn_id="warehouse")
        TrackRefundOperator(task_id="by_sensor", refunds=found.output)
        SqlToFirstPromoterOperator(task_id="by_transfer", sql="SELECT * FROM refunds", sql_conn_id="warehouse")

    run = run_dag(dag)

    assert set(run.states.values()) == {"success"}
    bodies = {request.body["event_id"]: request.body for request in firstpromoter.refund_requests()}
    assert sorted(bodies) == [
        "expand 1",
        "expand 2",
        "expand_kwargs 1",
        "expand_kwargs 2",
        "list",
        "literal expand",
        "literal list",
        "literal mapping",
        "sensor",
        "transfer",
    ]
    assert {body["uid"] for body in bodies.values()} == {TEMPLATE}
    assert {body["sale_event_id"] for body in bodies.values()} == {"{{ dag.dag_id }}.sql"}


def test_template_fields_are_rendered(
    firstpromoter: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any], run_dag: Callable[..., Any]
) -> None:
    other = new_database("sqlite", "other_ledger")
    connect(conn_id="other_account")
    dag = DAG("rendered", schedule=None, start_date=pendulum.datetime(2025, 1, 1, tz="UTC"), params={"prefix": "other"})
    TrackRefundOperator(
        task_id="track",
        refunds=refund(1),
        firstpromoter_conn_id="{{ params.prefix }}_account",
        ledger_conn_id="{{ params.prefix }}_ledger",
        ledger_table="{{ dag.dag_id }}",
        dag=dag,
    )

    assert run_dag(dag).states == {"track": "success"}

    assert other.run("SELECT event_id, dag_id, task_id, outcome FROM rendered") == [
        ("re_1", "rendered", "track", "recorded")
    ]


# --- what Airflow itself hands over ---


def test_lazy_sequences_and_mapped_tasks_are_accepted(
    firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any]
) -> None:
    new_database("sqlite", "warehouse")
    with DAG("lazy", schedule=None, start_date=pendulum.datetime(2025, 1, 1, tz="UTC")) as dag:

        @task
        def one(number: int) -> dict[str, Any]:
            return refund(number)

        @task
        def rewards(results: Any) -> list[Any]:
            return [result["rewards"]["cash"] for result in results]

        @task
        def outcomes(results: Any) -> list[Any]:
            return [result["outcome"] for result in results]

        ones = one.expand(number=[4, 2, 8])
        track = TrackRefundOperator(task_id="track", refunds=ones, recheck_unreferred=timedelta(days=1))
        mapped = TrackRefundOperator.partial(task_id="mapped").expand(refunds=ones)
        track >> mapped
        rewards(track.output)
        outcomes(mapped.output)

    run = run_dag(dag)

    assert set(run.states.values()) == {"success"}
    assert [result["event_id"] for result in run.xcom("track")] == ["re_4", "re_2", "re_8"]
    assert [run.xcom("mapped", map_index=index)["event_id"] for index in range(3)] == ["re_4", "re_2", "re_8"]
    assert run.xcom("rewards") == [-200, -200, -200]
    assert run.xcom("outcomes") == ["recorded", "recorded", "recorded"]
    for index in range(3):
        again = run.xcom("mapped", map_index=index)
        assert (again["sent"], again["outcome"], again["rewards"]) == (False, "recorded", {})
        assert again["reported_by"]["task_id"] == "track", "whose rewards they are"


def test_template_instead_of_an_output_is_refused_with_a_hint(
    firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any], capsys: Any
) -> None:
    new_database("sqlite", "warehouse")
    dag = DAG("text", schedule=None, start_date=pendulum.datetime(2025, 1, 1, tz="UTC"))
    TrackRefundOperator(task_id="track", refunds="{{ ti.xcom_pull(task_ids='find') }}", retries=3, dag=dag)

    run = run_dag(dag)

    assert run.states == {"track": "failed"}, "a retry would not mend it"
    assert "refunds=find_refunds.output, not a template" in capsys.readouterr().out
    assert firstpromoter.request_counts() == {}


def test_mapped_task_gets_the_results_of_a_task_that_failed_after_a_relay(
    firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any]
) -> None:
    new_database("sqlite", "warehouse")
    with DAG("relayed", schedule=None, start_date=pendulum.datetime(2025, 1, 1, tz="UTC")) as dag:

        @task(trigger_rule="all_done")
        def relay(results: Any) -> Any:
            return results

        @task
        def notify(result: dict[str, Any]) -> str:
            return str(result["outcome"])

        track = TrackRefundOperator(task_id="track", refunds=[refund(1), refund(2, amount=0)])
        notify.expand(result=relay(track.output))

    run = run_dag(dag)

    assert run.states["track"] == "failed"
    assert [run.xcom("notify", map_index=number) for number in range(2)] == ["recorded", "rejected"]
