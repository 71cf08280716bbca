"""How Airflow's pages show a task: its SQL as SQL, its kind by colour."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator

from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

KINDS: list[Any] = [TrackRefundOperator, SqlToFirstPromoterOperator, UnrecordedRefundSensor, ReconcileRefundsOperator]


@pytest.mark.parametrize("kind", KINDS)
def test_renderers_are_of_template_fields(kind: Any) -> None:
    assert set(kind.template_fields_renderers) <= set(kind.template_fields)
    if "sql" in kind.template_fields:
        assert kind.template_fields_renderers["sql"] == "sql"


def test_sql_is_a_template_field_of_operators_with_a_query() -> None:
    assert [kind for kind in KINDS if "sql" in kind.template_fields] == [
        SqlToFirstPromoterOperator,
        UnrecordedRefundSensor,
        ReconcileRefundsOperator,
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_operator_has_its_own_colour(kind: Any) -> None:
    assert kind.ui_color not in (BaseOperator.ui_color, BaseSensorOperator.ui_color)


def test_sensor_and_operators_differ_in_colour() -> None:
    assert UnrecordedRefundSensor.ui_color != TrackRefundOperator.ui_color
