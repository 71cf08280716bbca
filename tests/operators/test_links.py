"""The link from a task instance to the page "FirstPromoter"."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_firstpromoter.operators.base import FirstPromoterLink
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.operators.revert import RevertRefundsOperator
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.plugins.firstpromoter import URL_ROUTE
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.plugins.test_page import HAS_PAGES
from tests.support import TaskInstance


@pytest.mark.parametrize("map_index", [-1, 3])
def test_link_names_the_task_instance(map_index: int) -> None:
    ti = TaskInstance("send & see", run_id="scheduled__2026-11-25T10:00:00+00:00")
    ti.map_index = map_index
    operator = TrackRefundOperator(task_id="task", refunds=[])
    url = urlsplit(FirstPromoterLink().get_link(operator, ti_key=ti))
    # Relative: Airflow's pages add their own base path.
    assert (url.scheme, url.netloc, url.path) == ("", "", f"plugin/{URL_ROUTE}")
    assert parse_qs(url.query) == {
        "dag_id": ["dag"],
        "run_id": ["scheduled__2026-11-25T10:00:00+00:00"],
        "task_id": ["send & see"],
        "map_index": [str(map_index)],
    }


@pytest.mark.parametrize(
    "operator", [TrackRefundOperator, SqlToFirstPromoterOperator, ReconcileRefundsOperator, RevertRefundsOperator]
)
def test_operators_have_the_link_where_airflow_has_the_page(operator: type) -> None:
    names = [link.name for link in operator.operator_extra_links]  # type: ignore[attr-defined]
    assert names == (["FirstPromoter"] if HAS_PAGES else [])
