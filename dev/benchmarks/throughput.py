"""How fast refunds go out, where the API's answers take their time or its limit is near."""

from __future__ import annotations

import json
import time
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import HEADERS, Stage
from dev.benchmarks.table import Row, at_least
from dev.benchmarks.work import SQL, execute, fill_sqlite

#: Seconds.
LATENCY = 0.1
#: A tenth of FirstPromoter's minute: ten times its rate, and so harder to keep up with.
LIMIT, WINDOW = 400, 6.0


def latency_row(stage: Stage, sizes: Sizes) -> Row:
    warehouse = stage.folder / "latency.db"
    rows = fill_sqlite(warehouse, sizes.slow)
    with stage.sandbox("--requests-per-minute", "0") as sandbox:
        sandbox.learn([row["customer_id"] for row in rows[::2]])
        sandbox.delay(LATENCY)
        connections = {
            "firstpromoter_default": sandbox.connection(),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse)},
            "firstpromoter_http": {"conn_type": "http", "host": sandbox.url},
        }
        # The loop goes second and under the same event_ids again would be told 409: so it gets a fresh sandbox world.
        ours = measured(stage, timed_operator, connections)
        _expect(sandbox.requests(), sizes.slow)
        sandbox.reset()
        sandbox.learn([row["customer_id"] for row in rows[::2]])
        sandbox.delay(LATENCY)
        loop = measured(stage, timed_loop, connections)
        _expect(sandbox.requests(), sizes.slow)
    ratio = loop / ours
    return Row(
        f"{sizes.slow:,} refunds, unlimited API with 100 ms latency",
        f"{ours:.1f} s ({sizes.slow / ours:.0f}/s)",
        f"loop over HttpHook.run: {loop:.1f} s ({sizes.slow / loop:.1f}/s)",
        f"{ratio:.1f} times faster",
        "6 times",
        at_least(ratio, 6),
        "each once, one after the other; the provider's time has the query, the spool, the ledger and the recount in "
        "it, max_in_flight is the default (8). Half of the refunds belong to a referral.",
    )


def rate_row(stage: Stage, sizes: Sizes) -> Row:
    """The limit is the sandbox's, and so are clock and count."""
    span = sizes.windows * WINDOW
    allowed = sizes.windows * LIMIT
    warehouse = stage.folder / "rate.db"
    # More than fit: a run that comes to its end in time would prove nothing.
    rows = fill_sqlite(warehouse, allowed + LIMIT)
    with stage.sandbox("--requests-per-minute", str(LIMIT), "--window-seconds", str(WINDOW)) as sandbox:
        sandbox.learn([row["customer_id"] for row in rows[::2]])
        sandbox.delay(LATENCY)
        connections = {
            "firstpromoter_default": sandbox.connection(requests_per_minute=LIMIT),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse)},
        }
        measured(stage, paced_operator, connections, window=WINDOW)
        times = sandbox.request_times()
        seen = sandbox.requests()
    sent = sum(at < times[0] + span for at in times)
    refused = sum(request["status"] == 429 for request in seen)
    share = sent / allowed
    return Row(
        f"sustained rate at {LIMIT} per {WINDOW:.0f} s, 100 ms latency, {sizes.windows} windows",
        f"{sent:,} requests in {span:.0f} s, {refused} answers of 429",
        f"the limit itself: {allowed:,} requests",
        f"{share:.1%} of the limit",
        "98%, no 429",
        " and ".join(filter(None, [at_least(100 * share, 98, "%"), f"{refused} answers of 429" if refused else ""])),
        "counted by the sandbox from the first request on; a tenth of FirstPromoter's window with the same limit, so "
        f"ten times its rate. Busiest {WINDOW:.0f} s of all: {_busiest(times)}. The client keeps a window one percent "
        "longer than the API's, which bounds this at 99% in the long run.",
    )


def timed_operator() -> float:
    import airflow_provider_firstpromoter.sync.from_query  # noqa: F401  # imports are another row's business

    started = time.perf_counter()
    execute()
    return time.perf_counter() - started


def timed_loop() -> float:
    """What one would write: the query, and a request for each of its rows."""
    from airflow.providers.http.hooks.http import HttpHook
    from airflow.providers.sqlite.hooks.sqlite import SqliteHook

    started = time.perf_counter()
    warehouse = SqliteHook("warehouse")  # type: ignore[no-untyped-call]
    hook = HttpHook("POST", http_conn_id="firstpromoter_http")
    for event_id, amount, currency, uid in warehouse.get_records(SQL):
        body = {"event_id": event_id, "amount": str(amount), "currency": currency, "uid": uid}
        hook.run("track/refund", json.dumps(body), HEADERS, extra_options={"check_response": False})
    return time.perf_counter() - started


def paced_operator(window: float) -> dict[str, Any]:
    from airflow_provider_firstpromoter.api import rate_limit

    rate_limit.WINDOW *= window / 60
    return execute()


def _busiest(times: list[float]) -> int:
    """The most requests in any window."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - WINDOW:
            first += 1
        most = max(most, last - first + 1)
    return most


def _expect(requests: list[dict[str, Any]], size: int) -> None:
    settled = sum(request["status"] in (200, 404) for request in requests)
    assert settled == len(requests) == size, f"{settled} of {len(requests)} requests were answered as they should be"
