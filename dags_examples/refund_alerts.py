"""
### The sync, with alerts

- If **sync_refunds** fails and has no retry left, an e-mail and a message in Slack say why: refunds that are newly
  rejected or changed, refunds that failed, a wrong key.
- **remind** sends an e-mail as long as refunds that were reported before still need attention. They make no run red.

The e-mail uses the connection `smtp_default`. Slack's is `slack`, of type HTTP, whose host is the URL of an incoming
webhook. Every notifier of Airflow can take the place of either.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task
from airflow.providers.http.notifications.http import HttpNotifier
from airflow.providers.smtp.notifications.smtp import SmtpNotifier

from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

ON_CALL = "on-call@example.com"
# Airflow 3.0 to 3.2 pass no exception.
WHY = "(exception | default('The log of the task says why.') | string)"


@dag(
    schedule="0 6 * * *",
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["firstpromoter"],
)
def refund_alerts() -> None:
    sync = SqlToFirstPromoterOperator(
        task_id="sync_refunds",
        sql="""
            SELECT event_id, amount, currency, uid, email, sale_event_id, refunded_at
            FROM refunds
            WHERE status = 'succeeded'
        """,
        sql_conn_id="warehouse",
        recheck_unreferred=timedelta(days=7),
        # The texts are escaped, because they name event_ids.
        on_failure_callback=[
            SmtpNotifier(to=ON_CALL, subject="{{ ti.dag_id }} has failed", html_content=f"{{{{ {WHY} | e }}}}"),
            HttpNotifier(
                http_conn_id="slack",
                json={"text": f"{{{{ ti.dag_id }}}} has failed: {{{{ {WHY} | replace('<', '&lt;') }}}}"},
            ),
        ],
    )

    @task
    def remind(summary: dict[str, Any], **context: Any) -> None:
        if still_open := summary["still_open"]:
            SmtpNotifier(
                to=ON_CALL,
                subject=f"Refunds that still need attention: {still_open}",
                html_content="The page FirstPromoter and the ledger's report list them.",
            ).notify(context)  # type: ignore[arg-type]  # tasks get their context as a dict

    remind(sync.output)  # type: ignore[arg-type]  # Airflow resolves the XComArg


refund_alerts()
