"""A large ledger and few or no new refunds, with the ledger in the database of the query."""

from __future__ import annotations

import statistics
import time

from dev.airflow import Connections
from dev.benchmarks.child import measured
from dev.benchmarks.data import A_DAY, ACCOUNT, URL, fill, forget_sent
from dev.benchmarks.plot import Curve
from dev.benchmarks.rounds import Compared, worse_of_two
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Measured, Row, at_most
from dev.benchmarks.work import INCREMENTAL, SQL, WHAT_IS_NEW, CannedResponses, execute

#: The query that one would write by hand for such a table, if its amounts were known to be right.
BY_HAND = f"""
    SELECT r.id AS event_id, r.amount, r.currency, r.customer_id AS uid
    FROM refunds r
    LEFT JOIN firstpromoter_refunds l ON l.account = '{ACCOUNT}' AND l.event_id = r.id
    WHERE l.event_id IS NULL AND r.n <= %s
"""
#: Times the bare anti-join, for ledgers of a million rows and more; in smaller ones the fixed costs of a run decide.
TARGET = 1.6
#: Of a run that reads what is new: times the same with the smallest ledger, and of a run that reads everything.
FLAT, SHARE = 1.3, 0.1
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
    times = {size: _nothing_new(stage, sizes, size) for size in (sizes.ledger // 10, sizes.ledger, sizes.largest)}
    found = {size: worse_of_two(one["ours"], one["by_hand"]) for size, one in times.items()}
    new = {size: statistics.median(one["what_is_new"]) for size, one in times.items()}
    of_unmatched = _nothing_new(stage, sizes, sizes.ledger, unmatched="mod(n, 5) > 0")
    unmatched = worse_of_two(of_unmatched["ours"], of_unmatched["by_hand"])
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
    rows += _incremental(new, found)
    lines = {
        "whole run": [(float(size), one.ours) for size, one in found.items()],
        "bare anti-join by hand": [(float(size), one.against) for size, one in found.items()],
        "whole run, incremental": [(float(size), seconds) for size, seconds in new.items()],
    }
    title = "A run with nothing new, ledger in the same PostgreSQL"
    curve = Curve("nothing-new", title, "settled refunds in the ledger", "seconds", lines, logarithmic=True)
    return Measured(rows, [curve])


def _incremental(new: dict[int, float], full: dict[int, Compared]) -> list[Row]:
    smallest, largest = min(new), max(new)
    note = (
        f"The median of the same rounds in the same process, with an index on loaded_at, {A_DAY:,} refunds a day and "
        "the default lookback of three days: only the history grows."
    )
    grown, share = new[largest] / new[smallest], new[largest] / full[largest].ours
    return [
        Row(
            f"whole run with nothing new, incremental, {largest:,} recorded refunds",
            f"{new[largest]:.2f} s",
            f"the same with {smallest:,}: {new[smallest]:.2f} s",
            f"{grown:.2f} times",
            f"at most {FLAT}",
            at_most(grown, FLAT),
            note,
        ),
        Row(
            f"whole run with nothing new, incremental, {largest:,} recorded refunds",
            f"{new[largest]:.2f} s",
            f"a run that reads everything: {full[largest].ours:.2f} s",
            f"{share:.3f} times",
            f"at most {SHARE}",
            at_most(share, SHARE),
            note,
        ),
    ]


def _nothing_new(stage: Stage, sizes: Sizes, size: int, unmatched: str = "false") -> dict[str, list[float]]:
    if size == sizes.ledger and unmatched == "false":
        connections = large_ledger(stage, sizes)
    else:
        connections = {"firstpromoter_default": firstpromoter(URL), "warehouse": stage.postgresql("nothing_new")}
        measured(stage, fill, connections, settled=size, new=0, unmatched=unmatched)
    times: dict[str, list[float]] = measured(stage, whole_runs, connections, settled=size, rounds=4 * sizes.repeats)
    stage.drop_postgresql("nothing_new")
    return times


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
    """Measure all in turns; a first round, which fills the caches and has to read everything, does not count."""
    times: dict[str, list[float]] = {"ours": [], "by_hand": [], "what_is_new": []}
    for turn in range(rounds + 1):
        times["by_hand"].append(_by_hand(settled, expected=0))
        for name, sql, options in (("ours", SQL, {}), ("what_is_new", INCREMENTAL, WHAT_IS_NEW)):
            started = time.perf_counter()
            summary = execute(f"{sql} WHERE n <= {settled}", **options)
            times[name].append(time.perf_counter() - started)
            assert summary["sent"] == 0, f"{summary['sent']} sent"
            assert (summary["read"] == "all") == (turn == 0 or name == "ours"), summary["read"]
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
