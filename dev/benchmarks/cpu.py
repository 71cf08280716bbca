"""The processor time of the client for one refund."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.rounds import worse_of_two
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage, firstpromoter
from dev.benchmarks.table import Measured, Row, at_most
from dev.benchmarks.work import SQL, execute, fill_sqlite
from dev.sandbox import HEADERS

#: Of a response, in seconds.
LATENCY = 0.03
#: Requests in flight by default.
MANY = 8


def rows(stage: Stage, sizes: Sizes) -> Measured:
    """Compare the whole operator with bare posts, at an API that responds at once and at a slower one."""
    return Measured(
        [
            _row(stage, sizes.cpu, "no latency", 1.3, latency=0.0, rounds=2 * sizes.repeats),
            # Fewer and smaller rounds, because each side waits for each response.
            _row(stage, sizes.cpu // 10, f"{1000 * LATENCY:.0f} ms latency", 1.3, latency=LATENCY, rounds=4),
        ]
    )


def _row(stage: Stage, size: int, when: str, target: float, *, latency: float, rounds: int) -> Row:
    warehouse = stage.folder / f"cpu_{latency}.db"
    with stage.sandbox("--requests-per-minute", "0") as sandbox:
        sandbox.add_leads({"uid": f"cus_{n}"} for n in range(size))
        if latency:
            sandbox.delay_responses(latency)
        connections = {
            "firstpromoter_default": firstpromoter(sandbox.base_url),
            "warehouse": {"conn_type": "sqlite", "host": str(warehouse)},
        }
        times = measured(
            stage,
            side_by_side,
            connections,
            url=sandbox.base_url,
            warehouse=str(warehouse),
            size=size,
            rounds=rounds,
        )
    one = worse_of_two(times["ours"], times["bare"])
    many = worse_of_two(times["many"], times["bare"])
    each = 1e6 / size
    return Row(
        f"CPU per refund in the client, one in flight, {when}",
        f"{each * one.ours:.0f} µs",
        f"a bare requests.Session.post: {each * one.against:.0f} µs",
        f"{one.ratio:.2f} times",
        f"at most {target}",
        at_most(one.ratio, target),
        f"{one.both}, each the median of {rounds // 2} rounds of {size:,} in turns; process_time. Every refund is "
        "recorded, so that every response is a full one. The provider's time is that of the whole operator with "
        "max_in_flight=1: query, spool, validation, rate limit, threads, responses, ledger (SQLite) and "
        "summary. The bare post sends the same bodies in one session, one after the other, and does not parse the "
        f"responses. With max_in_flight={MANY}, the default, the provider's ratio is {many.ratio:.2f}.",
    )


def side_by_side(url: str, warehouse: str, size: int, rounds: int) -> dict[str, list[float]]:
    """Measure all in turns; a first, small round, which fills imports and caches, does not count."""
    import requests

    times: dict[str, list[float]] = {"ours": [], "many": [], "bare": []}
    session = requests.Session()
    for turn in range(rounds + 1):
        for name, in_flight in (("ours", 1), ("many", MANY)):
            refunds = fill_sqlite(Path(warehouse), size if turn else size // 10, f"{name}{turn}")
            started = time.process_time()
            summary = execute(f"{SQL} WHERE id LIKE '{name}{turn}_%'", max_in_flight=in_flight)
            times[name].append(time.process_time() - started)
            assert summary["sent"] == len(refunds), f"{summary['sent']} sent"
        bodies = [_body(refund) for refund in refunds]
        started = time.process_time()
        for body in bodies:
            session.post(f"{url}/track/refund", json=body, headers=HEADERS)
        times["bare"].append(time.process_time() - started)
    return {name: seconds[1:] for name, seconds in times.items()}


def _body(refund: dict[str, Any]) -> dict[str, str]:
    return {
        "event_id": f"bare_{refund['id']}",
        "amount": str(refund["amount"]),
        "currency": refund["currency"],
        "uid": refund["customer_id"],
    }
