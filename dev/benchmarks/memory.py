"""Whether the memory of a run grows with the number of its refunds."""

from __future__ import annotations

import resource
import sys
import threading
import time
from itertools import pairwise
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.data import URL, fill_warehouse
from dev.benchmarks.plot import Curve
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Measured, Row, at_most
from dev.benchmarks.work import SQL, CannedResponses, execute

SMALL = 1000
#: The target, in MiB.
TARGET = 25.0
#: Seconds between two points of the curves.
EVERY = 2.0


def row(stage: Stage, sizes: Sizes) -> Measured:
    """Measure the peak memory of a small and of a large run."""
    connections = {"firstpromoter_default": firstpromoter(URL), "warehouse": stage.postgresql("memory")}
    measured(stage, fill_warehouse, connections, size=sizes.pending)
    # Each has its own ledger table, so that the refunds of the small run are not settled for the large one.
    small = measured(stage, run, connections, size=SMALL, table="ledger_of_few")
    large = measured(stage, run, connections, size=sizes.pending, table="ledger_of_many")
    stage.drop_postgresql("memory")
    grown = large["peak"] - small["peak"]
    row = Row(
        f"peak memory, {SMALL:,} against {sizes.pending:,} pending refunds",
        f"{sizes.pending:,}: {large['peak']:.0f} MiB ({large['seconds']:.0f} s)",
        f"{SMALL:,}: {small['peak']:.0f} MiB",
        f"{grown:+.1f} MiB",
        f"within {TARGET:.0f} MiB",
        at_most(grown, TARGET, " MiB"),
        "measured once each, in a process each (ru_maxrss, with interpreter and Airflow). Query and ledger are on "
        "PostgreSQL, and all refunds are sent, written to the ledger and counted. A canned response (404) in the place "
        "of the network, because a million real requests would take two days: so the rate limiter remembers a minute "
        "of far more requests than at FirstPromoter's limit.",
    )
    points = large["points"]
    curves = [
        Curve(
            "memory",
            f"Memory of one run with {sizes.pending:,} new refunds",
            "refunds sent",
            "MiB",
            {"resident memory": [(sent, memory) for sent, _, memory in points]},
        ),
        Curve(
            "writing",
            "Speed of the same run as its ledger grows, canned responses",
            "refunds in the ledger",
            "refunds a second",
            {"sent and written": _rates([(sent, at) for sent, at, _ in points])},
        ),
    ]
    return Measured([row], curves)


def run(size: int, table: str) -> dict[str, Any]:
    """Send so many refunds, and return the peak memory in MiB, the seconds, and points of the time in between."""
    import psutil

    canned = CannedResponses()
    canned.install()
    points: list[tuple[int, float, float]] = []
    ended = threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while not ended.wait(EVERY):
            if canned.requests:
                points.append((canned.requests, time.perf_counter() - started, process.memory_info().rss / 2**20))

    watcher = threading.Thread(target=watch, daemon=True)
    started = time.perf_counter()
    watcher.start()
    summary = execute(f"{SQL} WHERE n <= {size}", ledger_table=table)
    seconds = time.perf_counter() - started
    ended.set()
    watcher.join()
    assert summary["sent"] == size, f"{summary['sent']} sent"
    return {"peak": peak(), "seconds": seconds, "points": points}


def peak() -> float:
    """Return the peak memory of this process in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _rates(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return the refunds a second between points that are about a fortieth of the run apart."""
    apart = points[:: max(1, len(points) // 40)]
    return [(sent, (sent - before) / (at - since)) for (before, since), (sent, at) in pairwise(apart)]
