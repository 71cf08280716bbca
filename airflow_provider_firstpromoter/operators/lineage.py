"""OpenLineage: which tables a task read, and that it wrote refunds to a FirstPromoter account."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

log = logging.getLogger(__name__)


def lineage_of_run(
    summary: Mapping[str, Any] | None, *, sql: str | None = None, sql_conn_id: str | None = None
) -> OperatorLineage[Any, Any] | None:
    """
    Return the lineage of a finished run.

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
