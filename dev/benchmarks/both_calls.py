"""Whether sales cost what refunds cost."""

from __future__ import annotations

import time
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.memory import peak
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Measured, Row, at_most
from dev.benchmarks.work import SQL, execute, fill_sqlite

#: The most processor time of both calls against that of refunds alone.
TARGET = 1.1


def row(stage: Stage, sizes: Sizes) -> Measured:
    """Compare sales and their refunds with as many refunds."""
    refunds = sizes.sales // 10
    both = _measure(stage, "both", {"sale": sizes.sales, "refund": refunds})
    alone = _measure(stage, "alone", {"refund": sizes.sales + refunds})
    ratio = both["cpu"] / alone["cpu"]
    row = Row(
        f"{sizes.sales:,} sales, then {refunds:,} of their refunds",
        _figures(both),
        f"as many refunds alone: {_figures(alone)}",
        f"{ratio:.2f} times the CPU",
        f"at most {TARGET}",
        at_most(ratio, TARGET),
        "measured once each, in a process each, by the whole operator with an unlimited sandbox that records every "
        "event; query and ledgers in one SQLite. CPU is the client's process_time, memory its ru_maxrss with "
        "interpreter and Airflow.",
    )
    return Measured([row])


def _measure(stage: Stage, name: str, sizes: dict[str, int]) -> dict[str, float]:
    """Return the events a second, the seconds of processor time of an event, and the peak memory in MiB."""
    warehouse = stage.folder / f"{name}.db"
    for call, size in sizes.items():
        fill_sqlite(warehouse, size, call)
    with stage.sandbox("--requests-per-minute", "0") as sandbox:
        sandbox.add_leads({"uid": f"cus_{n}"} for n in range(max(sizes.values())))
        connections = {
            "firstpromoter_default": firstpromoter(sandbox.base_url),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse)},
        }
        figures: dict[str, float] = measured(stage, run, connections, sizes=sizes)
        recorded = {call: len(sandbox.recorded(call)) for call in sizes}
    assert recorded == sizes, f"recorded: {recorded}"
    return figures


def run(sizes: dict[str, int]) -> dict[str, float]:
    """Send the events of each call, one call after the other."""
    import airflow_provider_firstpromoter.sync.run  # noqa: F401  # imports are measured by another row

    started, used = time.perf_counter(), time.process_time()
    for call in sizes:
        parameters: dict[str, Any] = {"call": call}
        execute(f"{SQL} WHERE id LIKE '{call}_%'", **parameters)
    count = sum(sizes.values())
    return {
        "rate": count / (time.perf_counter() - started),
        "cpu": (time.process_time() - used) / count,
        "peak": peak(),
    }


def _figures(one: dict[str, float]) -> str:
    return f"{one['rate']:.0f}/s, {1e6 * one['cpu']:.0f} µs each, {one['peak']:.0f} MiB"
