"""
### What was taken back

Runs when `refund_sync` has taken back a commission, and only then: the alias gets an event from no other run. The
event carries the run's summary, so that nothing has to be looked up.
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
    def tell_finance(**context: Any) -> list[str]:
        # Airflow 2 calls its assets datasets.
        events = context.get("triggering_asset_events") or context["triggering_dataset_events"]
        lines = []
        for of_asset in events.values():
            for event in of_asset:
                recorded = event.extra["outcomes"]["recorded"]
                cash = -event.extra["reversed"].get("cash", 0) / 100
                lines.append(f"{recorded} refunds recorded, {cash:.2f} of commissions taken back")
        print("\n".join(lines))  # or send it to Slack
        return lines

    tell_finance()


refund_report()
