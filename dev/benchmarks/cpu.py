"""The processor time of the client for one refund."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Row, at_most
from dev.benchmarks.work import SQL, execute, fill_sqlite
from dev.sandbox import HEADERS


def row(stage: Stage, sizes: Sizes) -> Row:
    warehouse = stage.folder / "cpu.db"
    with stage.sandbox("--requests-per-minute", "0") as sandbox:
        sandbox.add_leads({"uid": f"cus_{n}"} for n in range(sizes.cpu))
        connections = {
            "firstpromoter_default": firstpromoter(sandbox.base_url),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse)},
        }
        times = measured(
            stage,
            side_by_side,
            connections,
            url=sandbox.base_url,
            warehouse=str(warehouse),
            size=sizes.cpu,
            repeats=sizes.repeats,
        )
    ours, alone, bare = (1e6 * statistics.median(times[name]) / sizes.cpu for name in ("ours", "alone", "bare"))
    ratio, ratio_alone = (
        statistics.median(a / b for a, b in zip(times[name], times["bare"], strict=True)) for name in ("ours", "alone")
    )
    return Row(
        "CPU per refund in the client",
        f"{ours:.0f} µs",
        f"a bare requests.Session.post: {bare:.0f} µs",
        f"{ratio:.2f} times",
        "at most 1.5",
        at_most(ratio, 1.5),
        f"process_time, medians of {sizes.repeats} rounds of {sizes.cpu:,} in turns. Every refund is recorded, so that "
        "every response is a full one. The provider's time is that of the whole operator: query, spool, "
        "validation, rate limit, threads, responses, ledger (SQLite) and summary. The bare post sends the same bodies "
        f"in one session and does not read the responses. With max_in_flight=1 it is {alone:.0f} µs, "
        f"{ratio_alone:.2f} times: the difference is eight threads that take turns on one interpreter, because the "
        "server responds at once.",
    )


def side_by_side(url: str, warehouse: str, size: int, repeats: int) -> dict[str, list[float]]:
    """Measure all in turns; a first round, which fills imports and caches, does not count."""
    import requests

    times: dict[str, list[float]] = {"ours": [], "alone": [], "bare": []}
    session = requests.Session()
    for turn in range(repeats + 1):
        for name, in_flight in (("ours", 8), ("alone", 1)):
            bodies = [_body(refund) for refund in fill_sqlite(Path(warehouse), size, f"{name}{turn}")]
            started = time.process_time()
            summary = execute(f"{SQL} WHERE id LIKE '{name}{turn}_%'", max_in_flight=in_flight)
            times[name].append(time.process_time() - started)
            assert summary["sent"] == size, f"{summary['sent']} sent"
        for body in bodies:
            body["event_id"] = f"bare_{body['event_id']}"
        started = time.process_time()
        for body in bodies:
            session.post(f"{url}/track/refund", json=body, headers=HEADERS)
        times["bare"].append(time.process_time() - started)
    return {name: seconds[1:] for name, seconds in times.items()}


def _body(refund: dict[str, Any]) -> dict[str, str]:
    return {
        "event_id": refund["id"],
        "amount": str(refund["amount"]),
        "currency": refund["currency"],
        "uid": refund["customer_id"],
    }
