"""Airflow connections from the form, JSON or a URI: the account they describe, or an error that names the field."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import pytest
from airflow.models.connection import Connection

from airflow_provider_firstpromoter.account import Account, Extra
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError
from airflow_provider_firstpromoter.get_provider_info import CONN_FIELDS
from tests.api.connections import KEY, PUBLIC, environment, form, refused, uri

# --- the account and its key ---


@pytest.mark.parametrize(
    "connection",
    [
        form(),
        uri(""),
        pytest.param(lambda: environment(f"firstpromoter://acc-1:{KEY}@"), id="env uri"),
        pytest.param(
            lambda: environment(json.dumps({"conn_type": "firstpromoter", "login": "acc-1", "password": KEY})),
            id="env json",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_account_is_the_same_from_form_uri_and_environment(connection: Any) -> None:
    account = Account.from_connection(connection() if callable(connection) else connection)
    assert account.account_id == "acc-1"
    assert account.api_key.get_secret_value() == KEY
    assert account.base_url == PUBLIC
    assert account.conn_id == "fp_eu"
    assert account.extra == Extra()


def test_command_line_names_what_the_connection_does_not() -> None:
    account = Account.from_connection(form(extra={"ledger_conn_id": "warehouse"}))

    plain = account.command_line("accept", "re_1", ledger_conn_id="warehouse", ledger_table="firstpromoter_refunds")
    full = account.command_line("accept", "-re 1", ledger_conn_id="other", ledger_table="finance.refunds")

    assert plain.split()[-3:] == ["accept", "fp_eu", "re_1"]
    assert full.endswith(" accept --ledger-conn-id other --ledger-table finance.refunds fp_eu -- '-re 1'")
    known = tuple(map(int, version("apache-airflow").split(".")[:2])) >= (3, 2)
    program = "airflow firstpromoter " if known else "python -m airflow_provider_firstpromoter "
    assert plain.startswith(program)
    assert full.startswith(program)


def test_api_key_with_characters_escaped_in_a_uri_is_kept() -> None:
    key = "a/b+c=d@e:f%g"
    connection = Connection(conn_id="fp_eu", uri=f"firstpromoter://acc-1:{quote(key, safe='')}@")
    assert Account.from_connection(connection).api_key.get_secret_value() == key


def test_account_id_that_is_a_json_number_becomes_text() -> None:
    connection = environment(json.dumps({"conn_type": "firstpromoter", "login": 1234, "password": KEY}))
    assert Account.from_connection(connection).account_id == "1234"


@pytest.mark.parametrize(("field", "shown"), [("login", "login (Account ID)"), ("password", "password (API key)")])
@pytest.mark.parametrize("empty", [None, ""], ids=repr)
def test_empty_field_error_names_the_field_and_where_to_find_its_value(
    field: str, shown: str, empty: str | None
) -> None:
    assert refused(form(**{field: empty})) == (
        f"Connection 'fp_eu': {shown} is empty; FirstPromoter shows it under Settings > Integrations"
    )


@pytest.mark.parametrize(("field", "shown"), [("login", "login (Account ID)"), ("password", "password (API key)")])
@pytest.mark.parametrize(
    "value",
    [
        "sekrit\r\nX-Evil: 1",
        "sekrit\n",
        "sekrit\x00",
        " sekrit",
        "sekrit ",
        "se krit",
        "sekrit\t",
        "sekrit\x7f",
        "s\u00e9krit",
        "sekrit\u2028",
    ],
    ids=repr,
)
def test_credentials_that_could_inject_a_header_are_refused_and_not_shown(field: str, shown: str, value: str) -> None:
    message = refused(form(**{field: value}))
    assert message == f"Connection 'fp_eu': {shown} holds white space or a character that is not ASCII"


def test_connection_without_an_id_is_called_unsaved() -> None:
    assert refused(form(conn_id=None, login=None)).startswith("Connection '(unsaved)': login")


@pytest.mark.parametrize(
    "fields",
    [
        {"login": None},
        {"login": "a b"},
        {"host": "http://fp.example.com"},
        {"host": f"https://u:{KEY}@fp.example.com"},
        {"host": f"https://fp.example.com?key={KEY}"},
        {"schema": f"{KEY} {KEY}"},
        {"schema": "https"},
        {"extra": {"timeout": KEY}},
        {"extra": {"currency": KEY}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_errors_never_show_the_api_key(fields: dict[str, Any]) -> None:
    with pytest.raises(ConnectionSettingsError) as caught:
        Account.from_connection(form(**fields))
    assert KEY not in f"{caught.value} {caught.value!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_repr_of_an_account_does_not_show_the_api_key() -> None:
    account = Account.from_connection(form())
    assert "acc-1" in repr(account)
    assert KEY not in f"{account!r} {account} {account.model_dump()} {account.model_dump_json()}"


# --- the ledger's name for the account ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "key"),
    [
        (None, "acc-1"),
        ("https://API.firstpromoter.com:443/api/v2", "acc-1"),
        ("https://api.firstpromoter.com/api/v3", "acc-1@api.firstpromoter.com/api/v3"),
        ("https://api.firstpromoter.com:8443", "acc-1@api.firstpromoter.com:8443"),
        ("https://staging.example.com", "acc-1@staging.example.com"),
        ("https://staging.example.com:443/api/v2/", "acc-1@staging.example.com"),
        ("https://gateway.example.com/staging", "acc-1@gateway.example.com/staging"),
        ("https://gateway.example.com/production", "acc-1@gateway.example.com/production"),
        ("https://gateway.example.com:8443/api/v2", "acc-1@gateway.example.com:8443"),
        ("https://gateway.example.com:8444/v2", "acc-1@gateway.example.com:8444/v2"),
        ("https://api.firstpromoter.com.example.com", "acc-1@api.firstpromoter.com.example.com"),
        ("http://127.0.0.1:8799", "acc-1@127.0.0.1:8799"),
        ("http://127.0.0.1:80", "acc-1@127.0.0.1"),
        ("http://[::1]:8799", "acc-1@[::1]:8799"),
        ("http://[::1]", "acc-1@[::1]"),
    ],
)
def test_account_key_differs_by_host_port_and_path(host: str | None, key: str) -> None:
    assert Account.from_connection(form(host=host)).key == key


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        (None, "api.firstpromoter.com:443"),
        ("https://fp.example.com:8443/v2", "fp.example.com:8443"),
        ("http://localhost/v2", "localhost:80"),
        ("http://[::1]:8799", "[::1]:8799"),
        ("http://[::1]", "[::1]:80"),
    ],
)
def test_account_host_has_its_port(host: str | None, shown: str) -> None:
    assert Account.from_connection(form(host=host)).host == shown


# --- the extra ---

FULL = Extra(
    requests_per_minute=100, timeout=2.5, max_attempts=3, currency="EUR", ledger_conn_id="wh", ledger_table="a.b"
)


def test_extra_is_read_from_json_and_from_a_uri() -> None:
    fields = {
        "requests_per_minute": 100,
        "timeout": 2.5,
        "max_attempts": 3,
        "currency": "eur",
        "ledger_conn_id": "wh",
        "ledger_table": "a.b",
        "something_else": {"ignored": True},
    }
    assert Account.from_connection(form(extra=fields)).extra == FULL
    query = "requests_per_minute=100&timeout=2.5&max_attempts=3&currency=eur&ledger_conn_id=wh&ledger_table=a.b"
    assert Account.from_connection(uri(f"/?{query}")).extra == FULL


@pytest.mark.parametrize("empty", [None, ""], ids=repr)
def test_empty_extra_field_has_its_default(empty: str | None) -> None:
    assert Account.from_connection(form(extra=dict.fromkeys(Extra.model_fields, empty))).extra == Extra()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("requests_per_minute", 0),
        ("requests_per_minute", -1),
        ("requests_per_minute", "many"),
        ("requests_per_minute", 1.5),
        ("requests_per_minute", True),
        ("requests_per_minute", 1_000_001),
        ("requests_per_minute", "inf"),
        ("timeout", 0),
        ("timeout", 1e-9),
        ("timeout", True),
        ("timeout", -1),
        ("timeout", 601),
        ("timeout", "inf"),
        ("timeout", "nan"),
        ("timeout", [30]),
        ("max_attempts", 0),
        ("max_attempts", 21),
        ("currency", "EURO"),
        ("currency", "E1R"),
        ("currency", "EUR\n"),
        ("currency", 978),
        ("ledger_conn_id", 5),
        ("ledger_table", ["a"]),
    ],
    ids=repr,
)
def test_unusable_extra_field_is_named(field: str, value: object) -> None:
    assert refused(form(extra={field: value})).startswith(f"Connection 'fp_eu': extra field '{field}' is unusable: ")


def test_form_has_every_extra_field_with_its_default() -> None:
    assert list(CONN_FIELDS) == list(Extra.model_fields)
    offered = {name: field["schema"].get("default") for name, field in CONN_FIELDS.items()}
    assert offered == Extra().model_dump()
