"""FirstPromoterHook over real HTTP: what goes over the wire, what an answer makes of a refund, and who sees the key."""

from __future__ import annotations

import json
import logging
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from tenacity.wait import wait_fixed

from airflow_provider_firstpromoter.exceptions import AccessRefusedError, ConnectionSettingsError, ReadError
from airflow_provider_firstpromoter.hooks import firstpromoter
from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
from airflow_provider_firstpromoter.refunds import InvalidRefund
from airflow_provider_firstpromoter.sandbox import Sandbox

REFUND = {"event_id": "re_1", "amount": 1999, "uid": "cus_1"}
EMAIL = "jane@example.com"
KEY = "a-key-that-nobody-may-see"
HTML = b"<html><body>Welcome</body></html>"


@dataclass
class Server:
    """Answers everything in one way, and keeps what it was asked with all headers, which the sandbox does not."""

    status: int = 200
    body: bytes = b'{"id": 7, "amount_cents": -1999}'
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v2"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts a server for this test: ``serve(status=404, body=b"")``; with a certificate it speaks TLS."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def serve(certificate: Path | None = None, **answer: Any) -> Server:
        ours = Server(**answer)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                ours.asked.append((self.command, self.path, dict(self.headers), body))
                self.send_response(ours.status)
                for name, value in {"Content-Length": str(len(ours.body)), **ours.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(ours.body)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client may think better of it
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        running.append((server, thread))
        ours.port = server.server_port
        return ours

    yield serve
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def hook(connect: Callable[..., str]) -> FirstPromoterHook:
    """On the sandbox; a request is tried at most three times."""
    connect(max_attempts=3)
    return FirstPromoterHook()


@pytest.fixture
def hook_on(connect: Callable[..., str]) -> Callable[..., FirstPromoterHook]:
    """``hook_on(server)``: on a server of our own, with a key that no text may show; one try, unless said."""

    def hook_on(server: Server, **fields: Any) -> FirstPromoterHook:
        fields = {"max_attempts": 1, "login": "acct_7", "password": KEY, "host": server.url, **fields}
        connect(server, **fields)
        return FirstPromoterHook()

    return hook_on


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """All that was logged so far, of every level, wherever Airflow puts it."""
    caplog.set_level(logging.DEBUG)

    def logged() -> str:
        captured = capfd.readouterr()
        return captured.out + captured.err + caplog.text

    return logged


def bodies(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [request.body for request in sandbox.refund_requests()]


# --- on the wire ---


def test_a_request_carries_both_headers_and_json(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    server = serve()

    hook_on(server).track_refund(REFUND)

    ((method, path, headers, body),) = server.asked
    assert (method, path) == ("POST", "/api/v2/track/refund")
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Account-ID"] == "acct_7"
    assert headers["Content-Type"] == "application/json"
    assert headers["Accept"] == "application/json"
    assert headers["User-Agent"].startswith("airflow-provider-firstpromoter/")
    assert json.loads(body) == {"event_id": "re_1", "amount": "1999", "uid": "cus_1"}


@pytest.mark.parametrize(
    ("row", "body"),
    [
        pytest.param({}, {}, id="absent-fields-are-left-out"),
        pytest.param(
            {"quantity": 3, "currency": "eur", "sale_event_id": 55, "skip_email_notification": False, "note": "x"},
            {"quantity": "3", "currency": "EUR", "sale_event_id": "55", "skip_email_notification": False},
            id="numbers-are-strings-and-false-is-said",
        ),
        pytest.param({"quantity": None, "currency": None, "email": None}, {}, id="null-is-absent"),
        pytest.param({"event_id": 4711}, {"event_id": "4711"}, id="a-whole-number-is-its-digits"),
        pytest.param({"event_id": "ré \U0001f4b8 1"}, {"event_id": "ré \U0001f4b8 1"}, id="any-text"),
        pytest.param({"uid": None, "email": EMAIL}, {"uid": ..., "email": EMAIL}, id="email-alone"),
        pytest.param({"email": EMAIL}, {}, id="one-id-of-two"),
    ],
)
def test_the_body_is_the_contracts(row: dict[str, Any], body: dict[str, Any], sandbox: Sandbox, hook: Any) -> None:
    sandbox.add_lead(uid="cus_1")
    sandbox.add_lead(email=EMAIL)

    result = hook.track_refund({**REFUND, **row})

    expected = {"event_id": "re_1", "amount": "1999", "uid": "cus_1", **body}
    assert bodies(sandbox) == [{name: value for name, value in expected.items() if value is not ...}]
    assert result.outcome == "recorded"
    assert result.event_id == expected["event_id"]


def test_an_invalid_mapping_costs_no_request(sandbox: Sandbox, hook: Any) -> None:
    with pytest.raises(InvalidRefund, match="amount"):
        hook.track_refund({**REFUND, "amount": -5})
    with pytest.raises(ValueError, match="has none of email"):
        hook.track_refund(REFUND, identify_by=("email",))
    assert sandbox.request_counts() == {}


def test_a_result_has_what_firstpromoter_answered_and_no_secret(sandbox: Sandbox, hook: Any) -> None:
    sandbox.add_lead(uid="cus_1", email=EMAIL)

    result = hook.track_refund(REFUND)

    (recorded,) = sandbox.recorded()
    assert (result.http_status, result.recorded_amount) == (200, -1999)
    assert (result.reward.id, result.reward.amount, result.reward.unit) == (recorded.reward_id, -400, "cash")
    assert result.promoter.id == recorded.promoter_id
    assert result.lead.email == EMAIL, "Python code has it"
    assert EMAIL not in json.dumps(result.to_json()), "what is written has not"
    assert "sandbox-secret" not in repr(result)


# --- the table of answers ---


def says(message: str, **more: Any) -> bytes:
    return json.dumps({"message": message, **more}).encode()


@pytest.mark.parametrize(
    ("status", "body", "outcome", "requests"),
    [
        (200, b'{"id": 7}', "recorded", 1),
        (200, b"{}", "failed", 1),
        (200, HTML, "failed", 1),
        (200, b'{"id": 7, "rew', "failed", 2),
        (204, b"", "not_referred", 1),
        (400, says("Invalid currency"), "rejected", 1),
        (400, HTML, "failed", 1),
        (404, says("Lead not found", code="not_found"), "not_referred", 1),
        (404, says("Not Found"), "failed", 1),
        (404, HTML, "failed", 1),
        (404, b"", "failed", 1),
        (405, says("Method not allowed"), "failed", 1),
        (409, says("Already exists"), "already_recorded", 1),
        (409, HTML, "failed", 1),
        (422, says("Unprocessable", errors={"amount": ["is odd"]}), "rejected", 1),
        (408, b"", "failed", 2),
        (429, says("Slow down"), "failed", 2),
        (500, HTML, "failed", 2),
        (502, b"", "failed", 2),
        (503, says("Later"), "failed", 2),
    ],
)
def test_an_answer_makes_one_outcome_and_is_asked_for_again_only_if_that_may_help(
    status: int,
    body: bytes,
    outcome: str,
    requests: int,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    impatient: None,
) -> None:
    server = serve(status=status, body=body)

    result = hook_on(server, max_attempts=2).track_refund(REFUND, recover_rewards=False)

    assert (result.outcome, result.http_status, len(server.asked)) == (outcome, status, requests)
    assert (result.message is None) is (outcome in ("recorded",) or status == 204)


def test_a_host_where_nobody_listens_is_a_failure_in_words(
    hook_on: Callable[..., FirstPromoterHook], impatient: None
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        nobody = Server(port=listener.getsockname()[1])

    hook = hook_on(nobody, max_attempts=2)
    result = hook.track_refund(REFUND)

    assert (result.outcome, result.http_status, hook.requests) == ("failed", None, 2)
    assert result.message == "no answer in 2 tries: the connection was refused or broke"


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_an_answer_that_repeats_the_key_does_not_hand_it_on(
    status: int, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    hook = hook_on(serve(status=status, body=says(f"Not with {KEY}", errors={"key": [KEY]})))

    result = hook.track_refund(REFUND, recover_rewards=False)

    assert result.message is not None
    assert result.message.startswith("Not with ***")
    assert KEY not in result.model_dump_json()


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_is_an_error_after_one_request_that_airflow_does_not_retry(
    status: int, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    server = serve(status=status, body=says(f"No access with {KEY}"))
    hook = hook_on(server, max_attempts=3)

    # A read's answer could name people whom nobody here knows: its words are left out.
    for ask, said in ((lambda: hook.track_refund(REFUND), ": No access"), (lambda: hook.find_reward("re_1"), "")):
        before = len(server.asked)
        with pytest.raises(AccessRefusedError, match=rf"'firstpromoter_default' \({status}{said}") as refused:
            ask()
        assert len(server.asked) == before + 1
        assert isinstance(refused.value, AirflowFailException)
        assert "password (API key) and login (Account ID)" in str(refused.value)
        assert KEY not in str(refused.value)


# --- again ---


def test_every_try_carries_the_same_refund(sandbox: Sandbox, connect: Callable[..., str], impatient: None) -> None:
    sandbox.add_lead(uid="cus_1")
    for fault in ({"kind": "reset_before"}, {"kind": "status", "status": 503}, {"kind": "truncated"}):
        sandbox.fault(**fault)
    connect(max_attempts=4)

    result = FirstPromoterHook().track_refund(REFUND)

    assert bodies(sandbox) == [{"event_id": "re_1", "amount": "1999", "uid": "cus_1"}] * 4
    (recorded,) = sandbox.recorded()
    assert (result.outcome, result.http_status) == ("already_recorded", 409)
    assert result.reward is not None
    assert result.reward.id == recorded.reward_id, "of an answer that was lost, the reward is looked up"


def test_tries_end_with_max_attempts(sandbox: Sandbox, hook: Any, impatient: None) -> None:
    sandbox.fault("status", status=500, times=None)

    result = hook.track_refund(REFUND)

    assert (result.outcome, len(bodies(sandbox)), hook.requests) == ("failed", 3, 3)
    assert result.message == "answered 500 in 3 tries"


@pytest.mark.parametrize("told", ["in-seconds", "as-a-date", "not-at-all"])
def test_after_429_the_next_try_waits_as_told_or_longer_than_usual(
    told: str, sandbox: Sandbox, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firstpromoter._wait_as_told, "_usual", wait_fixed(0.0))
    monkeypatch.setattr(firstpromoter._wait_as_told, "_limited", wait_fixed(1.0 if told == "not-at-all" else 0.0))
    later = datetime.now(UTC) + timedelta(seconds=3)
    header = {"in-seconds": "1", "as-a-date": f"{later:%a, %d %b %Y %H:%M:%S} GMT", "not-at-all": None}[told]
    sandbox.fault("status", status=429, retry_after=header)
    sandbox.add_lead(uid="cus_1")

    result = hook.track_refund(REFUND)

    first, second = sandbox.request_times()
    assert second - first >= 0.9
    assert result.outcome == "recorded"


def test_after_429_no_hook_of_the_account_sends(sandbox: Sandbox, hook: Any, at_once: Callable[..., list[Any]]) -> None:
    sandbox.fault("status", status=429, retry_after="1", event_id="re_1")
    over = threading.Event()

    def unlucky() -> None:
        hook.track_refund(REFUND)
        over.set()

    def another() -> None:
        other = FirstPromoterHook()
        for number in range(10_000):
            if over.is_set():
                return
            other.track_refund({**REFUND, "event_id": f"other_{number}"})

    at_once(unlucky, another)

    longest = max(later - earlier for earlier, later in pairwise(sandbox.request_times()))
    assert longest >= 0.9, "but for one that was under way already, nobody did"


# --- one id after the other ---


@pytest.mark.parametrize(
    ("identify_by", "asked", "outcome"),
    [
        (("uid", "email"), ["uid", "email"], "recorded"),
        (("email", "uid"), ["email"], "recorded"),
        (("uid",), ["uid"], "not_referred"),
        (("email",), ["email"], "recorded"),
    ],
)
def test_the_second_id_is_asked_only_if_the_first_finds_nobody(
    identify_by: Any, asked: list[str], outcome: str, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(email=EMAIL)

    result = hook.track_refund({**REFUND, "email": EMAIL}, identify_by=identify_by)

    assert [name for body in bodies(sandbox) for name in ("uid", "email") if name in body] == asked
    assert {body["event_id"] for body in bodies(sandbox)} == {"re_1"}
    assert result.outcome == outcome


@pytest.mark.parametrize(("bought", "http_status"), [(True, 404), (False, 204)])
def test_nobody_is_believed_only_when_both_ids_found_nobody(
    bought: bool, http_status: int, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(email=EMAIL, bought=bought)

    result = hook.track_refund({**REFUND, "email": "someone@else.example" if bought else EMAIL})

    assert len(bodies(sandbox)) == 2
    assert (result.outcome, result.http_status) == ("not_referred", http_status)


def test_a_refusal_is_not_asked_for_again_with_the_other_id(sandbox: Sandbox, hook: Any) -> None:
    result = hook.track_refund({**REFUND, "email": EMAIL, "currency": "ZZZ"})

    assert (result.outcome, len(bodies(sandbox))) == ("rejected", 1)


# --- who sees the key ---


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    status: int, sandbox: Sandbox, hook: Any, serve: Callable[..., Server], impatient: None
) -> None:
    elsewhere = serve()
    sandbox.fault("redirect", status=status, location=elsewhere.url.replace("127.0.0.1", "localhost"), times=None)

    result = hook.track_refund(REFUND)
    with pytest.raises(ReadError):
        hook.find_reward("re_1")
    works, _ = hook.test_connection()

    assert (result.outcome, result.http_status, works) == ("failed", status, False)
    assert "is the connection's host right?" in str(result.message)
    assert len(bodies(sandbox)) == 1
    assert elsewhere.asked == []


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """For ``firstpromoter.test``, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "firstpromoter.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("firstpromoter.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[bytes]]]:
    """
    ``proxy(server.port)`` tunnels whatever is asked of it to that port; without one it refuses.

    The environment names it, with a password. Returns all that it could read: the requests for a tunnel.
    """
    listeners: list[socket.socket] = []

    def tunnel(client: socket.socket, port: int | None, seen: list[bytes]) -> None:
        with client:
            seen.append(client.recv(65536))
            if port is None:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", port)) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                other = {client: server, server: client}
                while ready := select.select(list(other), [], [], 10)[0]:
                    try:
                        data = ready[0].recv(65536)
                        other[ready[0]].sendall(data)
                    except OSError:
                        return
                    if not data:
                        return

    def accept(listener: socket.socket, port: int | None, seen: list[bytes]) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=tunnel, args=(client, port, seen), daemon=True).start()

    def proxy(port: int | None = None) -> list[bytes]:
        seen: list[bytes] = []
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=accept, args=(listener, port, seen), daemon=True).start()
        address = f"http://someone:proxy-password@127.0.0.1:{listener.getsockname()[1]}"
        for name in ("NO_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv(name.lower(), address)
        return seen

    yield proxy
    for listener in listeners:
        listener.close()


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``.netrc`` of the worker that knows a password for every host here."""
    path = tmp_path / "netrc"
    hosts = ("127.0.0.1", "localhost", "firstpromoter.test")
    path.write_text("".join(f"machine {host} login worker password of-the-worker\n" for host in hosts))
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


def test_over_https_the_environments_proxy_is_used_which_cannot_read_the_key(
    certificate: Path,
    netrc: None,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    server = serve(certificate)
    seen = proxy(server.port)

    result = hook_on(server, host="https://firstpromoter.test").track_refund(REFUND)

    assert result.outcome == "recorded"
    ((_, path, headers, _),) = server.asked
    assert path == "/api/v2/track/refund"
    assert headers["Authorization"] == f"Bearer {KEY}", "and nothing out of .netrc"
    (asked,) = seen
    assert asked.startswith(b"CONNECT firstpromoter.test:443 ")
    assert KEY.encode() not in asked
    assert b"acct_7" not in asked


def test_a_certificate_that_nobody_vouches_for_gets_no_key(
    certificate: Path,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
) -> None:
    server = serve(certificate)
    proxy(server.port)

    result = hook_on(server, host="https://firstpromoter.test").track_refund(REFUND)

    assert (result.outcome, result.message) == ("failed", "no answer in 1 try: TLS failed (certificate or protocol)")
    assert server.asked == []


def test_a_proxy_that_refuses_is_named_without_its_password(
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
    logged: Callable[[], str],
) -> None:
    seen = proxy()

    result = hook_on(Server(), host="https://firstpromoter.test").track_refund(REFUND)

    assert (result.outcome, result.message) == ("failed", "no answer in 1 try: the proxy refused")
    assert seen
    assert "proxy-password" not in logged()


def test_to_this_machine_no_proxy_and_no_netrc_is_used(
    netrc: None,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
) -> None:
    server = serve()
    seen = proxy(server.port)

    assert hook_on(server).track_refund(REFUND).outcome == "recorded"

    assert seen == []
    assert server.asked[0][2]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b'{"id": 7}'), (401, says("bad")), (404, HTML), (409, says("again")), (500, b""), (200, b'{"id')],
)
def test_neither_key_nor_customer_is_in_a_log_or_an_error(
    status: int,
    body: bytes,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    impatient: None,
    logged: Callable[[], str],
) -> None:
    hook = hook_on(serve(status=status, body=body), max_attempts=2)
    told = []

    for ask in (lambda: hook.track_refund({**REFUND, "uid": None, "email": EMAIL}), lambda: hook.find_reward("re_1")):
        try:
            told.append(repr(ask()))
        except Exception as error:
            told.append(repr(error))
    told.append(hook.test_connection()[1])

    log = logged()
    text = log + "".join(told) + repr(hook.account)
    assert "track/refund" in log, "the libraries' own lines are among them"
    assert KEY not in text
    assert EMAIL not in text


# --- the connection ---


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"login": ""}, "login (Account ID) is empty"),
        ({"login": "acct\r\nX-Evil: 1"}, "login (Account ID) holds white space or a character that is not ASCII"),
        ({"password": ""}, "password (API key) is empty"),
        ({"password": f"{KEY}\nX-Evil: 1"}, "password (API key) holds white space or a character that is not ASCII"),
        ({"host": "http://api.example.com"}, "host (API base URL) must use https"),
        ({"host": "ftp://api.example.com"}, "host (API base URL) must begin with https://"),
        ({"timeout": "soon"}, "extra field 'timeout' is unusable"),
    ],
)
def test_an_unusable_connection_is_named_with_its_field_before_any_request(
    fields: dict[str, Any], told: str, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    server = serve()
    hook = hook_on(server, **fields)

    with pytest.raises(ConnectionSettingsError) as raised:
        hook.track_refund(REFUND)
    works, sentence = hook.test_connection()

    assert str(raised.value).startswith(f"Connection 'firstpromoter_default': {told}")
    assert works is False
    assert sentence.lower().startswith(told.lower()), "the form tests under an id that tells nobody anything"
    assert KEY not in str(raised.value) + sentence
    assert server.asked == []


def test_the_connection_test_changes_nothing_and_says_that_it_works(sandbox: Sandbox, hook: Any) -> None:
    assert hook.test_connection() == (
        True,
        f"Connected to FirstPromoter account {sandbox.account_id} at {sandbox.base_url}",
    )
    assert sandbox.request_counts() == {"GET /api/v2/company/promoters": {"200": 1}}


@pytest.mark.parametrize(
    ("fields", "fault", "told"),
    [
        ({"password": "another-key"}, None, "FirstPromoter refused the API key (401"),
        ({"login": "another-account"}, None, "FirstPromoter refused"),
        ({}, {"kind": "status", "status": 429}, "answered 429"),
        ({}, {"kind": "status", "status": 503}, "answered 503"),
        ({}, {"kind": "html", "status": 200}, "answered 200, but not as FirstPromoter does"),
        ({}, {"kind": "bare_404"}, "answered 404, but not as FirstPromoter does"),
        ({}, {"kind": "reset_before"}, "FirstPromoter could not be reached at http://127.0.0.1"),
    ],
)
def test_the_connection_test_says_in_one_sentence_what_is_wrong(
    fields: dict[str, Any], fault: dict[str, Any] | None, told: str, sandbox: Sandbox, connect: Callable[..., str]
) -> None:
    if fault:
        sandbox.fault(**fault)
    connect(**fields)

    works, sentence = FirstPromoterHook().test_connection()

    assert works is False
    assert told in sentence
    assert "\n" not in sentence
    assert sum(sum(of.values()) for of in sandbox.request_counts().values()) == 1, "it is not tried again"


# --- several threads ---


def test_one_hook_serves_eight_threads(sandbox: Sandbox, hook: Any, at_once: Callable[..., list[Any]]) -> None:
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(8))
    _ = hook.account

    def thread(number: int) -> list[Any]:
        return [
            hook.track_refund({"event_id": f"re_{number}_{n}", "amount": 100 + number, "uid": f"cus_{number}"})
            for n in range(20)
        ]

    answers = at_once(*(lambda number=number: thread(number) for number in range(8)))

    for number, results in enumerate(answers):
        assert [result.event_id for result in results] == [f"re_{number}_{n}" for n in range(20)]
        assert {(result.outcome, result.recorded_amount) for result in results} == {("recorded", -100 - number)}
    assert hook.requests == 160
    assert len({recorded.event_id for recorded in sandbox.recorded()}) == 160


def test_a_kill_ends_a_wait_between_two_tries(sandbox: Sandbox, hook: Any) -> None:
    from airflow_provider_firstpromoter.exceptions import SyncInterruptedError

    sandbox.fault("status", status=503, retry_after="60", times=None)
    timer = threading.Timer(0.2, hook.cancelled.set)
    timer.start()
    begun = time.monotonic()

    with pytest.raises(SyncInterruptedError):
        hook.track_refund(REFUND)

    assert time.monotonic() - begun < 30
    assert len(bodies(sandbox)) == 1


# --- the books ---


@pytest.mark.parametrize(("recover", "found"), [(True, True), (False, False)])
def test_the_reward_of_a_refund_that_was_recorded_before_is_looked_up_if_so_told(
    recover: bool, found: bool, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1")
    first = hook.track_refund(REFUND)

    again = hook.track_refund(REFUND, recover_rewards=recover)

    assert again.outcome == "already_recorded"
    assert (again.reward is not None) is found
    if found:
        assert (again.reward.id, again.reward.amount) == (first.reward.id, first.reward.amount)
        assert again.recorded_amount == first.recorded_amount
    assert ("GET /api/v2/company/commissions" in sandbox.request_counts()) is found


def test_a_refund_is_on_record_though_the_books_cannot_be_read(
    sandbox: Sandbox, connect: Callable[..., str], logged: Callable[[], str]
) -> None:
    sandbox.add_lead(uid="cus_1")
    connect(max_attempts=1)
    hook = FirstPromoterHook()
    hook.track_refund(REFUND)
    sandbox.fault("status", status=500, path="/company/commissions")

    again = hook.track_refund(REFUND)

    assert (again.outcome, again.reward) == ("already_recorded", None)
    assert "The reward of refund 're_1' is not known" in logged()


def test_a_reward_is_found_by_exactly_its_event_id(sandbox: Sandbox, hook: Any) -> None:
    sandbox.add_lead(uid="cus_1")
    sandbox.add_commission(uid="cus_1", sale_amount=5000, event_id="re_1", amount=1000)
    sandbox.add_commission(uid="cus_1", sale_amount=-7000, event_id="re_10", amount=-1400)
    sandbox.add_commission(uid="cus_1", sale_amount=-5000, event_id="re_1", amount=-1000)
    sandbox.add_commission(uid="cus_1", sale_amount=-5000, event_id="re_1", amount=-50, tier=2)

    assert hook.find_reward("re_1").amount == -1050, "with all its tiers, and without its sale"
    assert hook.find_reward("re_10").amount == -1400
    assert hook.find_reward("re_100") is None


def test_commissions_are_read_page_by_page_as_they_are_wanted(sandbox: Sandbox, hook: Any) -> None:
    sandbox.add_lead(uid="cus_1")
    ids = sandbox.add_commissions(
        {"uid": "cus_1", "sale_amount": 100 if number % 2 else -100, "event_id": f"e_{number}"} for number in range(250)
    )

    def asked() -> int:
        return sandbox.request_counts()["GET /api/v2/company/commissions"]["200"]

    assert [one.id for one in islice(hook.iter_commissions(), 100)] == list(ids)[:100]
    assert asked() == 1
    assert Counter(one.id for one in hook.iter_commissions()) == Counter(ids)
    assert asked() == 4
    assert {one.of_a_refund for one in hook.iter_commissions(refunded=True)} == {True}
    assert [one.event_id for one in hook.iter_commissions(q="e_17")][:2] == ["e_17", "e_170"]


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (500, b"", "answered 500 in 1 try"),
        (200, HTML, "answered 200, but not as FirstPromoter does"),
        (200, b'{"id": 1}', "answered 200, but not as FirstPromoter does"),
        (404, b"", "answered 404, but not as FirstPromoter does"),
    ],
)
def test_books_that_cannot_be_read_are_an_error(
    status: int,
    body: bytes,
    told: str,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
) -> None:
    hook = hook_on(serve(status=status, body=body))

    with pytest.raises(ReadError, match=told):
        list(hook.iter_commissions())
