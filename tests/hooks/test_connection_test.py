"""FirstPromoterHook.test_connection, and connections that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import KEY, REFUND, Server


@pytest.mark.parametrize(
    ("fields", "message"),
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
def test_unusable_connection_error_names_the_field_before_any_request(
    fields: dict[str, Any], message: str, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    server = serve()
    hook = hook_on(server, **fields)

    with pytest.raises(ConnectionSettingsError) as raised:
        hook.track_refund(REFUND)
    works, sentence = hook.test_connection()

    assert str(raised.value).startswith(f"Connection 'firstpromoter_default': {message}")
    assert works is False
    assert sentence.lower().startswith(message.lower()), "the form tests the connection under a temporary id"
    assert KEY not in str(raised.value) + sentence
    assert server.asked == []


def test_connection_test_succeeds_with_one_read_request(sandbox: Sandbox, hook: Any) -> None:
    assert hook.test_connection() == (
        True,
        f"Connected to FirstPromoter account {sandbox.account_id} at {sandbox.base_url}",
    )
    assert sandbox.request_counts() == {"GET /api/v2/company/promoters": {"200": 1}}


@pytest.mark.parametrize(
    ("fields", "fault", "message"),
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
def test_connection_test_failure_is_one_sentence(
    fields: dict[str, Any], fault: dict[str, Any] | None, message: str, sandbox: Sandbox, connect: Callable[..., str]
) -> None:
    if fault:
        sandbox.fault(**fault)
    connect(**fields)

    works, sentence = FirstPromoterHook().test_connection()

    assert works is False
    assert message in sentence
    assert "\n" not in sentence
    assert sum(sum(of.values()) for of in sandbox.request_counts().values()) == 1, "it is not tried again"
