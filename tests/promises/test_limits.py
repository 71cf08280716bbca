"""Limits: timeouts always apply, a response is never read whole, a huge message ends nowhere."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.refunds import MAX_MESSAGE_LENGTH
from airflow_provider_firstpromoter.refunds.rows import marking_repeats, numbered
from airflow_provider_firstpromoter.sync import RefundSync, SyncOptions

REFUND = {"event_id": "re_1", "amount": 1000, "uid": "cus_1"}
#: Seconds; far beyond the timeouts here, and what a test that hangs costs.
FOR_EVER = 10.0


@contextmanager
def serving(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server of our own for one base URL, which answers each connection like this until the test is over."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                answer(connection, over)
            except OSError:
                pass  # the client has had enough

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=handle, args=(connection,), daemon=True))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v2"
        finally:
            over.set()
            accepting.join(5)
            for thread in threads:
                thread.join(5)


def never(connection: socket.socket, over: threading.Event) -> None:
    over.wait(FOR_EVER)


def drip(what: bytes, first: bytes = b"") -> Callable[[socket.socket, threading.Event], None]:
    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(first)
        for byte in what * 10_000:
            if over.wait(0.05):
                return
            connection.sendall(bytes([byte]))

    return answer


def flood(connection: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@pytest.mark.parametrize(
    "answer",
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
    answer: Callable[..., None], connect: Callable[..., str], at_once: Callable[..., list[Any]]
) -> None:
    with serving(answer) as url:
        connect(host=url, login="a", password="k", timeout=0.3, max_attempts=1)
        hook = FirstPromoterHook()
        assert hook.account.extra.timeout == 0.3

        (result,) = at_once(lambda: hook.track_refund(REFUND), timeout=FOR_EVER / 2)

    assert result.outcome == "failed"
    assert "timed out" in result.message


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
        for one in waiting:  # its queue is full: the next connection hears nothing
            one.setblocking(False)
            one.connect_ex(address)
        connect(host=f"http://127.0.0.1:{address[1]}", login="a", password="k", timeout=0.3, max_attempts=1)
        hook = FirstPromoterHook()
        assert hook.account.base_url

        (result,) = at_once(lambda: hook.track_refund(REFUND), timeout=FOR_EVER / 2)

        for one in waiting:
            one.close()
    assert result.outcome == "failed"


MEASURE = """
import json, resource, sys
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
hook = FirstPromoterHook()
refund = {"event_id": "re_1", "amount": 1000, "uid": "cus_1"}
hook.test_connection()  # everything is imported and connected
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outcome = hook.track_refund(refund).outcome
print(json.dumps([outcome, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
@pytest.mark.parametrize(("kind", "megabytes", "most"), [("huge", 100, 40), ("bomb", 250, 125)])
def test_large_response_is_not_read_completely(
    kind: str, megabytes: int, most: int, sandbox: Any, connect: Callable[..., str]
) -> None:
    sandbox.add_lead(uid="cus_1")
    sandbox.fault(kind, times=None, size=megabytes * 1_000_000, path="/track/refund")
    connect(max_attempts=1)

    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=60, check=True)
    outcome, kilobytes = json.loads(done.stdout.splitlines()[-1])

    assert outcome == "failed"
    assert kilobytes < most * 1000  # a piece of 64 kB of a bomb can unzip to 64 MB


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
    ledger = RefundLedger.required(hook.account, "ledger")
    sync = RefundSync(hook, ledger, SyncOptions(max_rejected=None))

    summary = sync.run(list(marking_repeats(numbered([REFUND]))))
    ledger.engine.dispose()

    stored = database.run("SELECT * FROM firstpromoter_refunds")
    assert len(stored) == (0 if status == 500 else 1)
    assert all(len(str(value)) < MAX_MESSAGE_LENGTH + 1000 for row in stored for value in row)
    assert len(json.dumps(summary.model_dump(mode="json"), default=str)) < 5000
    assert all(len(record.getMessage()) < 5000 for record in caplog.records)
    assert caplog.records
