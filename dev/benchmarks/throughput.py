"""The rate at which refunds are sent if the API is slow, or if its limit is reached."""

from __future__ import annotations

import json
import time
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.plot import Curve
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Measured, Row, at_least
from dev.benchmarks.work import SQL, execute, fill_sqlite
from dev.sandbox import HEADERS

#: Of a response, in seconds.
LATENCY = 0.1
#: The latency of each response is a random number of seconds between 0 and this.
JITTER = 0.3
#: FirstPromoter's limit, in requests a window.
LIMIT = 400
#: The share of the limit that is to be reached.
TARGET = 0.995


def latency_row(stage: Stage, sizes: Sizes) -> Measured:
    """Compare the operator with a loop of single requests."""
    warehouse = stage.folder / "latency.db"
    rows = fill_sqlite(warehouse, sizes.slow)
    with stage.sandbox("--requests-per-minute", "0") as sandbox:
        sandbox.add_leads({"uid": row["customer_id"]} for row in rows[::2])
        sandbox.delay_responses(LATENCY)
        connections = {
            "firstpromoter_default": firstpromoter(sandbox.base_url),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse)},
            "firstpromoter_http": {"conn_type": "http", "host": sandbox.base_url},
        }
        # The loop sends the same event_ids, to which the sandbox would respond with 409 if it were not reset.
        ours = measured(stage, timed_operator, connections)
        _expect(sandbox.refund_requests(), sizes.slow)
        sandbox.reset()
        sandbox.add_leads({"uid": row["customer_id"]} for row in rows[::2])
        sandbox.delay_responses(LATENCY)
        loop = measured(stage, timed_loop, connections)
        _expect(sandbox.refund_requests(), sizes.slow)
    ratio = loop / ours
    row = Row(
        f"{sizes.slow:,} refunds, unlimited API with 100 ms latency",
        f"{ours:.1f} s ({sizes.slow / ours:.0f}/s)",
        f"loop over HttpHook.run: {loop:.1f} s ({sizes.slow / loop:.1f}/s)",
        f"{ratio:.1f} times faster",
        "6 times",
        at_least(ratio, 6),
        "measured once each, one after the other. The provider's time includes the query, the spool, the ledger and "
        "the summary; max_in_flight is the default (8). Half of the customers were referred.",
    )
    return Measured([row])


def rate_row(stage: Stage, sizes: Sizes) -> Measured:
    """Compare the rate with the limit of the sandbox, which also counts the requests and has the clock."""
    size = sizes.windows * LIMIT
    warehouse = stage.folder / "rate.db"
    # One more than the limit allows in these windows: when it comes, the windows are used up.
    rows = fill_sqlite(warehouse, size + 1)
    with stage.sandbox("--requests-per-minute", str(LIMIT), "--window-seconds", str(sizes.window)) as sandbox:
        sandbox.add_leads({"uid": row["customer_id"]} for row in rows[::2])
        sandbox.delay_responses(0, JITTER)
        connections = {
            "firstpromoter_default": firstpromoter(sandbox.base_url, requests_per_minute=LIMIT),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse)},
        }
        measured(stage, limited_operator, connections, window=sizes.window)
        times = sandbox.request_times()
        seen = sandbox.refund_requests()
    refused = sum(request["status"] == 429 for request in seen)
    span = times[size] - times[0]
    share = sizes.windows * sizes.window / span
    missed = [at_least(100 * share, 100 * TARGET, "%"), f"{refused} responses of 429" if refused else ""]
    row = Row(
        f"sustained rate at {LIMIT} per {sizes.window} s, jitter 0 to {1000 * JITTER:.0f} ms, {sizes.windows} windows",
        f"{size:,} requests in {span:.1f} s, {refused} responses of 429",
        f"the limit itself: {sizes.windows * sizes.window} s",
        f"{share:.2%} of the limit",
        f"{TARGET:.1%}, no 429",
        " and ".join(filter(None, missed)),
        f"counted by the sandbox, measured once: the time from the first request until the one after the {size:,}th, "
        f"which no client within the limit can send earlier. The busiest {sizes.window} s had "
        f"{busiest(times, sizes.window)} requests on arrival; the sandbox counts a request when its latency is over.",
    )
    lines = {
        "requests sent": [(at - times[0], float(number)) for number, at in enumerate(times, 1)],
        "the limit's average": [(0.0, 0.0), (span, LIMIT * span / sizes.window)],
    }
    title = f"Requests of one account at {LIMIT} per {sizes.window} s, jitter of 0 to {1000 * JITTER:.0f} ms"
    return Measured([row], [Curve("rate", title, "seconds", "requests so far", lines)])


def timed_operator() -> float:
    """Return the seconds that the operator takes."""
    import airflow_provider_firstpromoter.sync.run  # noqa: F401  # imports are measured by another row

    started = time.perf_counter()
    execute()
    return time.perf_counter() - started


def timed_loop() -> float:
    """Return the seconds that a loop takes with one request for each row of the query."""
    from airflow.providers.http.hooks.http import HttpHook
    from airflow.providers.sqlite.hooks.sqlite import SqliteHook

    started = time.perf_counter()
    warehouse = SqliteHook("warehouse")  # type: ignore[no-untyped-call]
    hook = HttpHook("POST", http_conn_id="firstpromoter_http")
    for event_id, amount, currency, uid in warehouse.get_records(SQL):
        body = {"event_id": event_id, "amount": str(amount), "currency": currency, "uid": uid}
        hook.run("track/refund", json.dumps(body), HEADERS, extra_options={"check_response": False})
    return time.perf_counter() - started


def limited_operator(window: float, sql: str = SQL, **parameters: Any) -> dict[str, Any]:
    """Run the operator with a rate limit for so many seconds; a minute is the real one."""
    from airflow_provider_firstpromoter.api import rate_limit

    rate_limit.WINDOW *= window / 60
    return execute(sql, **parameters)


def busiest(times: list[float], window: float) -> int:
    """Return the largest number of requests in any window."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def _expect(requests: list[dict[str, Any]], size: int) -> None:
    settled = sum(request["status"] in (200, 404) for request in requests)
    assert settled == len(requests) == size, f"{settled} of {len(requests)} requests were settled"
