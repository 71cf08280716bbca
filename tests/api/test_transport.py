"""Requests over real HTTP: their headers, redirects, proxies and certificates, and who can see the API key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_firstpromoter.exceptions import AccessRefusedError, ReadError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import EMAIL, HTML, KEY, REFUND, Server, bodies, says

# --- on the wire ---


def test_request_has_both_account_headers_and_a_json_body(
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


def test_commissions_query_has_its_parameters_and_no_body(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    server = serve(body=b"[]")
    client = hook_on(server).client

    for event_id in ("re_1", "a b&c/\u00fc"):
        client.request("GET", "/company/commissions", params={"q": event_id})

    paths = [path for _, path, _, _ in server.asked]
    assert paths == ["/api/v2/company/commissions?q=re_1", "/api/v2/company/commissions?q=a+b%26c%2F%C3%BC"]
    assert [(method, body) for method, _, _, body in server.asked] == [("GET", b"")] * 2


def test_request_has_nothing_of_the_one_before(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    server = serve(body=b"{}")
    client = hook_on(server).client

    for body in ({"event_id": "re_1", "amount": "1"}, {"event_id": "a much longer one"}, None, {"event_id": "re_2"}):
        client.request("POST", "/track/refund", json=body)

    assert [json.loads(body or b"null") for _, _, _, body in server.asked] == [
        {"event_id": "re_1", "amount": "1"},
        {"event_id": "a much longer one"},
        None,
        {"event_id": "re_2"},
    ]
    assert [headers["Content-Length"] for _, _, headers, _ in server.asked] == ["35", "33", "0", "20"]


def test_each_thread_keeps_one_connection(sandbox: Sandbox, hook: Any) -> None:
    begun = hook.client.requests
    sessions = {id(hook.get_conn()) for _ in range(3)}
    for number in range(5):
        hook.track_refund({**REFUND, "event_id": f"re_{number}"})
    (pool,) = hook.get_conn().get_adapter(sandbox.base_url).poolmanager.pools._container.values()
    assert len(sessions) == 1
    assert (pool.num_connections, pool.num_requests) == (1, 5)
    assert hook.client.requests - begun == 5


# --- refused access ---


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_in_firstpromoters_json_is_an_error(
    status: int, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    server = serve(status=status, body=says(f"No access for {EMAIL} with {KEY.upper()}"))

    with pytest.raises(AccessRefusedError, match=rf"'firstpromoter_default' \({status}: No access for .* with \*\*\*"):
        hook_on(server).track_refund({**REFUND, "uid": None, "email": EMAIL})

    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [HTML, b"", b"{}", b'{"error": "no"}', b'{"message": 7}', b'["no"]', b'{"message": "'])
def test_refused_access_that_is_not_firstpromoters_is_a_response(
    status: int, body: bytes, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    hook = hook_on(serve(status=status, body=body))

    exchange = hook.client.request("POST", "/track/refund", json=REFUND)

    assert (exchange.response.status, exchange.attempts, exchange.lost) == (status, 1, False)
    assert hook.track_refund(REFUND).outcome == "failed"


# --- who can read the API key ---


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(
    status: int, sandbox: Sandbox, hook: Any, serve: Callable[..., Server], impatient: None
) -> None:
    elsewhere = serve()
    sandbox.fault("redirect", status=status, location=elsewhere.url.replace("127.0.0.1", "localhost"), times=None)

    result = hook.track_refund(REFUND)
    with pytest.raises(ReadError):
        hook.find_commissions("re_1")
    works, _ = hook.test_connection()

    assert (result.outcome, result.http_status, works) == ("failed", status, False)
    assert "is the connection's host right?" in str(result.message)
    assert len(bodies(sandbox)) == 1
    assert elsewhere.asked == []


def test_proxy_is_used_over_https_and_cannot_read_the_api_key(
    certificate: Path,
    netrc: None,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(certificate)
    seen = proxy(server.port)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    result = hook_on(server, host="https://firstpromoter.test").track_refund(REFUND)

    assert result.outcome == "recorded"
    ((_, path, headers, _),) = server.asked
    assert path == "/api/v2/track/refund"
    assert headers["Authorization"] == f"Bearer {KEY}", "not the password in .netrc"
    (asked,) = seen
    assert asked.startswith(b"CONNECT firstpromoter.test:443 ")
    assert KEY.encode() not in asked
    assert b"acct_7" not in asked


def test_api_key_is_not_sent_to_a_host_with_an_untrusted_certificate(
    certificate: Path,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
) -> None:
    server = serve(certificate)
    proxy(server.port)

    result = hook_on(server, host="https://firstpromoter.test").track_refund(REFUND)

    assert result.outcome == "failed"
    assert re.search(r"TLS failed: self.signed certificate \(firstpromoter\.test:443\)$", str(result.message))
    assert server.asked == []


def test_hosts_in_no_proxy_are_reached_without_the_proxy(
    certificate: Path,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(certificate)
    seen = proxy(server.port)
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("no_proxy", "example.com,127.0.0.1")

    assert hook_on(server, host=f"https://127.0.0.1:{server.port}").track_refund(REFUND).outcome == "recorded"

    assert seen == []
    assert len(server.asked) == 1


def test_loopback_requests_use_neither_proxy_nor_netrc(
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
def test_logs_and_errors_show_neither_api_key_nor_customer(
    status: int,
    body: bytes,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    impatient: None,
    logged: Callable[[], str],
) -> None:
    hook = hook_on(serve(status=status, body=body), max_attempts=2)
    texts = []

    refund = {**REFUND, "uid": None, "email": EMAIL}
    for ask in (lambda: hook.track_refund(refund), lambda: hook.find_commissions("re_1")):
        try:
            texts.append(repr(ask()))
        except Exception as error:
            texts.append(repr(error))
    texts.append(hook.test_connection()[1])

    log = logged()
    text = log + "".join(texts) + repr(hook.account)
    assert "track/refund" in log, "the log has the lines of the libraries, too"
    assert KEY not in text
    assert EMAIL not in text


def test_session_makes_requests_to_the_connections_host_and_port_only(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    ours, other = serve(), serve()
    session = hook_on(ours).get_conn()

    assert session.get(f"{ours.url}/company/promoters").json()["id"] == 7
    for url in (
        other.url,
        f"http://localhost:{ours.port}/api/v2",
        f"https://127.0.0.1:{ours.port}/api/v2",
        f"http://a:b@127.0.0.1:{other.port}/",
        f"http://127.0.0.1:{ours.port}@127.0.0.1:{other.port}/",
    ):
        with pytest.raises(requests.exceptions.InvalidURL, match=rf"makes requests to 127.0.0.1:{ours.port} only"):
            session.get(url)

    assert len(ours.asked) == 1
    assert other.asked == []


@pytest.mark.parametrize("status", [301, 307])
def test_session_follows_no_redirect_even_if_it_is_asked_to(
    status: int, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    other = serve()
    ours = serve(status=status, headers={"Location": other.url})

    response = hook_on(ours).get_conn().get(f"{ours.url}/company/promoters", allow_redirects=True)

    assert (response.status_code, len(ours.asked), other.asked) == (status, 1, [])
