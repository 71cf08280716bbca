"""A large ledger and few or no new refunds, with the ledger in the database of the query."""

from __future__ import annotations

import time

from dev.airflow import Connections
from dev.benchmarks.child import measured
from dev.benchmarks.data import ACCOUNT, URL, fill, forget_sent
from dev.benchmarks.plot import Curve
from dev.benchmarks.rounds import Compared, worse_of_two
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Measured, Row, at_most
from dev.benchmarks.work import SQL, CannedResponses, execute

#: The query that one would write by hand for such a table, if its amounts were known to be right.
BY_HAND = f"""
    SELECT r.id AS event_id, r.amount, r.currency, r.customer_id AS uid
    FROM refunds r
    LEFT JOIN firstpromoter_refunds l ON l.account = '{ACCOUNT}' AND l.event_id = r.id
    WHERE l.event_id IS NULL AND r.n <= %s
"""
#: Times the bare anti-join, for ledgers of a million rows and more; in smaller ones the fixed costs of a run decide.
TARGET = 1.6
NEW = 100


def large_ledger(stage: Stage, sizes: Sizes) -> Connections:
    """Return connections to a large ledger, and a warehouse with :data:`NEW` refunds more; filled once."""
    is_filled = stage.has_postgresql("large_ledger")
    connections = {"firstpromoter_default": firstpromoter(URL), "warehouse": stage.postgresql("large_ledger")}
    if not is_filled:
        measured(stage, fill, connections, settled=sizes.ledger, new=NEW)
    return connections


def nothing_new(stage: Stage, sizes: Sizes) -> Measured:
    """Measure whole runs in which every refund of the query is settled."""
    found = {size: _nothing_new(stage, sizes, size) for size in (sizes.ledger // 10, sizes.ledger, sizes.largest)}
    unmatched = _nothing_new(stage, sizes, sizes.ledger, unmatched="mod(n, 5) > 0")
    rows = [
        Row(
            f"whole run with nothing new, {size:,} recorded refunds, ledger in the same PostgreSQL",
            f"{one.ours:.2f} s",
            f"the bare anti-join by hand: {one.against:.2f} s",
            f"{one.ratio:.2f} times",
            f"at most {TARGET}" if size >= 1_000_000 else "-",
            at_most(one.ratio, TARGET) if size >= 1_000_000 else "",
            f"{one.both}, each the median of {2 * sizes.repeats} rounds in turns in one process. The run is that of "
            "the operator, from reading the connections to the run history's last row, and its join also compares "
            "every amount; by hand is PostgresHook.get_records.",
        )
        for size, one in found.items()
    ]
    rows.append(
        Row(
            f"the same, {sizes.ledger:,} settled refunds, four of five without a referral",
            f"{unmatched.ours:.2f} s",
            f"the bare anti-join by hand: {unmatched.against:.2f} s",
            f"{unmatched.ratio:.2f} times",
            "-",
            "",
            f"{unmatched.both}, as above. A refund without a referral is sent again when any column of its row has "
            "changed, so the database computes a hash of each such row, which the bare anti-join does not.",
        )
    )
    lines = {
        "whole run": [(float(size), one.ours) for size, one in found.items()],
        "bare anti-join by hand": [(float(size), one.against) for size, one in found.items()],
    }
    title = "A run with nothing new, ledger in the same PostgreSQL"
    curve = Curve("nothing-new", title, "settled refunds in the ledger", "seconds", lines, logarithmic=True)
    return Measured(rows, [curve])


def _nothing_new(stage: Stage, sizes: Sizes, size: int, unmatched: str = "false") -> Compared:
    if size == sizes.ledger and unmatched == "false":
        connections = large_ledger(stage, sizes)
    else:
        connections = {"firstpromoter_default": firstpromoter(URL), "warehouse": stage.postgresql("nothing_new")}
        measured(stage, fill, connections, settled=size, new=0, unmatched=unmatched)
    times = measured(stage, whole_runs, connections, settled=size, rounds=4 * sizes.repeats)
    stage.drop_postgresql("nothing_new")
    return worse_of_two(times["ours"], times["by_hand"])


def few_new(stage: Stage, sizes: Sizes) -> Measured:
    """Measure how long it takes until the first of a few new refunds is sent."""
    connections = large_ledger(stage, sizes)
    times = measured(stage, first_requests, connections, size=sizes.ledger + NEW, rounds=2 * sizes.repeats)
    one = worse_of_two(times["ours"], times["by_hand"])
    row = Row(
        f"{sizes.ledger:,} recorded and {NEW} new on PostgreSQL: time to the first request",
        f"{one.ours:.2f} s",
        f"the bare anti-join by hand: {one.against:.2f} s",
        f"{one.ratio:.2f} times",
        "at most 2",
        at_most(one.ratio, 2),
        f"{one.both}, each the median of {sizes.repeats} rounds in turns in one process. By then, the provider's rows "
        "have passed the spool and a second look-up.",
    )
    return Measured([row])


def whole_runs(settled: int, rounds: int) -> dict[str, list[float]]:
    """Measure both in turns; a first round, which fills the caches, does not count."""
    times: dict[str, list[float]] = {"ours": [], "by_hand": []}
    for _ in range(rounds + 1):
        times["by_hand"].append(_by_hand(settled, expected=0))
        started = time.perf_counter()
        summary = execute(f"{SQL} WHERE n <= {settled}")
        times["ours"].append(time.perf_counter() - started)
        assert summary["sent"] == 0, f"{summary['sent']} sent"
    return {name: seconds[1:] for name, seconds in times.items()}


def first_requests(size: int, rounds: int) -> dict[str, list[float]]:
    """Measure both in turns; a first round, which fills the caches, does not count."""
    canned = CannedResponses()
    canned.install()
    times: dict[str, list[float]] = {"ours": [], "by_hand": []}
    for _ in range(rounds + 1):
        times["by_hand"].append(_by_hand(size, expected=NEW))
        canned.first_request = None
        started = time.perf_counter()
        summary = execute(f"{SQL} WHERE n <= {size}")
        assert canned.first_request is not None
        times["ours"].append(canned.first_request - started)
        assert summary["sent"] == NEW, f"{summary['sent']} sent"
        forget_sent()
    return {name: seconds[1:] for name, seconds in times.items()}


def _by_hand(size: int, expected: int) -> float:
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    started = time.perf_counter()
    rows = PostgresHook("warehouse").get_records(BY_HAND, (size,))
    seconds = time.perf_counter() - started
    assert len(rows) == expected, f"{len(rows)} rows by hand"
    return seconds
