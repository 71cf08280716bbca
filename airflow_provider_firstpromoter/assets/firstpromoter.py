"""What a run shows to others: the asset of an account's refunds or sales, its events, and OpenLineage's datasets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from airflow_provider_firstpromoter.parameters import CALL_NAMES

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

log = logging.getLogger(__name__)


def create_asset(*, account: str, kind: str = "refunds", extra: dict[str, Any] | None = None) -> Any:
    """
    Return the asset of an account's refunds or sales.

    :param account: the Account ID, with ``@host:port/path`` where it is not the public API's
    :param kind: ``refunds`` or ``sales``
    """
    from airflow.providers.common.compat.sdk import Asset

    # Quoted, because of the @ before another host: Airflow 2 would take the account for a login.
    return Asset(uri=f"firstpromoter://{quote(account, safe='')}/{kind}", extra=extra or {})


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """
    Check a URI when a DAG declares it.

    :raises ValueError: if it names no account, or anything but the account's refunds or sales
    """
    if not uri.netloc:
        raise ValueError("URI format firstpromoter:// must contain an Account ID: firstpromoter://ACCOUNT_ID/refunds")
    kind = uri.path.strip("/")
    if kind not in [f"{name}s" for name in CALL_NAMES] or uri.query or uri.fragment:
        raise ValueError("URI format firstpromoter:// must be firstpromoter://ACCOUNT_ID/refunds, or …/sales")
    return uri._replace(path=f"/{kind}")


def convert_asset_to_openlineage(asset: Any, lineage_context: Any) -> Any:  # noqa: ARG001  # Airflow passes it
    """Return the OpenLineage dataset of an asset, the same that a task's own lineage names."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    uri = urlsplit(asset.uri)
    return Dataset(namespace=f"firstpromoter://{unquote(uri.netloc)}", name=uri.path.strip("/"))


def attach_asset_events(
    outlets: Sequence[Any] | None, context: Context, summary: Mapping[str, Any], since_last_event: Callable[..., Any]
) -> None:
    """
    Attach the summary's counts and sums to the outlets' events, with those of all runs since the last event.

    An asset gets an event with every run that succeeds, and Airflow makes it. An alias gets one only if an event
    was recorded since its last one: a DAG scheduled by it runs when there is something to read.

    :param outlets: of the task; only assets and aliases among them matter
    :param summary: of the run, as plain JSON
    :param since_last_event: the run's method of this name
    """
    from airflow.providers.common.compat.sdk import Asset, AssetAlias

    if not any(isinstance(outlet, Asset | AssetAlias) for outlet in outlets or ()):
        return
    every_run = any(isinstance(outlet, Asset) for outlet in outlets or ())
    since = since_last_event(only_recorded=not every_run).to_json()
    extra = _flat({**summary, "since_last_event": since})
    for outlet in outlets or ():
        if isinstance(outlet, AssetAlias):
            if since["outcomes"]["recorded"] and not summary["preview"]:
                asset = create_asset(account=summary["account"], kind=summary["kind"])
                context["outlet_events"][outlet].add(asset, extra=extra)
        elif isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra = extra


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """
    Return the numbers and texts of a summary by their path, such as ``outcomes.recorded``; lists are left out.

    Airflow 2 and 3.0 put the values of an alias event's extra into a set, and fail the task if one is a dict or a list.
    """
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None and not isinstance(value, list):
            flat[f"{prefix}{name}"] = value
    return flat


def lineage_of_run(
    summary: Mapping[str, Any] | None, *, sql: str | None = None, sql_conn_id: str | None = None
) -> OperatorLineage[Any, Any] | None:
    """
    Return the lineage of a finished run: the tables that it read, and the account that it wrote to.

    :param summary: the run's summary as plain JSON; None if it did not get that far
    :param sql: the query that the rows came from; None where they came from XCom
    :param sql_conn_id: its connection
    :returns: None where the OpenLineage provider is not installed
    """
    try:
        from airflow.providers.common.compat.openlineage.facet import Dataset, OutputDataset
        from airflow.providers.common.compat.openlineage.facet import OutputStatisticsOutputDatasetFacet as Statistics
        from airflow.providers.openlineage.extractors import OperatorLineage
    except ImportError:
        return None
    lineage: Any = OperatorLineage()
    if sql and sql_conn_id:
        lineage = _lineage_of_query(sql, sql_conn_id) or lineage
    inputs: list[Dataset] = list(lineage.inputs)
    outputs = []
    if summary and summary.get("account") and not summary.get("preview"):
        statistics = Statistics(rowCount=summary["outcomes"]["recorded"], size=None)
        outputs.append(
            OutputDataset(
                namespace=f"firstpromoter://{summary['account']}",
                name=summary["kind"],
                outputFacets={"outputStatistics": statistics},
            )
        )
    return OperatorLineage(inputs=inputs, outputs=outputs, job_facets=dict(lineage.job_facets))


def _lineage_of_query(sql: str, conn_id: str) -> Any:
    """Parse the query as Airflow's own SQL operators do; lineage is never a reason to fail a task."""
    try:
        from airflow.providers.common.compat.sdk import BaseHook
        from airflow.providers.openlineage.sqlparser import SQLParser

        connection = BaseHook.get_connection(conn_id)
        hook: Any = connection.get_hook()  # type: ignore[no-untyped-call]
        info = hook.get_openlineage_database_info(connection)
        if info is None:
            return None
        parser = SQLParser(
            dialect=hook.get_openlineage_database_dialect(connection),
            default_schema=hook.get_openlineage_default_schema(),
        )
        return parser.generate_openlineage_metadata_from_sql(
            sql=sql, hook=hook, database_info=info, database=connection.schema, use_connection=False
        )
    except Exception as error:
        log.info("The lineage of the query on connection %r is not known: %s", conn_id, type(error).__name__)
        return None
