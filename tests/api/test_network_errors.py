"""Requests that never reach the API: the problem names the cause and the API's host, and nothing counts as sent."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from contextlib import closing

import pytest

from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
from tests.http_server import REFUND, Server


def problem(hook: FirstPromoterHook) -> str:
    """What the one attempt of a request that cannot reach the API ends with."""
    exchange = hook.client.request("POST", "/track/refund", json=REFUND)
    assert (exchange.response.status, exchange.lost) == (None, False)
    return str(exchange.response.problem)


def test_refused_connection_is_a_failure_with_a_message(
    hook_on: Callable[..., FirstPromoterHook], impatient: None
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        nobody = Server(port=listener.getsockname()[1])

    hook = hook_on(nobody, max_attempts=2)
    result = hook.track_refund(REFUND)

    assert (result.outcome, result.http_status, hook.client.requests) == ("failed", None, 2)
    assert f"in 2 tries: the connection was refused (127.0.0.1:{nobody.port})" in str(result.message)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("https://no-such-host.invalid", "no-such-host.invalid:443"),
        ("https://no-such-host.invalid:8443/v2", "no-such-host.invalid:8443"),
    ],
)
def test_failed_name_resolution_is_named_with_the_host(
    host: str, shown: str, hook_on: Callable[..., FirstPromoterHook], no_proxy: None
) -> None:
    assert problem(hook_on(Server(), host=host)) == f"name resolution failed ({shown})"


def test_server_without_tls_is_named(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook], no_proxy: None
) -> None:
    server = serve()
    reason = problem(hook_on(server, host=f"https://127.0.0.1:{server.port}"))
    assert re.fullmatch(rf"TLS failed: [a-z0-9 ]+ \(127\.0\.0\.1:{server.port}\)", reason)
    assert server.asked == []


def test_missing_ca_bundle_is_named(
    hook_on: Callable[..., FirstPromoterHook], no_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")
    reason = problem(hook_on(Server(), host="https://127.0.0.1:9"))
    assert reason == (
        "TLS failed: the file that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names does not exist (127.0.0.1:9)"
    )


def test_proxy_refusal_error_does_not_show_the_proxy_password(
    hook_on: Callable[..., FirstPromoterHook],
    proxy: Callable[..., list[bytes]],
    logged: Callable[[], str],
) -> None:
    seen = proxy()

    result = hook_on(Server(), host="https://firstpromoter.test").track_refund(REFUND)

    assert result.outcome == "failed"
    assert "the proxy refused the connection with 407 (firstpromoter.test:443)" in str(result.message)
    assert seen
    assert "proxy-password" not in logged()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://someone:proxy-password@127.0.0.1:9", "the proxy could not be reached: the connection was refused"),
        (
            "http://someone:proxy-password@no-such-host.invalid:1",
            "the proxy could not be reached: name resolution failed",
        ),
        ("ftp://someone:proxy-password@127.0.0.1:9", "the proxy's address is unusable"),
        ("http://someone:proxy-password@:x", "the proxy's address is unusable"),
    ],
)
def test_unusable_proxy_is_named_without_its_address(
    address: str,
    reason: str,
    hook_on: Callable[..., FirstPromoterHook],
    no_proxy: None,
    logged: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", address)
    assert problem(hook_on(Server(), host="https://firstpromoter.test")) == f"{reason} (firstpromoter.test:443)"
    assert "proxy-password" not in logged()
