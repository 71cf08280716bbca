"""A large ledger in another database than the query's, and nothing new."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.data import A_DAY, ACCOUNT, RANDOM, SEQUENTIAL, URL, fill
from dev.benchmarks.memory import peak
from dev.benchmarks.rounds import worse_of_two
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Measured, Row, at_most
from dev.benchmarks.wire import wire
from dev.benchmarks.work import INCREMENTAL, SQL, WHAT_IS_NEW, execute

#: What both sides are read with by hand, without comparing anything.
LEDGER_SIDE = f"SELECT event_id, outcome, row_amount FROM firstpromoter_refunds WHERE account = '{ACCOUNT}'"
#: Rows that a server-side cursor fetches at once, as the provider does.
FETCH = 2000
SMALL = 1000
#: In MiB: flat.
FLAT = 25.0
#: Of the rows that cross the network when everything is read.
SHARE = 0.01


def rows(stage: Stage, sizes: Sizes) -> Measured:
    """Measure whole runs in which every refund of the query is settled in a ledger elsewhere."""
    found = []
    for kind, event_id, target in (("sequential", SEQUENTIAL, 2.0), ("random", RANDOM, 3.0)):
        names = [f"{kind}_warehouse", f"{kind}_ledger"]
        warehouse, ledger = map(stage.postgresql, names)
        connections = {
            "firstpromoter_default": firstpromoter(URL, ledger_conn_id="ledger"),
            "warehouse": warehouse,
            "ledger": ledger,
        }
        measured(stage, fill, connections, settled=sizes.ledger, new=0, event_id=event_id)
        times = measured(stage, whole_runs, connections, rounds=2 * sizes.repeats)
        few = measured(stage, peak_of_run, connections, sql=f"{SQL} WHERE n <= {SMALL}")
        many = measured(stage, peak_of_run, connections, sql=SQL)
        crossed = measured(stage, crossing, connections) if kind == "sequential" else None
        for name in names:
            stage.drop_postgresql(name)
        one = worse_of_two(times["ours"], times["by_hand"])
        grown = many - few
        missed = [at_most(one.ratio, target), at_most(grown, FLAT, " MiB")]
        found.append(
            Row(
                f"whole run with nothing new, {sizes.ledger:,} recorded, {kind} ids, ledger in another database",
                f"{one.ours:.2f} s ({sizes.ledger / one.ours:,.0f} rows/s)",
                f"reading both sides once by hand: {one.against:.2f} s",
                f"{one.ratio:.2f} times; peak memory {grown:+.0f} MiB",
                f"at most {target:g}; memory flat",
                " and ".join(filter(None, missed)),
                f"{one.both}, each the median of {sizes.repeats} rounds in turns in one process. By hand reads the "
                f"query and three columns of the ledger through server-side cursors, {FETCH:,} rows at a time, and "
                f"compares nothing. Memory is the peak of a process that reads all of it, {many:.0f} MiB, without "
                f"that of one whose query has {SMALL:,} rows; flat is within {FLAT:.0f} MiB.",
            )
        )
        if crossed is not None:
            found.append(_crossing(sizes, crossed))
    return Measured(found)


def _crossing(sizes: Sizes, crossed: dict[str, list[float]]) -> Row:
    (rows, size, seconds), (all_rows, all_size, all_seconds) = crossed["since"], crossed["all"]
    share = rows / all_rows
    return Row(
        f"rows that cross the network, incremental, nothing new, {sizes.ledger:,} recorded, ledger in another database",
        f"{rows:,.0f} rows, {size / 2**20:.2f} MiB ({seconds:.2f} s)",
        f"a run that reads everything: {all_rows:,.0f} rows, {all_size / 2**20:.0f} MiB ({all_seconds:.2f} s)",
        f"{share:.4f} times",
        f"at most {SHARE}",
        at_most(share, SHARE),
        f"Measured once, by a relay between the process and both databases that counts what they send; {A_DAY:,} "
        "refunds a day and the default lookback of three days. Of both sides: the query's rows, and the ledger's.",
    )


def crossing() -> dict[str, list[float]]:
    """Count what the databases send in a run that reads everything, and in one that reads what is new."""
    found: dict[str, list[float]] = {}
    host = json.loads(os.environ["AIRFLOW_CONN_LEDGER"])["host"]
    with wire(host) as one:
        for conn_id in ("WAREHOUSE", "LEDGER"):
            fields = json.loads(os.environ[f"AIRFLOW_CONN_{conn_id}"])
            os.environ[f"AIRFLOW_CONN_{conn_id}"] = json.dumps({**fields, "host": one.folder})
        for expected in ("all", "since"):
            before, started = (one.rows, one.bytes), time.perf_counter()
            summary = execute(INCREMENTAL, **WHAT_IS_NEW)
            assert summary["read"].startswith(expected), summary["read"]
            seconds = time.perf_counter() - started
            found[expected] = [one.rows - before[0], one.bytes - before[1], seconds]
    return found


def whole_runs(rounds: int) -> dict[str, list[float]]:
    """Measure both in turns; a first round, which fills the caches, does not count."""
    times: dict[str, list[float]] = {"ours": [], "by_hand": []}
    for _ in range(rounds + 1):
        started = time.perf_counter()
        read = [_read(conn_id, sql) for conn_id, sql in (("warehouse", SQL), ("ledger", LEDGER_SIDE))]
        times["by_hand"].append(time.perf_counter() - started)
        started = time.perf_counter()
        summary = execute()
        times["ours"].append(time.perf_counter() - started)
        assert read[0] == read[1], read
        assert summary["sent"] == 0, f"{summary['sent']} sent"
    return {name: seconds[1:] for name, seconds in times.items()}


def peak_of_run(sql: str) -> float:
    """Return the peak memory in MiB of a process with one run."""
    execute(sql)
    return peak()


def _read(conn_id: str, sql: str) -> int:
    """Return the number of rows, after reading all of them."""
    from contextlib import closing

    from airflow.providers.postgres.hooks.postgres import PostgresHook

    count = 0
    connection: Any = PostgresHook(conn_id).get_conn()
    with closing(connection), connection.cursor(name="by_hand") as cursor:
        cursor.execute(sql)
        while read := cursor.fetchmany(FETCH):
            count += len(read)
    return count
