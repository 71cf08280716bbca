"""
### Refunds reach FirstPromoter, once each

1. **find_refunds** looks in the warehouse for refunds that FirstPromoter does not have yet. If there are none, the run
   is skipped.
2. **track_refunds** sends them to FirstPromoter, which reverses the commission that was paid on each sale.
3. **rewards_per_promoter** adds up what was reversed.
4. **everything_sent** keeps the run from ending green when rows could not be sent as they are.

It needs two connections: `firstpromoter_default`, with `{"ledger_conn_id": "warehouse"}` in its extra, and
`warehouse`, any SQL database with a table `refunds`. What became of each refund is stored in the table
`firstpromoter_refunds` beside it, so that no refund is sent twice, however often the DAG runs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor


@dag(
    schedule="@hourly",
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,  # the query finds whatever is new; a later run makes up for missed hours
    max_active_runs=1,
    doc_md=__doc__,
    tags=["firstpromoter"],
)
def refunds_to_firstpromoter() -> None:
    find_refunds = UnrecordedRefundSensor(
        task_id="find_refunds",
        # The columns have the refund call's own field names. Amounts are in cents.
        sql="""
            SELECT event_id, amount, currency, uid, email, quantity, sale_event_id
            FROM refunds
            WHERE status = 'succeeded'
        """,
        sql_conn_id="warehouse",
        recheck_unreferred=timedelta(days=7),  # a sale can reach FirstPromoter after its refund
        # Poke once: the schedule does the waiting, and a run without pending refunds is skipped, not failed.
        timeout=0,
        soft_fail=True,
    )

    track_refunds = TrackRefundOperator(task_id="track_refunds", refunds=find_refunds.output)

    # track_refunds fails when rows of the warehouse cannot be sent as they are. The others were sent all the same, and
    # this rule passes their rewards downstream.
    @task(trigger_rule="none_skipped")
    def rewards_per_promoter(results: list[dict[str, Any]] | None) -> dict[str, int]:
        """Rewards that were reversed, by the promoter's id: negative, in cents."""
        reversed_by_promoter: dict[str, int] = {}
        for result in results or []:
            for commission in result["commissions"]:
                if commission["unit"] == "cash" and commission["status"] != "denied":
                    promoter_id = str(commission["promoter_id"])
                    reversed_by_promoter.setdefault(promoter_id, 0)
                    reversed_by_promoter[promoter_id] += commission["amount"]
        return reversed_by_promoter

    # Airflow decides a run's state by its last tasks alone: without this task, the one above would make it green.
    @task
    def everything_sent() -> None:
        """Runs only after a green track_refunds."""

    rewards_per_promoter(track_refunds.output)  # type: ignore[arg-type]  # Airflow resolves the XComArg
    track_refunds >> everything_sent()


refunds_to_firstpromoter()
