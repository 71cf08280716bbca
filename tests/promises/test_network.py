"""A bad network, by seeded schedules of faults: every refund ends with one true outcome, and is recorded once."""

from __future__ import annotations

import os
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import select

from airflow_provider_firstpromoter.exceptions import RefundsFailedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.refunds.rows import marking_repeats, numbered
from airflow_provider_firstpromoter.sync import RefundSync, SyncOptions
from tests import support

#: `make soak` takes others.
SEED = int(os.environ.get("SEED", "1"))
REFUNDS = 240
MOST_RUNS = 40
REFUND_CALL = "/track/refund"


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Another host that redirects point to: its URL, and the headers of all that it was asked."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(dict(self.headers))
            self.send_response(200)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    server.server_close()
    thread.join(5)


def true_outcome(number: int) -> str:
    """What must become of refund ``number`` in the end, whatever happens on the way."""
    return {0: "not_referred", 1: "not_referred", 2: "rejected"}.get(number % 12, "recorded")


def refund(number: int) -> dict[str, Any]:
    return support.refund(number, **({"currency": "ZZZ"} if true_outcome(number) == "rejected" else {}))


def leads(count: int) -> Iterator[dict[str, Any]]:
    """Of the unreferred, one half is unknown (404) and the other has bought nothing (204)."""
    for number in range(count):
        if number % 12:
            yield {"uid": f"cus_{number}", "email": f"c{number}@example.com", "bought": number % 12 != 1}


def sync_once(rows: list[dict[str, Any]], ledger_conn_id: str) -> RefundSync:
    hook = FirstPromoterHook()
    ledger = RefundLedger.required(hook.account, ledger_conn_id)
    sync = RefundSync(hook, ledger, SyncOptions(recover_rewards=True, max_rejected=None))
    try:
        sync.run(list(marking_repeats(numbered(rows))))
    finally:
        ledger.engine.dispose()
    return sync


def settled(ledger_conn_id: str) -> dict[str, Any]:
    """The ledger's rows by event_id."""
    ledger = RefundLedger.required(FirstPromoterHook().account, ledger_conn_id)
    with ledger.engine.connect() as connection:
        rows = connection.execute(select(*ledger.table.columns)).all() if ledger.exists() else []
    ledger.engine.dispose()
    assert len({row.event_id for row in rows}) == len(rows)
    return {row.event_id: row for row in rows}


def make_trouble(sandbox: Any, elsewhere: str) -> None:
    """About a third of all requests go wrong."""
    for fault in (
        {"kind": "status", "status": 500, "probability": 0.03},
        {"kind": "status", "status": 503, "probability": 0.03, "recorded": True},
        {"kind": "status", "status": 429, "probability": 0.03},
        {"kind": "status", "status": 429, "probability": 0.02, "retry_after": "0"},
        {"kind": "status", "status": 429, "times": 1, "probability": 0.02, "retry_after": "1"},
        {"kind": "reset_before", "probability": 0.04},
        {"kind": "reset_after", "probability": 0.04},
        {"kind": "latency", "seconds": 0.6, "times": 6, "probability": 0.03, "recorded": True},
        {"kind": "truncated", "probability": 0.03},
        {"kind": "malformed", "probability": 0.02},
        {"kind": "gzip", "probability": 0.05},
        {"kind": "huge", "times": 3, "size": 3_000_000, "probability": 0.02, "path": REFUND_CALL},
        {"kind": "bomb", "times": 3, "size": 30_000_000, "probability": 0.02, "path": REFUND_CALL},
        {"kind": "html", "probability": 0.02, "path": REFUND_CALL},
        {"kind": "html", "status": 200, "recorded": True, "probability": 0.02, "path": REFUND_CALL},
        {"kind": "redirect", "location": elsewhere, "probability": 0.02, "path": REFUND_CALL},
        {"kind": "redirect", "location": elsewhere, "recorded": True, "probability": 0.02, "path": REFUND_CALL},
        {"kind": "bare_404", "probability": 0.02, "path": REFUND_CALL},
    ):
        sandbox.fault(**{"times": None, **fault})


@pytest.mark.parametrize(("seed", "kind"), [(SEED, "sqlite"), (SEED + 1, "postgresql"), (SEED + 2, "sqlite")])
def test_every_refund_ends_with_one_true_outcome(
    seed: int,
    kind: str,
    new_sandbox: Callable[..., Any],
    new_database: Callable[..., Any],
    connect: Callable[..., str],
    elsewhere: tuple[str, list[dict[str, str]]],
    impatient: None,
) -> None:
    url, asked_elsewhere = elsewhere
    sandbox = new_sandbox(requests_per_minute=0, seed=seed)
    sandbox.add_leads(leads(REFUNDS))
    connect(sandbox, timeout=0.3, max_attempts=6)
    ledger = new_database(kind, "ledger").conn_id
    rows = [refund(number) for number in range(REFUNDS)]
    make_trouble(sandbox, url)

    for _ in range(MOST_RUNS):
        sync = sync_once(rows, ledger)
        if not sync.summary.left_pending and not sync.summary.outcomes["failed"]:
            break
    else:
        pytest.fail(f"seed {seed}: still pending after {MOST_RUNS} runs")

    stored = settled(ledger)
    recorded = sandbox.recorded()
    truth = {f"re_{number}": true_outcome(number) for number in range(REFUNDS)}
    assert sorted(one.event_id for one in recorded) == sorted(e for e, o in truth.items() if o == "recorded")
    assert {
        e: {"already_recorded": "recorded"}.get(row.outcome.value, row.outcome.value) for e, row in stored.items()
    } == truth
    rewards = {one.event_id: (one.reward_id, one.reward_amount) for one in recorded}
    assert {e: (stored[e].reward_id, stored[e].reward_amount) for e in rewards} == rewards

    bodies = defaultdict(set)
    for request in sandbox.refund_requests():
        bodies[request.body["uid"]].add(tuple(sorted(request.body.items())))
    assert len(sandbox.refund_requests()) > REFUNDS  # there were retries at all
    assert {uid: len(different) for uid, different in bodies.items()} == dict.fromkeys(bodies, 1)
    assert asked_elsewhere == []


def test_unreachable_api_ends_the_run_early_and_the_next_run_sends_the_rest(
    sandbox: Any, new_database: Callable[..., Any], connect: Callable[..., str], impatient: None
) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port, and connecting is refused
        taken.bind(("127.0.0.1", 0))
        connect(host=f"http://127.0.0.1:{taken.getsockname()[1]}/api/v2", timeout=0.3, max_attempts=3)
        ledger = new_database("sqlite", "ledger").conn_id
        rows = [{"event_id": f"re_{n}", "amount": 1000 + n, "uid": f"cus_{n}"} for n in range(100)]

        sync = sync_once(rows, ledger)

    assert sync.summary.outcomes["failed"] >= 10
    assert sync.summary.outcomes["failed"] + sync.summary.left_pending == len(rows)
    assert sync.summary.left_pending > 50
    assert sync.summary.stopped_because
    with pytest.raises(RefundsFailedError, match="refused"):
        sync.raise_for_summary()
    assert settled(ledger) == {}

    sandbox.add_leads({"uid": f"cus_{n}"} for n in range(100))
    connect(timeout=5, max_attempts=3)
    again = sync_once(rows, ledger)

    assert again.summary.outcomes["recorded"] == len(rows)
    assert sorted(settled(ledger)) == sorted(row["event_id"] for row in rows)
    assert len(sandbox.recorded()) == len(rows)
