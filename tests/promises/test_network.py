"""A bad network and an unreliable listing, by seeded faults: every refund ends with one true outcome."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import EventsFailedError
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.sandbox import Account
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests import customers, support
from tests.support import ALL_REFUNDS, Task, ledger_outcomes

#: ``make soak`` sets others.
SEED = int(os.environ.get("SEED", "1"))
COUNT = 140
MOST_RUNS = 40
REFUND = "/track/refund"
LISTING = "/company/commissions"
#: The API answers 400 to the refund of each customer whose number this divides.
REJECTED = 35


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Another host, to which redirects point: its URL, and the headers of the requests that it received."""
    received: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(dict(self.headers))
            self.send_response(200)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", received
    server.shutdown()
    server.server_close()
    thread.join(5)


def sync(**options: Any) -> dict[str, Any]:
    """Send all refunds of the warehouse, and return the summary."""
    operator = SqlToFirstPromoterOperator(
        task_id="sync", sql=ALL_REFUNDS, sql_conn_id="warehouse", max_rejected=None, **options
    )
    summary: dict[str, Any] = Task(operator).run()
    return summary


def make_network_bad(sandbox: Any, elsewhere: str) -> None:
    """Let about a third of all requests fail."""
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
        {"kind": "huge", "times": 3, "size": 3_000_000, "probability": 0.02, "path": REFUND},
        {"kind": "bomb", "times": 3, "size": 30_000_000, "probability": 0.02, "path": REFUND},
        {"kind": "html", "probability": 0.02, "path": REFUND},
        {"kind": "html", "status": 200, "recorded": True, "probability": 0.02, "path": REFUND},
        {"kind": "html", "status": 403, "probability": 0.02, "path": REFUND},
        {"kind": "status", "status": 409, "message": "Please try again.", "probability": 0.02, "path": REFUND},
        {"kind": "redirect", "location": elsewhere, "probability": 0.02, "path": REFUND},
        {"kind": "redirect", "location": elsewhere, "recorded": True, "probability": 0.02, "path": REFUND},
        {"kind": "bare_404", "probability": 0.02, "path": REFUND},
    ):
        sandbox.fault(**{"times": None, **fault})


def make_listing_unreliable(sandbox: Any, chance: random.Random) -> None:
    """
    Let the listing lag and fail.

    The responses to some recorded refunds are lost, and the retry is told that there is no such referral.
    """
    sandbox.change_settings(
        listing_lag_requests=chance.randrange(5, 60),
        listing_lag_seconds=chance.uniform(0, 1),
        shape=chance.choice(["older", "newer"]),
    )
    lost = chance.sample(sorted(customers.event_ids(COUNT, "by_uid")), 12)
    for event_id in lost:
        sandbox.fault("reset_after", event_id=event_id, path=REFUND)
        unknown: dict[str, Any] = {"status": 404, "message": "Referral not found", "code": "not_found"}
        sandbox.fault("status", event_id=event_id, path=REFUND, **chance.choice([unknown, {"status": 204}]))
    for fault in (
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 403, "message": "Forbidden", "code": "forbidden"},
        {"kind": "html", "status": 403},
        {"kind": "changed_item", "item": {"id": None}},
        {"kind": "stray_item", "item": chance.choice([None, 7, "text", ["list"]])},
    ):
        sandbox.fault(**{"times": None, "probability": 0.06, "path": LISTING, **fault})


@pytest.mark.parametrize(
    ("seed", "kind", "lead_first"),
    [(SEED, "sqlite", True), (SEED + 1, "postgresql", True), (SEED + 2, "sqlite", False)],
)
def test_every_refund_ends_with_one_true_outcome(
    seed: int,
    kind: str,
    lead_first: bool,
    new_sandbox: Callable[..., Any],
    new_database: Callable[..., Any],
    connect: Callable[..., str],
    elsewhere: tuple[str, list[dict[str, str]]],
    impatient: None,
) -> None:
    url, received_elsewhere = elsewhere
    sandbox = new_sandbox(requests_per_minute=0, seed=seed, lead_first=lead_first)
    sandbox.add_leads(customers.leads(COUNT))
    customers.arrive_late(sandbox, COUNT)
    warehouse = new_database(kind, "warehouse")
    connect(sandbox, timeout=0.3, max_attempts=6, ledger_conn_id="warehouse")
    warehouse.fill(
        customers.refund(number, **({"currency": "ZZZ"} if number % REJECTED == 0 else {"currency": "USD"}))
        for number in range(COUNT)
    )
    truth = customers.truth(COUNT)
    truth |= {customers.refund(number)["event_id"]: "rejected" for number in range(0, COUNT, REJECTED)}
    make_listing_unreliable(sandbox, random.Random(seed))
    make_network_bad(sandbox, url)

    for _ in range(MOST_RUNS):
        try:
            sync(recover_rewards=True)
        except EventsFailedError:
            continue
        break
    else:
        pytest.fail(f"seed {seed}: refunds still fail after {MOST_RUNS} runs")
    sandbox.clear_faults()
    sandbox.change_settings(listing_lag_requests=0, listing_lag_seconds=0)
    sync()
    Task(ReconcileRefundsOperator(task_id="reconcile")).run()

    customers.check_audit(sandbox, warehouse, truth)
    bodies = defaultdict(set)
    for request in sandbox.refund_requests():
        body = request.body
        bodies[body["event_id"], "uid" in body].add(tuple(sorted(body.items())))
    assert len(sandbox.refund_requests()) > len(bodies), "there were no retries"
    assert {key: len(different) for key, different in bodies.items()} == dict.fromkeys(bodies, 1)
    assert received_elsewhere == []


def test_unreachable_api_ends_the_run_early_and_the_next_run_sends_the_rest(
    new_sandbox: Callable[..., Any],
    new_database: Callable[..., Any],
    connect: Callable[..., str],
    impatient: None,
) -> None:
    warehouse = new_database("sqlite", "warehouse")
    warehouse.fill(support.refunds(100))
    with socket.socket() as taken:  # bound and not listening: no other process gets the port, and connecting is refused
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        account = Account()
        connect(
            login=account.id,
            password=account.api_key,
            host=f"http://127.0.0.1:{port}/api/v2",
            max_attempts=3,
            ledger_conn_id="warehouse",
        )
        task = Task(SqlToFirstPromoterOperator(task_id="sync", sql=ALL_REFUNDS, sql_conn_id="warehouse"))
        with pytest.raises(EventsFailedError, match="refused"):
            task.run()

    failed, pending = task.summary["outcomes"]["failed"], task.summary["left_pending"]
    assert failed >= 10
    assert failed + pending == 100
    assert pending > 50
    assert task.summary["stopped_because"]
    assert set(ledger_outcomes(warehouse).values()) <= {"failed"}

    sandbox = new_sandbox(requests_per_minute=0, port=port)
    sandbox.add_leads({"uid": f"cus_{n}"} for n in range(100))

    assert sync()["outcomes"]["recorded"] == 100
    assert set(ledger_outcomes(warehouse).values()) == {"recorded"}
    assert len(sandbox.recorded()) == 100
