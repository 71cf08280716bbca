"""Refunds that FirstPromoter already has: adopted from its list of commissions, or sent one by one."""

from __future__ import annotations

import time
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Measured, Row, at_least
from dev.benchmarks.throughput import LATENCY
from dev.benchmarks.work import TaskInstance, execute, fill_sqlite


def row(stage: Stage, sizes: Sizes) -> Measured:
    rows = fill_sqlite(stage.folder / "adoption.db", sizes.adopted)
    with stage.sandbox("--requests-per-minute", "0") as sandbox:
        sandbox.add_leads({"uid": row["customer_id"]} for row in rows)
        sandbox.add_commissions(
            {"event_id": row["id"], "uid": row["customer_id"], "sale_amount": -row["amount"]} for row in rows
        )
        sandbox.delay_responses(LATENCY)
        connections = {
            "firstpromoter_default": firstpromoter(sandbox.base_url),
            "warehouse": {"conn_type": "sqlite", "host": str(stage.folder / "adoption.db")},
        }
        # Each has its own ledger, because what one has settled would be no work for the other.
        adopted = measured(stage, adopt, connections, size=sizes.adopted)
        sent = measured(stage, send, connections, size=sizes.adopted)
    ratio = sent["requests"] / adopted["requests"]
    row = Row(
        f"{sizes.adopted:,} refunds that FirstPromoter already has, into an empty ledger",
        f"adopted: {adopted['requests']:,} requests, {adopted['seconds']:.1f} s",
        f"sent, each response is a 409: {sent['requests']:,} requests, {sent['seconds']:.1f} s",
        f"{ratio:.0f} times fewer requests",
        "90 times",
        at_least(ratio, 90),
        "measured once each, with an unlimited API and 100 ms latency. At 400 requests a minute the number of requests "
        f"decides: {60 * adopted['requests'] / 400:,.0f} s against {60 * sent['requests'] / 400:,.0f} s. An adopted "
        "refund has its reward; a sent one needs a second request for that.",
    )
    return Measured([row])


def adopt(size: int) -> dict[str, Any]:
    """Adopt the refunds, and return the number of requests and the seconds."""
    from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator

    operator = ReconcileRefundsOperator(task_id="adopt", adopt=True, ledger_table="adopted")
    context: Any = {"ti": TaskInstance()}
    started = time.perf_counter()
    report = operator.execute(context)
    assert report["adopted"] == size, report
    return {"requests": report["requests"], "seconds": time.perf_counter() - started}


def send(size: int) -> dict[str, Any]:
    """Send the refunds, and return the number of requests and the seconds."""
    started = time.perf_counter()
    summary = execute(ledger_table="sent")
    assert summary["outcomes"]["already_recorded"] == size, summary
    return {"requests": summary["requests"], "seconds": time.perf_counter() - started}
