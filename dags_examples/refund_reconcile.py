"""
### The nightly reconciliation

Compares the ledger with FirstPromoter's commissions of the last five weeks:

- **reconcile** writes every refund that differs into the table `firstpromoter_refunds_mismatches`, beside the ledger,
  and updates the rewards in the ledger: which ones are approved, denied or paid by now.
- **message** puts what needs attention into words, for a task that sends it: Slack, an e-mail, a ticket.

It needs the connection `firstpromoter_default`, with `{"ledger_conn_id": "warehouse"}` in its extra.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator

WHAT_TO_DO = {
    "missing_in_firstpromoter": "recorded, but no commission was reversed: ask FirstPromoter's support",
    "missing_in_ledger": "reversed, but not by this provider: by hand, or by another tool? Adopt it if it is right",
    "recorded_twice": "recorded twice: is a billing integration connected? Correct one of the two by hand",
    "reverted_not_denied": "reverted, but its commission is not denied: was it approved by hand? Revert it again",
    "amount_differs": "reversed with another amount than was sent: compare it with the refund",
    "no_longer_selected": "recorded, and no longer in the query: revert it if the refund was taken back",
    "still_pending": "its commission is pending, though one of its sale is approved: approve it before the next payout",
    "sale_not_found": "FirstPromoter has no commission of the sale that it names: is sale_event_id right?",
}


@dag(
    schedule="0 3 * * *",
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["firstpromoter"],
)
def refund_reconcile() -> None:
    reconcile = ReconcileRefundsOperator(
        task_id="reconcile",
        created_from=timedelta(days=35),
        # The next task writes a message. Leave this out if no one would read it: then the task fails.
        max_mismatches=None,
        # pool="firstpromoter",  # the sync's own: a refund that is being sent is no mismatch
    )

    @task
    def message(found: dict[str, Any]) -> str | None:
        if not found["mismatches"]:
            return None
        lines = [
            f"Refunds in which ledger and FirstPromoter differ: {found['mismatches']}; all of them: {found['table']}"
        ]
        for kind, advice in WHAT_TO_DO.items():
            if found[kind]:
                first = ", ".join(case["event_id"] or "?" for case in found["cases"][kind][:5])
                lines.append(f"{found[kind]} {kind} ({first}): {advice}")
        return "\n".join(lines)

    message(reconcile.output)  # type: ignore[arg-type]  # Airflow resolves the XComArg


refund_reconcile()
