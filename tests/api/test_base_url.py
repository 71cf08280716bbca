"""Airflow connections: the base URL that they describe, or an error that names the field."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError
from tests.api.connections import PUBLIC, form, refused, uri


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, PUBLIC),
        ({"host": ""}, PUBLIC),
        ({"host": "", "schema": "", "port": None}, PUBLIC),
        ({"host": "api.firstpromoter.com"}, PUBLIC),
        ({"host": "API.FirstPromoter.com."}, PUBLIC),
        ({"host": "https://api.firstpromoter.com"}, PUBLIC),
        ({"host": "https://api.firstpromoter.com/"}, PUBLIC),
        ({"host": "HTTPS://api.firstpromoter.com/api/v2/"}, PUBLIC),
        ({"host": "api.firstpromoter.com/api/v2"}, PUBLIC),
        ({"host": "fp.example.com", "schema": "/v3/"}, "https://fp.example.com/v3"),
        ({"host": "fp.example.com/v3"}, "https://fp.example.com/v3"),
        ({"host": "fp.example.com/v3", "schema": "v4"}, "https://fp.example.com/v3"),
        ({"host": "fp.example.com", "port": 8443}, "https://fp.example.com:8443/api/v2"),
        ({"host": "fp.example.com:8443/v3"}, "https://fp.example.com:8443/v3"),
        ({"host": "https://fp.example.com:1", "port": 2}, "https://fp.example.com:1/api/v2"),
        ({"port": 8443}, "https://api.firstpromoter.com:8443/api/v2"),
        ({"host": "localhost:8799"}, "https://localhost:8799/api/v2"),
        ({"host": "http://localhost:8799"}, "http://localhost:8799/api/v2"),
        ({"host": "http://127.0.0.1", "port": 8799}, "http://127.0.0.1:8799/api/v2"),
        ({"host": "http://127.1.2.3"}, "http://127.1.2.3/api/v2"),
        ({"host": "http://[::1]:8799/api/v2"}, "http://[::1]:8799/api/v2"),
        ({"host": "[::1]:8799"}, "https://[::1]:8799/api/v2"),
        ({"host": "https://[2001:db8::1]"}, "https://[2001:db8::1]/api/v2"),
    ],
    ids=repr,
)
def test_base_url_defaults_to_https_and_keeps_port_and_path(fields: dict[str, Any], base_url: str) -> None:
    assert Account.from_connection(form(**fields)).base_url == base_url


@pytest.mark.parametrize(
    ("rest", "base_url"),
    [
        ("", PUBLIC),
        ("/", PUBLIC),
        ("api.firstpromoter.com", PUBLIC),
        ("api.firstpromoter.com/api/v2", PUBLIC),
        ("fp.example.com:8443/v3", "https://fp.example.com:8443/v3"),
        ("fp.example.com:8443/a%2Fb", "https://fp.example.com:8443/a/b"),
        (quote("http://127.0.0.1", safe="") + ":8799/api/v2", "http://127.0.0.1:8799/api/v2"),
        (quote("http://localhost:8799/api/v2", safe=""), "http://localhost:8799/api/v2"),
        (quote("https://api.firstpromoter.com/api/v2/", safe=""), PUBLIC),
        (quote("http://[::1]:8799", safe=""), "http://[::1]:8799/api/v2"),
    ],
)
def test_base_url_of_a_uri_is_built_from_its_parts(rest: str, base_url: str) -> None:
    assert Account.from_connection(uri(rest)).base_url == base_url


@pytest.mark.parametrize(
    "host",
    [
        "http://api.firstpromoter.com",
        "http://fp.example.com",
        "http://10.0.0.1",
        "http://0.0.0.0:8799",
        "http://[2001:db8::1]",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://2130706433",
    ],
)
def test_plain_http_is_accepted_for_loopback_only(host: str) -> None:
    assert refused(form(host=host)) == (
        "Connection 'fp_eu': host (API base URL) must use https: over plain http the API key could be read on the way"
    )


@pytest.mark.parametrize(
    "host",
    [
        "ftp://api.firstpromoter.com",
        "file:///etc/passwd",
        "https://",
        "https:///api/v2",
        "//fp.example.com",
        "https://user@fp.example.com",
        "https://user:word@fp.example.com",
        "https://api.firstpromoter.com@fp.example.com",
        "https://api.firstpromoter.com\\@fp.example.com",
        "https://fp.example.com?a=b",
        "https://fp.example.com/api/v2#x",
        "https://fp.example.com/a b",
        "https://fp.example.com/%0d%0aX-Evil:1",
        " api.firstpromoter.com",
        "fp.example.com:port",
        "fp.example.com:99999",
        "fp example.com",
        "f\u00fcr.example.com",
        "https://[::1",
        "https://[fp.example.com]",
    ],
    ids=repr,
)
def test_invalid_base_url_is_refused_and_the_field_named(host: str) -> None:
    message = refused(form(host=host))
    assert message.startswith("Connection 'fp_eu': host (API base URL) ")
    assert "word" not in message


@pytest.mark.parametrize(
    "host", ["https://fp.example.com\r\nX-Evil: 1", "https://fp.example.com/\r\nX-Evil: 1", "fp.example.com/v2\r\n\t"]
)
def test_line_end_in_the_host_never_reaches_a_url(host: str) -> None:
    try:
        became = Account.from_connection(form(host=host)).base_url  # urllib drops line ends
    except ConnectionSettingsError as error:
        became = str(error)
    assert became.isprintable()


@pytest.mark.parametrize("schema", ["http", "https", "HTTPS"])
def test_scheme_in_the_schema_field_is_refused_with_a_hint(schema: str) -> None:
    assert refused(form(schema=schema)) == (
        "Connection 'fp_eu': schema is the URL's path here; write the scheme in front of the host"
    )


@pytest.mark.parametrize("schema", ["a b", "v2?x=1", "v2#x", "v2\r\nX-Evil: 1", "v\u00fc", "a%2fb"], ids=repr)
def test_base_url_with_an_unusable_path_is_refused(schema: str) -> None:
    assert refused(form(schema=schema)) == "Connection 'fp_eu': host (API base URL) has an unusable path"


@pytest.mark.parametrize("port", [-1, 0, 65536, 70000])
def test_port_that_no_server_can_have_is_refused_by_name(port: int) -> None:
    assert refused(form(port=port)) == f"Connection 'fp_eu': port must be between 1 and 65535, not {port}"


@pytest.mark.parametrize("port", ["-1", "0", "70000", "x"])
def test_unusable_port_in_the_base_url_is_refused(port: str) -> None:
    assert refused(form(host=f"https://fp.example.com:{port}")).startswith("Connection 'fp_eu': ")
