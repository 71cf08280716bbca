"""Whether the memory of a run grows with the number of its refunds."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Row, at_most
from dev.benchmarks.work import SQL, CannedResponses, execute

SMALL = 1000
#: The target, in MiB.
TARGET = 25.0


def row(stage: Stage, sizes: Sizes) -> Row:
    connections = {
        "firstpromoter_default": firstpromoter("http://127.0.0.1:9/api/v2"),
        "warehouse": stage.postgresql("memory"),
    }
    measured(stage, fill, connections, size=sizes.pending)
    # Each has its own ledger table, so that the refunds of the small run are not settled for the large one.
    small = measured(stage, run, connections, size=SMALL, table="ledger_of_few")
    large = measured(stage, run, connections, size=sizes.pending, table="ledger_of_many")
    grown = large["peak"] - small["peak"]
    return Row(
        f"peak memory, {SMALL:,} against {sizes.pending:,} pending refunds",
        f"{sizes.pending:,}: {large['peak']:.0f} MiB ({large['seconds']:.0f} s)",
        f"{SMALL:,}: {small['peak']:.0f} MiB",
        f"{grown:+.1f} MiB",
        f"within {TARGET:.0f} MiB",
        at_most(grown, TARGET, " MiB"),
        "measured once each, in a process each (ru_maxrss, with interpreter and Airflow). Query and ledger are on "
        "PostgreSQL, and all refunds are sent, written to the ledger and counted from it. A canned response (404) in "
        "the transport adapter of the hook's requests.Session replaces the network, because a million real requests "
        "would take two days. The rate limiter stores the requests of its window; the window is shorter here, so that "
        "it stores no more of them than at FirstPromoter's own rate.",
    )


def fill(size: int) -> None:
    """Create the warehouse."""
    from airflow_provider_firstpromoter.database.engine import engine_for

    with engine_for("warehouse").begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE refunds AS SELECT n, 're_' || n AS id, 100 + mod(n, 5000) AS amount, 'usd' AS currency, "
            f"'cus_' || n AS customer_id FROM generate_series(1, {size}) n"
        )
        connection.exec_driver_sql("ALTER TABLE refunds ADD PRIMARY KEY (id)")


def run(size: int, table: str) -> dict[str, Any]:
    """Send so many refunds, and return the peak memory in MiB and the seconds."""
    from airflow_provider_firstpromoter.api import rate_limit

    # About as many requests are sent in this time as FirstPromoter allows in a minute.
    rate_limit.WINDOW = 0.1
    CannedResponses().install()
    started = time.perf_counter()
    summary = execute(f"{SQL} WHERE n <= {size}", ledger_table=table)
    assert summary["sent"] == size, f"{summary['sent']} sent"
    return {"peak": peak(), "seconds": time.perf_counter() - started}


def peak() -> float:
    """Return the peak memory of this process in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
