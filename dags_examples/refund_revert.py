"""
### When a batch was wrong

Started by hand, after a run has sent refunds that it should not have sent. Pause the DAG that sends them first.

**revert** finds the refunds that the run `run_id` of the DAG `dag_id` recorded, reads their negative commissions, and
reports in its log and XCom what it would deny. Read that. Then run this DAG again, with `preview` off and with
`max_reverted` as the number of refunds that the preview reported. Nothing is denied if there are more.

FirstPromoter documents the call that denies commissions, but not its effect on balances and notifications. So revert
one refund first, by its event_id in `event_ids` instead of the run, and look at the promoter in FirstPromoter.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import Param, dag

from airflow_provider_firstpromoter.operators.revert import RevertRefundsOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    render_template_as_native_obj=True,  # so that lists, numbers and flags stay what they are
    params={
        "event_ids": Param([], type="array", description="Only these refunds; leave it empty to revert a run"),
        "dag_id": Param("refund_sync", type="string", description="The DAG whose run was wrong"),
        "run_id": Param("", type="string", description="The run of that DAG"),
        "preview": Param(True, type="boolean", description="Only report what would be denied"),
        "max_reverted": Param(0, type="integer", minimum=0, description="Deny nothing if there are more refunds"),
    },
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["firstpromoter"],
)
def refund_revert() -> None:
    RevertRefundsOperator(
        task_id="revert",
        event_ids="{{ params.event_ids or None }}",
        dag_id="{{ None if params.event_ids else params.dag_id }}",
        run_id="{{ None if params.event_ids else params.run_id }}",
        preview="{{ params.preview }}",
        max_reverted="{{ params.max_reverted }}",
        # pool="firstpromoter",  # the sync's own, so that both keep one rate limit
    )


refund_revert()
