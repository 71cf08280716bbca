"""
Many accounts at once, as CeleryExecutor runs them: one worker forks a process for each account's task.

Redis and Airflow's scheduler are left out: what is in question is whether the tasks hold each other up (one ledger, one
machine) while each uses up the limit of its own account.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

from airflow_provider_firstpromoter.calls import REFUND
from dev.benchmarks.child import measured
from dev.benchmarks.plot import Curve
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage
from dev.benchmarks.table import Measured, Row, at_least
from dev.benchmarks.throughput import JITTER, LIMIT, limited_operator
from dev.sandbox import firstpromoter_connection

#: The share of the limits that is to be reached: a part less than one account alone, because all share one machine.
TARGET = 0.99
SQL = "SELECT event_id, amount, currency, uid FROM refunds WHERE account = %(account)s"


def row(stage: Stage, sizes: Sizes) -> Measured:
    """Compare the rate of all accounts together with the sum of their limits."""
    names = [f"account-{number}" for number in range(sizes.accounts)]
    size = sizes.account_windows * LIMIT
    limits = ("--requests-per-minute", str(LIMIT), "--window-seconds", str(sizes.window))
    with stage.sandbox(*(f"--account={name}:key-of-{name}" for name in names), *limits) as sandbox:
        sandbox.delay_responses(0, JITTER)
        connections = {
            **{
                _conn_id(name): firstpromoter_connection(
                    sandbox.base_url, name, f"key-of-{name}", requests_per_minute=LIMIT
                )
                for name in names
            },
            "warehouse": stage.postgresql("accounts"),
        }
        # One refund more than the limit allows in these windows: when it comes, the windows are used up.
        run = measured(stage, all_at_once, connections, names=names, size=size + 1, window=sizes.window)
        times = {name: sandbox.request_times(name) for name in names}
        refused = sandbox.request_counts()["POST /api/v2/track/refund"].get("429", 0)
    stage.drop_postgresql("accounts")
    shares = sorted(sizes.account_windows * sizes.window / (at[size] - at[0]) for at in times.values())
    share = sum(shares) / len(shares)
    missed = [at_least(100 * share, 100 * TARGET, "%"), f"{refused} responses of 429" if refused else ""]
    row = Row(
        f"{sizes.accounts} accounts at once, {sizes.account_windows} window of {LIMIT} per {sizes.window} s each",
        f"{size * len(names):,} refunds, {60 * share * LIMIT * len(names) / sizes.window:,.0f} a minute, "
        f"{refused} responses of 429",
        f"the sum of their limits: {60 * LIMIT * len(names) / sizes.window:,.0f} a minute",
        f"{share:.2%} of the limits",
        f"{TARGET:.1%}, no 429",
        " and ".join(filter(None, missed)),
        f"counted by the sandbox, measured once, as in the row of one account; the slowest had {shares[0]:.2%}. "
        f"{sizes.accounts} processes, forked from one as CeleryExecutor's worker does, each with one account and its "
        f"rate limit, all with one PostgreSQL for refunds and ledger. Jitter of 0 to {1000 * JITTER:.0f} ms. Together "
        f"they used {run['cpu']:.0f} s of processor time and {run['memory']:.0f} MiB (the largest "
        f"one's peak: {run['peak']:.0f} MiB).",
    )
    every = sorted(at for one in times.values() for at in one)
    span = every[-1] - every[0]
    lines = {
        "refunds sent": [(at - every[0], float(number)) for number, at in enumerate(every, 1)],
        "average of the limits": [(0.0, 0.0), (span, len(names) * LIMIT * span / sizes.window)],
    }
    title = f"Refunds of {sizes.accounts} accounts at once, each at {LIMIT} per {sizes.window} s"
    return Measured([row], [Curve("accounts", title, "seconds", "requests so far", lines)])


def all_at_once(names: list[str], size: int, window: float) -> dict[str, float]:
    """Send so many refunds of each account, and return the processor time (seconds) and the memory (MiB)."""
    import resource

    import psutil

    # What a worker of Celery has imported before it forks.
    import airflow_provider_firstpromoter.sync
    import airflow_provider_firstpromoter.transfers.sql_to_firstpromoter  # noqa: F401
    from airflow_provider_firstpromoter.account import Account
    from airflow_provider_firstpromoter.database.engine import engine_for
    from airflow_provider_firstpromoter.hooks import FirstPromoterHook
    from airflow_provider_firstpromoter.ledger import Ledger

    engine = engine_for("warehouse")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE refunds AS SELECT account, account || '_' || n AS event_id, 100 + n AS amount, "
            "'usd' AS currency, 'cus_' || n AS uid FROM unnest(%s::text[]) account, generate_series(1, %s) n",
            (names, size),
        )
    account: Account = FirstPromoterHook(_conn_id(names[0])).account
    with Ledger.required(account, call=REFUND) as ledger:
        ledger.ensure()
    engine.dispose()
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_send, args=(name, window)) for name in names]
    for process in processes:
        process.start()
    memory = 0.0
    while any(process.is_alive() for process in processes):
        for process in processes:
            process.join(5 / len(processes))
        # Memory that forked processes share counts once, in parts.
        memory = max(memory, sum(_share_of_memory(psutil.Process(one.pid)) for one in processes if one.is_alive()))
    assert not any(process.exitcode for process in processes), [process.exitcode for process in processes]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"cpu": used.ru_utime + used.ru_stime, "memory": memory, "peak": used.ru_maxrss / 1024}


def _send(name: str, window: float) -> None:
    limited_operator(window, sql=SQL, parameters={"account": name}, firstpromoter_conn_id=_conn_id(name))


def _share_of_memory(process: Any) -> float:
    import psutil

    try:
        return float(process.memory_full_info().pss) / 2**20
    except (psutil.Error, AttributeError):  # it has just ended, or the system does not know it
        return 0.0


def _conn_id(name: str) -> str:
    return f"firstpromoter_{name.replace('-', '_')}"
