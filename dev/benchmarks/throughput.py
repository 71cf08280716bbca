"""The rate at which refunds are sent if the API is slow, or if its limit is reached."""

from __future__ import annotations

import json
import time
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Row, at_least
from dev.benchmarks.work import SQL, execute, fill_sqlite
from dev.sandbox import HEADERS

#: Of a response, in seconds.
LATENCY = 0.1
#: FirstPromoter's limit in a tenth of its time, which is harder to use up.
LIMIT, WINDOW = 400, 6.0


def latency_row(stage: Stage, sizes: Sizes) -> Row:
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
    return Row(
        f"{sizes.slow:,} refunds, unlimited API with 100 ms latency",
        f"{ours:.1f} s ({sizes.slow / ours:.0f}/s)",
        f"loop over HttpHook.run: {loop:.1f} s ({sizes.slow / loop:.1f}/s)",
        f"{ratio:.1f} times faster",
        "6 times",
        at_least(ratio, 6),
        "measured once each, one after the other. The provider's time includes the query, the spool, the ledger and "
        "the summary; max_in_flight is the default (8). Half of the customers were referred.",
    )


def rate_row(stage: Stage, sizes: Sizes) -> Row:
    """Compare the rate with the limit of the sandbox, which also counts the requests and has the clock."""
    span = sizes.windows * WINDOW
    allowed = sizes.windows * LIMIT
    warehouse = stage.folder / "rate.db"
    # More than the limit allows, so that the run does not end before the windows do.
    rows = fill_sqlite(warehouse, allowed + LIMIT)
    with stage.sandbox("--requests-per-minute", str(LIMIT), "--window-seconds", str(WINDOW)) as sandbox:
        sandbox.add_leads({"uid": row["customer_id"]} for row in rows[::2])
        sandbox.delay_responses(LATENCY)
        connections = {
            "firstpromoter_default": firstpromoter(sandbox.base_url, requests_per_minute=LIMIT),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse)},
        }
        measured(stage, limited_operator, connections, window=WINDOW)
        times = sandbox.request_times()
        seen = sandbox.refund_requests()
    sent = sum(at < times[0] + span for at in times)
    refused = sum(request["status"] == 429 for request in seen)
    share = sent / allowed
    return Row(
        f"sustained rate at {LIMIT} per {WINDOW:.0f} s, 100 ms latency, {sizes.windows} windows",
        f"{sent:,} requests in {span:.0f} s, {refused} responses of 429",
        f"the limit itself: {allowed:,} requests",
        f"{share:.1%} of the limit",
        "98%, no 429",
        " and ".join(filter(None, [at_least(100 * share, 98, "%"), f"{refused} responses of 429" if refused else ""])),
        "counted by the sandbox from the first request on, with FirstPromoter's limit in a tenth of its time. The "
        f"busiest {WINDOW:.0f} s had {_busiest(times)} requests. The client's window is one percent longer than the "
        "API's, so that 99% is the most that is possible in the long run.",
    )


def timed_operator() -> float:
    """Return the seconds that the operator takes."""
    import airflow_provider_firstpromoter.sync.from_query  # noqa: F401  # imports are measured by another row

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


def limited_operator(window: float) -> dict[str, Any]:
    """Run the operator with a rate limit for so many seconds instead of a minute."""
    from airflow_provider_firstpromoter.api import rate_limit

    rate_limit.WINDOW *= window / 60
    return execute()


def _busiest(times: list[float]) -> int:
    """Return the largest number of requests in any window."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - WINDOW:
            first += 1
        most = max(most, last - first + 1)
    return most


def _expect(requests: list[dict[str, Any]], size: int) -> None:
    settled = sum(request["status"] in (200, 404) for request in requests)
    assert settled == len(requests) == size, f"{settled} of {len(requests)} requests were settled"
