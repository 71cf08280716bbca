"""The lineage that OpenLineage's own listener emits for the operators."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.support import refunds

pytest.importorskip("airflow.providers.openlineage", reason="needs apache-airflow-providers-openlineage")

DAG = """
    import pendulum
    from airflow.providers.common.compat.sdk import DAG
    from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

    with DAG("lineage", schedule=None, start_date=pendulum.datetime(2025, 1, 1, tz="UTC")) as dag:
        SqlToFirstPromoterOperator(
            task_id="sync", sql_conn_id="warehouse", sql="SELECT r.event_id, r.amount, r.uid FROM refunds r"
        )

    if __name__ == "__main__":
        from tests.support import run

        run(dag)
"""


def test_completed_task_emits_its_tables_and_the_refunds_that_it_recorded(
    sandbox: Sandbox,
    connect: Callable[..., str],
    new_database: Callable[..., Any],
    airflow_db: None,
    tmp_path: Path,
) -> None:
    """In a process of its own, because Airflow reads the listener's transport once."""
    warehouse = new_database("postgresql", "warehouse")
    warehouse.fill(refunds(3))
    connect(ledger_conn_id="warehouse")
    sandbox.add_leads([{"uid": "cus_0"}, {"uid": "cus_1"}])
    program = tmp_path / "lineage_dag.py"
    program.write_text(textwrap.dedent(DAG))
    events = tmp_path / "events.json"
    transport = {"type": "file", "log_file_path": str(events), "append": True}

    root = str(Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport), "PYTHONPATH": root},
        check=True,
        capture_output=True,
        timeout=240,
        cwd=root,
    )

    emitted = [json.loads(line) for line in events.read_text().splitlines() if line.strip()]
    (complete,) = [one for one in emitted if one["eventType"] == "COMPLETE" and one["job"]["name"] == "lineage.sync"]
    assert [one["name"].split(".")[-1] for one in complete["inputs"]] == ["refunds"]
    (output,) = complete["outputs"]
    assert output["namespace"].startswith("firstpromoter://sandbox-account@127.0.0.1")
    assert output["name"] == "refunds"
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 2
