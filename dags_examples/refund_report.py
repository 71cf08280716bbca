"""
### What was reversed

Runs when `refund_sync` has reversed a commission, and only then: no other run gives the alias an event. The event has
the counts and sums since the last event, runs that failed included, so that this DAG has nothing to look up.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import AssetAlias, dag, task


@dag(
    schedule=[AssetAlias("refunds-recorded")],
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["firstpromoter"],
)
def refund_report() -> None:
    @task
    def report_to_finance(**context: Any) -> list[str]:
        # Airflow 2 calls its assets datasets.
        events = context.get("triggering_asset_events") or context["triggering_dataset_events"]
        lines = []
        for of_asset in events.values():
            for event in of_asset:
                recorded = event.extra["since_last_event.outcomes.recorded"]
                cash = -event.extra.get("since_last_event.rewards.cash", 0) / 100
                lines.append(f"{recorded} refunds recorded, {cash:.2f} of commissions reversed")
        print("\n".join(lines))  # or send it to Slack
        return lines

    report_to_finance()


refund_report()
