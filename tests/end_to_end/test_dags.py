"""Real DAG runs of the example DAGs, as they are."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow import __version__ as airflow_version

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests import support

#: Airflow asks a person since 3.1.
ASKS = tuple(map(int, version("apache-airflow").split(".")[:2])) >= (3, 1)
EXAMPLES = [
    path
    for path in sorted((Path(__file__).parents[2] / "dags_examples").glob("*.py"))
    if ASKS or not path.stem.endswith("_approval")
]


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


def refund(number: int, **values: Any) -> dict[str, Any]:
    return support.refund(number, **{"amount": 1000, **values})


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
    assert run.xcom("track_refunds", "summary")["rewards"] == {"cash": -2000}

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
    assert summary.items() <= run.xcom("sync_refunds", "summary").items()
    assert len(run.xcom("sync_refunds", "rewards")) == 10

    again = run_dag(example("refund_sync"))

    assert again.xcom("sync_refunds")["requests"] == 0
    assert len(firstpromoter.refund_requests()) == 12


@pytest.mark.skipif(airflow_version.startswith("2."), reason="airflow.sdk is of Airflow 3")
def test_dag_of_the_readme(
    firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any], tmp_path: Path
) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", (EXAMPLES[0].parents[1] / "README.md").read_text(), re.DOTALL)
    (tmp_path / "readme.py").write_text(text)
    warehouse = new_database("sqlite", "warehouse")
    warehouse.run(
        "CREATE TABLE stripe_refunds (id TEXT, amount INTEGER, currency TEXT, customer_id TEXT, "
        "charge_id TEXT, refunded_at TEXT, status TEXT)"
    )
    warehouse.run("INSERT INTO stripe_refunds VALUES ('re_1', 1000, 'USD', 'cus_1', 'ch_1', '2026-01-31', 'succeeded')")

    run = run_dag(dags_of(tmp_path / "readme.py")["refunds"])

    assert run.states == {"sync_refunds": "success"}
    assert [one.event_id for one in firstpromoter.recorded()] == ["re_1"]


def test_sales_and_refunds(
    firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any]
) -> None:
    """Each sale makes its commission before its refund reverses it, and both assets have an event."""
    warehouse = new_database("sqlite", "warehouse")
    firstpromoter.add_lead(uid="cus_new", promoter="anna", bought=False)
    when = {"status": "succeeded", "sold_at": f"{datetime.now(UTC):%Y-%m-%d}"}
    sales = [refund(number, event_id=f"ch_{number}", **when) for number in (1, 2)]
    sales.append({**sales[0], "event_id": "ch_new", "uid": "cus_new"})
    warehouse.fill(sales, "sales", status="VARCHAR(20)", sold_at="VARCHAR(20)")
    refunded = {"status": "succeeded", "refunded_at": when["sold_at"]}
    refunds = [
        refund(1, sale_event_id="ch_1", **refunded),
        refund(9, uid="cus_new", sale_event_id="ch_new", **refunded),
    ]
    warehouse.fill(refunds, status="VARCHAR(20)", refunded_at="VARCHAR(20)")

    run = run_dag(example("sales_and_refunds"))

    assert run.states == {"sync_sales": "success", "sync_refunds": "success"}
    assert [run.xcom(task)["rewards"] for task in ("sync_sales", "sync_refunds")] == [{"cash": 600}, {"cash": -400}]
    assert [request.status for request in firstpromoter.refund_requests()] == [200, 200], "not a 204 before its sale"
    assert {one.promoter_ref_id: one.amount for one in firstpromoter.balances()} == {"anna": 0, "ben": 200}
    events = {uri.rpartition("/")[2]: extra for uri, extra in asset_events()[-2:]}
    assert {name: extra["rewards.cash"] for name, extra in events.items()} == {"sales": 600, "refunds": -400}

    again = run_dag(example("sales_and_refunds"))

    assert [again.xcom(task)["requests"] for task in ("sync_sales", "sync_refunds")] == [0, 0]


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
    assert extra["rewards.cash"] == summary["rewards"]["cash"]
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
