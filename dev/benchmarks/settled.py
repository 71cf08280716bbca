"""A large ledger and a few new refunds: the time until the first request is sent."""

from __future__ import annotations

import statistics
import time
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.memory import peak
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Row, at_most
from dev.benchmarks.work import SQL, CannedResponses, execute
from dev.sandbox import ACCOUNT_ID

#: Nothing listens there; see CannedResponses.
URL = "http://127.0.0.1:9/api/v2"
ACCOUNT = f"{ACCOUNT_ID}@127.0.0.1:9"
#: The query that one would write by hand for such a table, if its amounts were known to be right.
BY_HAND = f"""
    SELECT r.id AS event_id, r.amount, r.currency, r.customer_id AS uid
    FROM refunds r
    LEFT JOIN firstpromoter_refunds l ON l.account = '{ACCOUNT}' AND l.event_id = r.id
    WHERE l.event_id IS NULL
"""
SMALL = 1000


def same_database_row(stage: Stage, sizes: Sizes) -> Row:
    warehouse = stage.postgresql("settled")
    connections = {"firstpromoter_default": firstpromoter(URL), "warehouse": warehouse}
    measured(stage, fill, connections, recorded=sizes.recorded, new=sizes.new)
    times = measured(stage, side_by_side, connections, new=sizes.new, repeats=sizes.repeats)
    ours, by_hand = statistics.median(times["ours"]), statistics.median(times["by_hand"])
    ratio = ours / by_hand
    return Row(
        f"{sizes.recorded:,} recorded and {sizes.new} new on PostgreSQL: time to the first request",
        f"{ours:.2f} s",
        f"the bare SQL anti-join by hand: {by_hand:.2f} s",
        f"{ratio:.2f} times",
        "at most 2",
        at_most(ratio, 2),
        f"medians of {sizes.repeats}, in turns in one process: provider {_spread(times['ours'])}, by hand "
        f"{_spread(times['by_hand'])}. By hand ends when PostgresHook.get_records has the rows. The provider's "
        "join also compares every amount, and its rows have passed the spool and a second look-up by then.",
    )


def other_database_row(stage: Stage, sizes: Sizes) -> Row:
    warehouse, ledger = stage.postgresql("elsewhere"), stage.postgresql("elsewhere_ledger")
    connections = {
        "firstpromoter_default": firstpromoter(URL, ledger_conn_id="ledger"),
        "warehouse": warehouse,
        "ledger": ledger,
    }
    measured(stage, fill, connections, recorded=sizes.recorded, new=sizes.new)
    small = measured(stage, first_request, connections, sql=f"{SQL} WHERE n <= {SMALL} OR n > {sizes.recorded}")
    large = measured(stage, first_request, connections, sql=SQL)
    grown = large["peak"] - small["peak"]
    return Row(
        "the same with the ledger in another database",
        f"{large['seconds']:.1f} s ({sizes.recorded / large['seconds']:,.0f} rows/s)",
        "-",
        f"peak {large['peak']:.0f} MiB, {grown:+.0f} MiB compared with {SMALL:,} recorded",
        "reported; memory flat",
        at_most(grown, 25, " MiB"),
        "measured once. Every row is read and compared with the ledger outside of the databases. Flat means within "
        "25 MiB.",
    )


def fill(recorded: int, new: int) -> None:
    """Create the warehouse, and insert all but the new refunds into the ledger, with the columns that a run writes."""
    from airflow_provider_firstpromoter.database.engine import engine_for
    from airflow_provider_firstpromoter.hooks import FirstPromoterHook
    from airflow_provider_firstpromoter.ledger import RefundLedger

    with engine_for("warehouse").begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE refunds AS SELECT n, 're_' || n AS id, 100 + mod(n, 5000) AS amount, 'usd' AS currency, "
            f"'cus_' || n AS customer_id FROM generate_series(1, {recorded + new}) n"
        )
        connection.exec_driver_sql("ALTER TABLE refunds ADD PRIMARY KEY (id)")
    account = FirstPromoterHook().account
    assert account.key == ACCOUNT
    ledger = RefundLedger.required(account)
    ledger.ensure()
    details = (
        '{"event_id":"re_1","outcome":"recorded","sent":true,"http_status":200,"recorded_amount":-1999,"refund_id":1,'
        '"reward":{"id":1,"status":"pending","amount":-400,"unit":"cash","created_at":"2026-01-01T00:00:00Z"},'
        '"lead":{"id":1,"state":"customer"},"promoter":{"id":1,"status":"active","default_ref_id":"ref1"},"message":null}'
    )
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO firstpromoter_refunds (account, event_id, outcome, http_status, row_amount, sent_amount, "
            "sent_currency, recorded_amount, refund_id, reward_id, reward_status, reward_amount, reward_unit, "
            "promoter_id, lead_id, details, fingerprint, dag_id, run_id, task_id, map_index, first_sent_at, "
            "last_sent_at) "
            "SELECT %s, 're_' || n, 'recorded', 200, (100 + mod(n, 5000))::text, 100 + mod(n, 5000), "
            "'USD', -100 - mod(n, 5000), n, n, 'pending', -20, 'cash', "
            "mod(n, 100), n, %s, md5(n::text), 'refunds', 'scheduled__2026-01-01T00:00:00+00:00', 'sync', -1, now(), "
            "now() FROM generate_series(1, %s) n",
            (ACCOUNT, details, recorded),
        )
    for conn_id in ("warehouse", ledger.name):
        with engine_for(conn_id).connect() as connection:
            # As autovacuum does after a while.
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")


def side_by_side(new: int, repeats: int) -> dict[str, list[float]]:
    """Measure both in turns; a first round, which fills the caches, does not count."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    from airflow_provider_firstpromoter.database.engine import engine_for

    canned = CannedResponses()
    canned.install()
    times: dict[str, list[float]] = {"ours": [], "by_hand": []}
    for _ in range(repeats + 1):
        started = time.perf_counter()
        rows = PostgresHook("warehouse").get_records(BY_HAND)
        times["by_hand"].append(time.perf_counter() - started)
        assert len(rows) == new, f"{len(rows)} rows by hand"
        canned.first_request = None
        started = time.perf_counter()
        summary = execute()
        assert canned.first_request is not None
        times["ours"].append(canned.first_request - started)
        assert summary["sent"] == new, f"{summary['sent']} sent"
        with engine_for("warehouse").begin() as connection:
            connection.exec_driver_sql("DELETE FROM firstpromoter_refunds WHERE outcome = 'not_referred'")
    return {name: seconds[1:] for name, seconds in times.items()}


def first_request(sql: str) -> dict[str, Any]:
    """Return the seconds until the first request, and the peak memory in MiB."""
    from airflow_provider_firstpromoter.database.engine import engine_for

    canned = CannedResponses()
    canned.install()
    started = time.perf_counter()
    execute(sql)
    assert canned.first_request is not None
    seconds = canned.first_request - started
    with engine_for("ledger").begin() as connection:
        connection.exec_driver_sql("DELETE FROM firstpromoter_refunds WHERE outcome = 'not_referred'")
    return {"seconds": seconds, "peak": peak()}


def _spread(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f} s"
