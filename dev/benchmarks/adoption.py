"""Refunds that FirstPromoter already has: read out of its books, or found out one by one."""

from __future__ import annotations

import time
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage
from dev.benchmarks.table import Row, at_least
from dev.benchmarks.throughput import LATENCY
from dev.benchmarks.work import TaskInstance, execute, fill_sqlite


def row(stage: Stage, sizes: Sizes) -> Row:
    rows = fill_sqlite(stage.folder / "adoption.db", sizes.adopted)
    with stage.sandbox("--requests-per-minute", "0") as sandbox:
        sandbox.learn([row["customer_id"] for row in rows])
        sandbox.record(
            {"event_id": row["id"], "uid": row["customer_id"], "sale_amount": -row["amount"]} for row in rows
        )
        sandbox.delay(LATENCY)
        connections = {
            "firstpromoter_default": sandbox.connection(),
            "warehouse": {"conn_type": "sqlite", "host": str(stage.folder / "adoption.db")},
        }
        # A ledger each: what one of them has settled would be no work for the other.
        adopted = measured(stage, adopt, connections, size=sizes.adopted)
        sent = measured(stage, send, connections, size=sizes.adopted)
    ratio = sent["requests"] / adopted["requests"]
    return Row(
        f"{sizes.adopted:,} refunds that FirstPromoter already has, into an empty ledger",
        f"adopted: {adopted['requests']:,} requests, {adopted['seconds']:.1f} s",
        f"sent, and answered with 409: {sent['requests']:,} requests, {sent['seconds']:.1f} s",
        f"{ratio:.0f} times fewer requests",
        "90 times",
        at_least(ratio, 90),
        "once each, unlimited API with 100 ms latency; at an account's 400 requests a minute it is the requests that "
        f"count: {60 * adopted['requests'] / 400:,.0f} s against {60 * sent['requests'] / 400:,.0f} s. What is adopted "
        "has its reward; what is sent would take a second request each for that.",
    )


def adopt(size: int) -> dict[str, Any]:
    from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator

    operator = ReconcileRefundsOperator(task_id="adopt", adopt=True, ledger_table="adopted")
    context: Any = {"ti": TaskInstance()}
    started = time.perf_counter()
    told = operator.execute(context)
    assert told["adopted"] == size, told
    return {"requests": told["requests"], "seconds": time.perf_counter() - started}


def send(size: int) -> dict[str, Any]:
    started = time.perf_counter()
    summary = execute(ledger_table="sent")
    assert summary["outcomes"]["already_recorded"] == size, summary
    return {"requests": summary["requests"], "seconds": time.perf_counter() - started}
