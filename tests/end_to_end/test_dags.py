"""Real DAG runs: the example DAGs as they are, and text from the warehouse that looks like a template."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_firstpromoter.operators.refund import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sensors.refund import UnrecordedRefundSensor
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests import support

EXAMPLES = sorted((Path(__file__).parents[2] / "dags_examples").glob("*.py"))


def dags_of(path: Path) -> dict[str, Any]:
    """The DAGs of a file, by dag_id; the file is imported anew."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        from airflow.providers.common.compat import sdk

        # A DAG made by @dag is not kept in a name of the module: Airflow collects it while it is parsed.
        original = sdk.DAG.__exit__

        def collect(dag: Any, *raised: Any) -> Any:
            found[dag.dag_id] = dag
            return original(dag, *raised)

        patch.setattr(sdk.DAG, "__exit__", collect)
        spec.loader.exec_module(module)
    return found


def example(name: str) -> Any:
    return dags_of(next(path for path in EXAMPLES if path.stem == name))[name]


@pytest.fixture
def firstpromoter(sandbox: Sandbox, connect: Callable[..., str]) -> Sandbox:
    """A FirstPromoter that knows ``cus_0`` to ``cus_9``; the ledger is in the warehouse, as the examples want it."""
    connect(ledger_conn_id="warehouse", max_attempts=1)
    sandbox.add_leads({"uid": f"cus_{number}", "promoter": "anna" if number % 2 else "ben"} for number in range(10))
    return sandbox


def refund(number: int, **values: Any) -> dict[str, Any]:
    return support.refund(number, **{"amount": 1000, **values})


# --- the examples ---


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_dag_with_documentation(path: Path, airflow_db: None) -> None:
    dags = dags_of(path)

    assert list(dags) == [path.stem]
    dag = dags[path.stem]
    assert dag.doc_md.strip().startswith("### ")
    assert "firstpromoter" in dag.tags
    assert not dag.catchup
    assert dag.tasks


def test_refunds_to_firstpromoter(firstpromoter: Sandbox, warehouse: Any, run_dag: Callable[..., Any]) -> None:
    """Sensor, tracking and rewards; a second run finds nothing new and is skipped."""
    warehouse.fill(
        [refund(number, status="succeeded") for number in range(12)] + [refund(20, status="pending")],
        status="VARCHAR(20)",
    )

    run = run_dag(example("refunds_to_firstpromoter"))

    assert set(run.states.values()) == {"success"}
    recorded = firstpromoter.recorded()
    assert sorted(one.event_id for one in recorded) == sorted(f"re_{number}" for number in range(10))
    assert [row["event_id"] for row in run.xcom("find_refunds")] == [f"re_{number}" for number in range(12)]
    assert [result["outcome"] for result in run.xcom("track_refunds")] == ["recorded"] * 10 + ["not_referred"] * 2
    rewards = run.xcom("rewards_per_promoter")
    assert sorted(rewards.values()) == [-1000, -1000]
    assert sum(rewards.values()) == sum(one.reward_amount for one in recorded)
    assert run.xcom("track_refunds", "summary")["reversed"] == {"cash": -2000}

    before = len(firstpromoter.refund_requests())
    again = run_dag(example("refunds_to_firstpromoter"))

    assert len(firstpromoter.refund_requests()) == before
    assert again.states["find_refunds"] == "skipped"
    assert set(again.states.values()) == {"skipped"}


def test_refunds_to_firstpromoter_pushes_rewards_even_if_a_row_is_rejected(
    firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any]
) -> None:
    rows = [refund(1, status="succeeded"), refund(2, status="succeeded", amount=0)]
    new_database("sqlite", "warehouse").fill(rows, status="VARCHAR(20)")

    run = run_dag(example("refunds_to_firstpromoter"))

    assert run.states["track_refunds"] == "failed"
    assert run.states["rewards_per_promoter"] == "success"
    assert list(run.xcom("rewards_per_promoter").values()) == [-200]
    assert run.state == "failed", "somebody has to look at the rejected row"


def test_refund_sync(firstpromoter: Sandbox, warehouse: Any, run_dag: Callable[..., Any]) -> None:
    rows = [refund(number, status="succeeded", refunded_at="2025-11-01") for number in range(12)]
    warehouse.fill(rows, status="VARCHAR(20)", refunded_at="VARCHAR(20)")

    run = run_dag(example("refund_sync"))

    assert run.states == {"sync_refunds": "success"}
    summary = run.xcom("sync_refunds")
    assert summary["outcomes"]["recorded"] == 10
    assert summary == run.xcom("sync_refunds", "summary")
    assert len(run.xcom("sync_refunds", "rewards")) == 10

    again = run_dag(example("refund_sync"))

    assert again.xcom("sync_refunds")["requests"] == 0
    assert len(firstpromoter.refund_requests()) == 12


def test_reversed_commission_triggers_an_asset_event(
    firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any]
) -> None:
    """refund_report is scheduled by the alias: its asset names the account, and the event carries the summary."""
    warehouse = new_database("sqlite", "warehouse")
    refunded = {"status": "succeeded", "refunded_at": "2025-11-01"}
    warehouse.fill([refund(50, **refunded)], status="VARCHAR(20)", refunded_at="VARCHAR(20)")
    before = asset_events()
    run_dag(example("refund_sync"))
    assert asset_events() == before, "nothing was reversed"
    warehouse.fill([refund(1, **refunded)])

    summary = run_dag(example("refund_sync")).xcom("sync_refunds")

    (event,) = asset_events()[len(before) :]
    uri, extra = event
    assert uri.startswith("firstpromoter://sandbox-account%40127.0.0.1%3A")
    assert uri.endswith("/refunds")
    assert extra["outcomes.recorded"] == 1
    assert extra["reversed.cash"] == summary["reversed"]["cash"]
    assert extra["since_last_event.outcomes.recorded"] == 1
    assert extra["since_last_event.outcomes.not_referred"] == 1, "of the first run too"
    report = example("refund_report").get_task("report_to_finance").python_callable
    events = {uri: [SimpleNamespace(extra=extra)]}
    assert report(triggering_asset_events=events) == ["1 refunds recorded, 2.00 of commissions reversed"]


def asset_events() -> list[tuple[str, Any]]:
    """The events in Airflow's database: each asset's URI, and what the event carries."""
    from airflow.utils.session import create_session

    try:
        from airflow.models.asset import AssetEvent, AssetModel
    except ImportError:
        from airflow.models.dataset import DatasetEvent as AssetEvent  # type: ignore[import-not-found,no-redef]
        from airflow.models.dataset import DatasetModel as AssetModel  # type: ignore[no-redef]
    with create_session() as session:
        uris = {asset.id: asset.uri for asset in session.query(AssetModel)}
        events = session.query(AssetEvent).order_by(AssetEvent.id).all()
        return [(uris[getattr(event, "asset_id", None) or event.dataset_id], event.extra) for event in events]


def test_refund_first_run_sends_only_without_preview(
    firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any]
) -> None:
    new_database("sqlite", "warehouse").fill(
        [
            refund(1, status="succeeded", refunded_at="2025-06-01"),
            refund(2, status="succeeded", refunded_at="2024-06-01"),
            refund(3, status="succeeded", refunded_at="2025-06-02"),
        ],
        status="VARCHAR(20)",
        refunded_at="VARCHAR(20)",
    )

    firstpromoter.add_commission(uid="cus_3", event_id="re_3", sale_amount=-1000)  # recorded by the old tool

    preview = run_dag(example("refund_first_run"))

    assert preview.states == {"adopt": "success", "preview": "success", "really": "success", "send": "skipped"}
    assert preview.xcom("adopt")["adopted"] == 1
    assert preview.xcom("preview")["outcomes"]["pending"] == 1
    assert firstpromoter.refund_requests() == []

    run = run_dag(example("refund_first_run"), send=True)

    assert set(run.states.values()) == {"success"}
    assert [request.body["event_id"] for request in firstpromoter.refund_requests()] == ["re_1"]
    assert firstpromoter.refund_requests()[0].body["skip_email_notification"] is True


def test_refund_reconcile_puts_mismatches_into_a_message(
    firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any]
) -> None:
    new_database("sqlite", "warehouse")

    run = run_dag(example("refund_reconcile"))

    assert run.states == {"reconcile": "success", "message": "success"}
    assert run.xcom("message") is None

    firstpromoter.add_commission(uid="cus_1", event_id="by_hand", sale_amount=-500)
    run = run_dag(example("refund_reconcile"))

    assert run.xcom("message") == (
        "Refunds in which ledger and FirstPromoter differ: 1; all of them: firstpromoter_refunds_mismatches\n"
        "1 missing_in_ledger (by_hand): reversed, but not by this provider: by hand, or by another tool? "
        "Adopt it if it is right"
    )


# --- text from the warehouse is data ---

TEMPLATE = "{{ conn.firstpromoter_default.password }}"


def injected(event_id: str) -> dict[str, Any]:
    return {"event_id": event_id, "amount": 100, "email": TEMPLATE, "sale_event_id": "{{ dag.dag_id }}.sql"}


def test_text_in_a_refund_is_never_rendered_as_a_template(
    firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any]
) -> None:
    warehouse = new_database("sqlite", "warehouse")
    warehouse.fill([injected("transfer")])
    warehouse.fill([injected("sensor")], table="waiting")
    firstpromoter.add_lead(email=TEMPLATE)

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
    assert {body["email"] for body in bodies.values()} == {TEMPLATE}
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
            return [result["reward"]["amount"] for result in results]

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
        assert (again["sent"], again["outcome"], again["reward"]) == (False, "recorded", None)
        assert again["reversed_by"]["task_id"] == "track", "whose rewards they are"


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
