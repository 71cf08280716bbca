"""
### A person approves what is reverted

As *refund_revert*, in one run instead of two: started by hand, after a run has sent refunds that it should not have
sent. Pause the DAG that sends them first. It needs Airflow 3.1 or newer.

1. **preview** finds what would be denied, and denies nothing.
2. **approve** shows number and sums, and waits for a person, under *Required Actions* of the run or of the menu Browse.
3. **revert** denies what the preview found. If there are more refunds by then, it fails and denies nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag
from airflow.providers.standard.operators.hitl import ApprovalOperator

from airflow_provider_firstpromoter.operators.revert import RevertRefundsOperator

#: The run that was wrong.
WRONG: dict[str, Any] = {"dag_id": "{{ params.dag_id }}", "run_id": "{{ params.run_id }}"}
FOUND = """
{%- set found = ti.xcom_pull(task_ids="preview") -%}
The commissions of {{ found["to_revert"] }} refunds, which the run `{{ params.run_id }}` of `{{ params.dag_id }}` sent.

Sums: {{ found["to_deny"] }}, in minor units such as cents.
"""


@dag(
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params={
        "dag_id": Param("refund_sync", type="string", description="The DAG whose run was wrong"),
        "run_id": Param("", type="string", minLength=1, description="The run of that DAG"),
    },
    doc_md=__doc__,
    tags=["firstpromoter"],
)
def revert_approval() -> None:
    preview = RevertRefundsOperator(task_id="preview", **WRONG)

    approve = ApprovalOperator(
        task_id="approve",
        subject="Deny the commissions of {{ ti.xcom_pull(task_ids='preview')['to_revert'] }} refunds?",
        body=FOUND,
        response_timeout=timedelta(days=1),
    )

    revert = RevertRefundsOperator(
        task_id="revert",
        preview=False,
        max_reverted="{{ ti.xcom_pull(task_ids='preview')['to_revert'] }}",
        **WRONG,
    )

    preview >> approve >> revert


revert_approval()
