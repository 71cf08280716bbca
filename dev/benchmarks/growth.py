"""Whether sending becomes slower as the ledger grows."""

from __future__ import annotations

import time

from dev.benchmarks.child import measured
from dev.benchmarks.rounds import worse_of_two
from dev.benchmarks.settled import large_ledger
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage
from dev.benchmarks.table import Measured, Row, at_most
from dev.benchmarks.work import CannedResponses, execute

TARGET = 1.1


def row(stage: Stage, sizes: Sizes) -> Measured:
    """Measure whole runs of new refunds into an empty and into a large ledger."""
    connections = large_ledger(stage, sizes)
    times = measured(stage, side_by_side, connections, size=sizes.written, rounds=2 * sizes.repeats)
    one = worse_of_two(times["large"], times["empty"])
    row = Row(
        f"refunds a second into a ledger of {sizes.ledger:,}",
        f"{sizes.written / one.ours:,.0f}/s",
        f"into an empty ledger: {sizes.written / one.against:,.0f}/s",
        f"{one.ratio:.2f} times as long",
        f"at most {TARGET}",
        at_most(one.ratio, TARGET),
        f"{one.both}, each the median of {sizes.repeats} rounds in turns in one process, from the first request to the "
        f"end of a run of {sizes.written:,} new refunds, with canned responses (404) in the place of the network. How "
        "long it takes until the first request is a row of its own.",
    )
    return Measured([row])


def side_by_side(size: int, rounds: int) -> dict[str, list[float]]:
    """Measure both in turns; a first round, which fills the caches, does not count."""
    from airflow_provider_firstpromoter.database.engine import engine_for

    canned = CannedResponses()
    canned.install()
    times: dict[str, list[float]] = {"large": [], "empty": []}
    for turn in range(rounds + 1):
        # Random ids, so that new rows belong to every part of the index.
        sql = (
            f"SELECT 're_new_' || md5('{turn} ' || n) AS event_id, 100 + mod(n, 5000) AS amount, 'usd' AS currency, "
            f"'cus_' || n AS uid FROM generate_series(1, {size}) n"
        )
        for name, table in (("large", "firstpromoter_refunds"), ("empty", f"ledger_{turn}")):
            canned.first_request = None
            summary = execute(sql, ledger_table=table)
            assert canned.first_request is not None
            times[name].append(time.perf_counter() - canned.first_request)
            assert summary["sent"] == size, f"{summary['sent']} sent"
        with engine_for("warehouse").begin() as connection:
            connection.exec_driver_sql(f"DROP TABLE ledger_{turn}")
    return {name: seconds[1:] for name, seconds in times.items()}
