"""The BigQuery of these tests: what is relied on is checked by Google's client alone."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("google.cloud.bigquery", reason="needs an environment of its own: make test-warehouses")


def query(sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Read by Google's DB-API, on the client of Airflow's hook."""
    from airflow.providers.common.compat.sdk import BaseHook
    from google.cloud.bigquery import dbapi

    hook: Any = BaseHook.get_connection("warehouse").get_hook()
    client = hook.get_client(project_id=hook.project_id, location=hook.location)
    cursor = dbapi.connect(client, prefer_bqstorage_client=False).cursor()
    cursor.execute(sql, parameters)
    rows = [tuple(row) for row in cursor.fetchall()]
    client.close()
    return rows


def test_server_returns_each_type_as_bigquery_does(bigquery: Any) -> None:
    assert query(
        "SELECT 1 AS i, NUMERIC '19.90' AS n, 1.5 AS f, TRUE AS b, 'é😀' AS s, DATE '2026-01-02' AS d,"
        " TIMESTAMP '2026-01-02 03:04:05+00' AS t, CAST(NULL AS STRING) AS nothing"
    ) == [
        (
            1,
            Decimal("19.90"),
            1.5,
            True,
            "é😀",
            datetime.date(2026, 1, 2),
            datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
            None,
        )
    ]


@pytest.mark.parametrize(
    ("where", "parameters"),
    [
        ("event_id = %s AND amount >= %s", ["re_'1", 1]),
        ("event_id = %(id)s AND amount >= %(least)s", {"id": "re_'1", "least": 1}),
    ],
    ids=["list", "mapping"],
)
def test_server_binds_parameters_by_position_and_by_name(bigquery: Any, where: str, parameters: Any) -> None:
    bigquery.fill([{"event_id": "re_'1", "amount": 1}, {"event_id": "re_2", "amount": 2}])

    assert query(f"SELECT amount FROM `warehouse-project.finance.refunds` WHERE {where}", parameters) == [(1,)]


def test_server_gives_rows_in_pages(bigquery: Any) -> None:
    rows = query("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 2500)) AS n")

    assert [n for (n,) in rows] == list(range(1, 2501))
    assert bigquery.further_pages == 2
