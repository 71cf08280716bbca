"""Limits: timeouts always apply, no response is read without bounds, and one rate limit is shared without failures."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import MAX_MESSAGE_LENGTH, numbered
from airflow_provider_firstpromoter.calls import REFUND as CALL
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.sync import Sync, SyncOptions
from tests.http_server import serving

REFUND = {"event_id": "re_1", "amount": 1000, "uid": "cus_1"}
#: Seconds; far longer than the timeouts here.
FOR_EVER = 10.0


def never(connection: socket.socket, over: threading.Event) -> None:
    over.wait(FOR_EVER)


def drip(what: bytes, first: bytes = b"") -> Callable[[socket.socket, threading.Event], None]:
    def respond(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(first)
        for byte in what * 10_000:
            if over.wait(0.05):
                return
            connection.sendall(bytes([byte]))

    return respond


def flood(connection: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@pytest.mark.parametrize(
    "respond",
    [
        pytest.param(never, id="accepts-and-says-nothing"),
        pytest.param(drip(b"x", b"HTTP/1.1 200 OK\r\nX-Long: "), id="drips-a-header"),
        pytest.param(drip(b"x"), id="drips-the-status-line"),
        pytest.param(drip(b" ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"), id="drips-the-body"),
        pytest.param(drip(b"1;x", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), id="drips-a-chunks-size"),
        pytest.param(drip(b"HTTP/1.1 100 Continue\r\n\r\n"), id="says-continue-for-ever"),
        pytest.param(flood, id="says-continue-without-a-pause"),
    ],
)
def test_endless_response_times_out(
    respond: Callable[..., None], connect: Callable[..., str], at_once: Callable[..., list[Any]]
) -> None:
    with serving(respond) as url:
        connect(host=url, login="a", password="k", timeout=0.3, max_attempts=1)
        hook = FirstPromoterHook()
        assert hook.account.extra.timeout == 0.3

        (result,) = at_once(lambda: hook.track_refund(REFUND), timeout=FOR_EVER / 2)

    assert result.outcome == "failed"
    assert "timed out" in result.message or "too large" in result.message


def test_slow_bytes_do_not_extend_the_deadline(connect: Callable[..., str], at_once: Callable[..., list[Any]]) -> None:
    def late(connection: socket.socket, over: threading.Event) -> None:
        over.wait(1.8)
        connection.sendall(b"H")
        over.wait(FOR_EVER)

    with serving(late) as url:
        connect(host=url, login="a", password="k", timeout=2, max_attempts=1)
        hook = FirstPromoterHook()
        assert hook.account.base_url

        (result,) = at_once(lambda: hook.track_refund(REFUND), timeout=3.2)

    assert "timed out" in result.message


def test_each_response_on_a_reused_connection_has_its_own_deadline(
    connect: Callable[..., str], at_once: Callable[..., list[Any]]
) -> None:
    connections = []

    def slowly(connection: socket.socket, over: threading.Event) -> None:
        connections.append(connection)
        while not over.wait(0.25):
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            if not connection.recv(65536):
                return

    with serving(slowly) as url:
        connect(host=url, login="a", password="k", timeout=0.6, max_attempts=1)
        hook = FirstPromoterHook()
        assert hook.account.base_url
        call = lambda: [hook.track_refund({**REFUND, "event_id": f"re_{n}"}) for n in range(4)]  # noqa: E731

        (results,) = at_once(call)

    assert [result.outcome for result in results] == ["not_referred"] * 4
    assert len(connections) == 1


def test_unaccepted_connection_times_out(connect: Callable[..., str], at_once: Callable[..., list[Any]]) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # its queue is full: nothing responds to the next connection
            one.setblocking(False)
            one.connect_ex(address)
        connect(host=f"http://127.0.0.1:{address[1]}", login="a", password="k", timeout=0.3, max_attempts=1)
        hook = FirstPromoterHook()
        assert hook.account.base_url

        (result,) = at_once(lambda: hook.track_refund(REFUND), timeout=FOR_EVER / 2)

        for one in waiting:
            one.close()
    assert result.outcome == "failed"
    assert f"connecting timed out (127.0.0.1:{address[1]})" in result.message


MEASURE = """
import json, resource, sys
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
hook = FirstPromoterHook()
hook.test_connection()  # imports everything and connects
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outcomes = [hook.track_refund({"event_id": name, "amount": 1000, "uid": "cus_1"}).outcome for name in sys.argv[1:]]
print(json.dumps([outcomes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""
#: By kind of fault.
MEGABYTES = {"huge": 100, "bomb": 250}


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
def test_large_response_is_not_read_completely(sandbox: Any, connect: Callable[..., str]) -> None:
    sandbox.add_lead(uid="cus_1")
    for kind, megabytes in MEGABYTES.items():
        sandbox.fault(kind, times=None, size=megabytes * 1_000_000, path="/track/refund", event_id=kind)
    connect(max_attempts=1)

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *MEGABYTES], capture_output=True, text=True, timeout=60, check=True
    )
    outcomes, kilobytes = json.loads(done.stdout.splitlines()[-1])

    assert outcomes == ["failed", "failed"]
    assert kilobytes < 20_000


@pytest.mark.parametrize("status", [400, 409, 422, 404, 500])
def test_message_of_nearly_a_megabyte_reaches_neither_ledger_nor_log(
    status: int,
    sandbox: Any,
    connect: Callable[..., str],
    new_database: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    connect(max_attempts=1)
    database = new_database("sqlite", "ledger")
    sandbox.fault("status", status=status, message="long " * 190_000)
    hook = FirstPromoterHook()
    ledger = Ledger.required(hook.account, "ledger", call=CALL)
    sync = Sync(hook, ledger, SyncOptions(max_rejected=None))

    summary = sync.run(numbered([REFUND], call=CALL))
    ledger.engine.dispose()

    stored = database.run("SELECT * FROM firstpromoter_refunds")
    assert len(stored) == 1
    assert all(len(str(value)) < MAX_MESSAGE_LENGTH + 1000 for row in stored for value in row)
    assert len(json.dumps(summary.model_dump(mode="json"), default=str)) < 5000
    assert all(len(record.getMessage()) < 5000 for record in caplog.records)
    assert caplog.records
