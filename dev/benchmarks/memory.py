"""Whether a run's memory grows with its refunds."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Row, at_most
from dev.benchmarks.work import SQL, Canned, execute

SMALL = 1000
#: MiB.
MOST = 25.0


def row(stage: Stage, sizes: Sizes) -> Row:
    connections = {
        "firstpromoter_default": firstpromoter("http://127.0.0.1:9/api/v2"),
        "warehouse": stage.postgresql("memory"),
    }
    measured(stage, fill, connections, size=sizes.pending)
    # A ledger table each, so that the large run does not find the small one's refunds settled.
    small = measured(stage, run, connections, size=SMALL, table="ledger_of_few")
    large = measured(stage, run, connections, size=sizes.pending, table="ledger_of_many")
    grown = large["peak"] - small["peak"]
    return Row(
        f"peak memory, {SMALL:,} against {sizes.pending:,} pending refunds",
        f"{sizes.pending:,}: {large['peak']:.0f} MiB ({large['seconds']:.0f} s)",
        f"{SMALL:,}: {small['peak']:.0f} MiB",
        f"{grown:+.1f} MiB",
        f"within {MOST:.0f} MiB",
        at_most(grown, MOST, " MiB"),
        "once each, in a process each (ru_maxrss, interpreter and Airflow included). Source and ledger on PostgreSQL, "
        "all refunds sent, written to the ledger and counted from it; the network is replaced by a canned answer (404) "
        "in the transport adapter of the hook's requests.Session, because a million real ones would take two days. The "
        "pacer remembers the requests of its window, so that this is as short as the run is fast: it holds no more of "
        "them than at FirstPromoter's own rate.",
    )


def fill(size: int) -> None:
    from airflow_provider_firstpromoter.database.engine import engine_for

    with engine_for("warehouse").begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE refunds AS SELECT n, 're_' || n AS id, 100 + mod(n, 5000) AS amount, 'usd' AS currency, "
            f"'cus_' || n AS customer_id FROM generate_series(1, {size}) n"
        )
        connection.exec_driver_sql("ALTER TABLE refunds ADD PRIMARY KEY (id)")


def run(size: int, table: str) -> dict[str, Any]:
    from airflow_provider_firstpromoter.api import rate_limit

    # At 400 a minute it would remember 400 requests; this many come in so long.
    rate_limit.WINDOW = 0.1
    Canned().install()
    started = time.perf_counter()
    summary = execute(f"{SQL} WHERE n <= {size}", ledger_table=table)
    assert summary["sent"] == size, f"{summary['sent']} sent"
    return {"peak": peak(), "seconds": time.perf_counter() - started}


def peak() -> float:
    """The most memory that this process ever had, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
