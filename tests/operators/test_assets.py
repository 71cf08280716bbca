"""The events of assets and asset aliases after a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any
from urllib.parse import quote, urlsplit

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, Asset, AssetAlias

from airflow_provider_firstpromoter.exceptions import EventsRejectedError
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.support import Task, refund


@pytest.fixture(autouse=True)
def firstpromoter(sandbox: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]) -> Sandbox:
    """A FirstPromoter that knows ``cus_0`` to ``cus_9``, with its ledger in the warehouse."""
    new_database("sqlite", "warehouse")
    connect(max_attempts=2, ledger_conn_id="warehouse")
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(10))
    return sandbox


class Events:
    """What a task attached to its outlets' events, in Airflow's own accessors."""

    def __init__(self) -> None:
        try:
            from airflow.sdk.execution_time.context import OutletEventAccessors
        except ImportError:
            from airflow.utils.context import OutletEventAccessors
        self.accessors: Any = OutletEventAccessors()
        self.asset = Asset("x-refunds://all")
        self.alias = AssetAlias("refunds-recorded")

    def run(
        self, *rows: dict[str, Any], try_number: int = 1, run_id: str = "manual__1", **parameters: Any
    ) -> dict[str, Any]:
        """Returns the summary, also of a task that fails."""
        parameters = {"task_id": "task", "outlets": [self.asset, self.alias], **parameters}
        operator: Any
        if "sql" in parameters:
            operator = SqlToFirstPromoterOperator(sql_conn_id="warehouse", **parameters)
        else:
            operator = TrackRefundOperator(refunds=list(rows), **parameters)
        task = Task(operator, try_number=try_number, run_id=run_id)
        with suppress(EventsRejectedError):
            task.run(outlet_events=self.accessors)
        return task.summary

    @property
    def of_the_asset(self) -> Any:
        """What its event carries."""
        return self.accessors[self.asset].extra

    @property
    def of_the_alias(self) -> list[tuple[str, Any]]:
        """The events that it makes: the assets' URIs, and what each carries."""
        accessor = self.accessors[self.alias]
        events = getattr(accessor, "asset_alias_events", None)
        if events is None:
            events = accessor.dataset_alias_events
            return [(one["dest_dataset_uri"], one["extra"]) for one in events]
        return [(one.dest_asset_key.uri, one.extra) for one in events]


def test_asset_and_alias_events_have_the_summary_of_a_run_that_recorded_refunds(sandbox: Sandbox) -> None:
    events = Events()

    summary = events.run(refund(0), refund(50))

    assert summary["outcomes"]["recorded"] == 1
    extra = extra_of(summary)
    assert events.of_the_asset == extra
    assert events.of_the_alias == [(account_uri(sandbox), extra)]


def test_extra_is_flat_because_airflow_2_and_3_0_put_it_into_a_set() -> None:
    events = Events()

    events.run(refund(0), refund(1, amount=-1), max_rejected=1)

    ((_, extra),) = events.of_the_alias
    assert extra["outcomes.rejected"] == 1, "a summary with a problem, which is a dictionary in a list"
    assert {type(value) for value in extra.values()} <= {str, int, float, bool}


def test_alias_has_no_event_after_a_run_that_recorded_nothing() -> None:
    events = Events()

    summary = events.run(refund(50))

    assert events.of_the_asset == extra_of(summary), "its event comes with every run that succeeds"
    assert events.of_the_alias == []


def test_alias_has_no_event_for_refunds_that_another_run_reported() -> None:
    first, later, retried = Events(), Events(), Events()
    first.run(refund(0))

    later.run(refund(0), run_id="manual__2")
    retried.run(refund(0), try_number=2)

    assert later.of_the_alias == []
    assert since_last_event(retried.of_the_alias[0][1]) == since_last_event(first.of_the_alias[0][1])


def test_event_of_an_alias_alone_reports_the_runs_that_had_none() -> None:
    first, later = Events(), Events()
    first.run(refund(50), run_id="manual__1", outlets=[first.alias])
    assert first.of_the_alias == []

    later.run(refund(0), run_id="manual__2", outlets=[later.alias])

    ((_, reported),) = later.of_the_alias
    outcomes = {name: count for name, count in since_last_event(reported).items() if "outcomes." in name and count}
    assert outcomes == {"since_last_event.outcomes.recorded": 1, "since_last_event.outcomes.not_referred": 1}


def test_event_reports_what_failed_runs_reversed_once() -> None:
    failed, green, later = Events(), Events(), Events()
    failed.run(refund(0), refund(1, amount=-1), run_id="manual__1")

    green.run(refund(2), run_id="manual__2")
    later.run(refund(3), run_id="manual__3")

    assert failed.of_the_alias == [], "its task failed"
    ((_, reported),) = green.of_the_alias
    assert reported["outcomes.recorded"] == 1
    assert reported["since_last_event.outcomes.recorded"] == 2
    assert reported["since_last_event.amounts.account"] == 1000 + 1002
    assert later.of_the_alias[0][1]["since_last_event.amounts.account"] == 1003


def test_alias_has_no_event_after_a_preview_or_a_failed_task() -> None:
    preview, failed = Events(), Events()

    preview.run(refund(0), preview=True, try_number=2)
    summary = failed.run(refund(0), refund(1, amount=-1))

    assert preview.of_the_alias == []
    assert (summary["outcomes"]["recorded"], summary["outcomes"]["rejected"]) == (1, 1)
    assert failed.of_the_alias == []
    assert failed.of_the_asset == {}


def test_asset_events_of_a_query_match_those_of_a_list(sandbox: Sandbox) -> None:
    events = Events()

    summary = events.run(sql="SELECT 're_1' AS event_id, 500 AS amount, 'cus_1' AS uid")

    extra = extra_of(summary)
    assert events.of_the_asset == extra
    assert events.of_the_alias == [(account_uri(sandbox), extra)]


def test_asset_event_is_stored_after_every_successful_run(run_dag: Callable[..., Any]) -> None:
    """Only an alias is shown by the example DAGs."""
    with DAG("assets", schedule=None, start_date=pendulum.datetime(2025, 1, 1, tz="UTC")) as dag:
        TrackRefundOperator(task_id="track", refunds=[refund(0)], outlets=[Asset("x-refunds://assets")])

    summaries = [run_dag(dag).xcom("track", "summary") for _ in range(2)]

    assert [summary["sent"] for summary in summaries] == [1, 0]
    assert [event["sent"] for event in stored_events("x-refunds://assets")] == [1, 0]


def account_uri(sandbox: Sandbox) -> str:
    """The asset of the account: another host and port than the public API's are part of it."""
    return f"firstpromoter://sandbox-account%40{quote(urlsplit(sandbox.base_url).netloc, safe='')}/refunds"


def extra_of(summary: dict[str, Any]) -> dict[str, Any]:
    """The extra of an event that reports the run of this summary alone."""
    nested = {
        name: summary[name] for name in ("outcomes", "rewards", "amounts", "rewards_unknown", "without_sale_event_id")
    }
    flat: dict[str, Any] = {}
    for prefix in ("", "since_last_event."):
        for name, value in nested.items():
            if isinstance(value, dict):
                flat |= {f"{prefix}{name}.{key}": count for key, count in value.items()}
            else:
                flat[prefix + name] = value
    plain = {name: value for name, value in summary.items() if isinstance(value, str | int | float)}
    return {**plain, **flat}


def since_last_event(extra: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in extra.items() if name.startswith("since_last_event.")}


def stored_events(uri: str) -> list[Any]:
    """What an asset's events in Airflow's database carry, the earliest first."""
    from airflow.utils.session import create_session

    models: Any
    try:
        models = import_module("airflow.models.asset")
    except ImportError:
        models = import_module("airflow.models.dataset")
    asset_event = getattr(models, "AssetEvent", None) or models.DatasetEvent
    asset_model = getattr(models, "AssetModel", None) or models.DatasetModel
    with create_session() as session:
        uris = {asset.id: asset.uri for asset in session.query(asset_model)}
        events = session.query(asset_event).order_by(asset_event.id).all()
        return [event.extra for event in events if uris[getattr(event, "asset_id", None) or event.dataset_id] == uri]
