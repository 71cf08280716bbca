"""How Airflow's pages show a task: its SQL as SQL, its kind by colour."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator

from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.operators.refund import TrackRefundOperator
from airflow_provider_firstpromoter.sensors.refund import UnrecordedRefundSensor
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

KINDS = [TrackRefundOperator, SqlToFirstPromoterOperator, UnrecordedRefundSensor, ReconcileRefundsOperator]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_rendered_says_how(kind: Any) -> None:
    assert set(kind.template_fields_renderers) <= set(kind.template_fields)
    if "sql" in kind.template_fields:
        assert kind.template_fields_renderers["sql"] == "sql"


def test_the_queries_are_templates() -> None:
    assert [kind for kind in KINDS if "sql" in kind.template_fields] == [
        SqlToFirstPromoterOperator,
        UnrecordedRefundSensor,
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_has_a_colour_of_its_own(kind: Any) -> None:
    assert kind.ui_color not in (BaseOperator.ui_color, BaseSensorOperator.ui_color)


def test_waiting_and_sending_differ_in_colour() -> None:
    assert UnrecordedRefundSensor.ui_color != TrackRefundOperator.ui_color
