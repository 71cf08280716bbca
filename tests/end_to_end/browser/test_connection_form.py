"""The connection form and its Test button, used as a user uses them, against the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.account import Account, Extra
from airflow_provider_firstpromoter.get_provider_info import CONN_FIELDS
from dev.processes import free_port
from tests.end_to_end.browser.airflow_server import AIRFLOW, AIRFLOW_3, Airflow
from tests.end_to_end.browser.forms import Airflow2Form, Airflow3Form, Form

pytestmark = pytest.mark.browser

#: The fields that Airflow has for every connection.
AIRFLOWS_OWN = ["Connection ID", "Connection Type"] if AIRFLOW_3 else ["Connection Id", "Connection Type"]
STANDARD = ["API base URL", "Account ID", "API key", "Port"]
EXTRA = [field["label"] for field in CONN_FIELDS.values()]
#: The page of these versions sends port 0 for a connection without one, which their API takes for another address than
#: the stored connection's (https://github.com/apache/airflow/pull/73298).
NEEDS_PORT_TO_TEST = AIRFLOW in ("3.3.1", "3.3.2")
#: Any port will do: the one in the base URL is used.
PORT = "443"


@pytest.fixture
def form(page: Any, airflow: Airflow, cookies: Any) -> Form:
    page.context.add_cookies(cookies)
    return (Airflow3Form if AIRFLOW_3 else Airflow2Form)(page, airflow.url)


@pytest.fixture
def firstpromoter(new_sandbox: Callable[..., Any]) -> Any:
    """A sandbox on its usual port if that is free, so that screenshots stay as they are."""
    return new_sandbox(port=free_port(8765), requests_per_minute=0)


# The first test, so that the list of connections in its screenshots has no others of the tests'.
def test_test_button_refuses_a_wrong_key_and_accepts_the_right_one(
    form: Form, firstpromoter: Any, screenshot: Callable[..., None]
) -> None:
    form.field(AIRFLOWS_OWN[0]).fill("firstpromoter_acme")
    form.fill(Account_ID=firstpromoter.account_id, API_key="mistyped", API_base_URL=firstpromoter.base_url, Port=PORT)
    form.save()
    assert form.test() == (
        "FirstPromoter refused the API key (401: Unauthorized); "
        "copy it again from Settings > Integrations > Manage API Keys"
    )
    screenshot("connection-test-failed", height=480)
    form.replace_key(firstpromoter.api_key)
    assert form.test() == f"Connected to FirstPromoter account {firstpromoter.account_id} at {firstpromoter.base_url}"
    screenshot("connection-test-ok", height=480)


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 tests connections without a port")
def test_connection_without_a_port_can_be_tested_by_command_even_where_the_button_cannot(
    form: Form, firstpromoter: Any, airflow: Airflow
) -> None:
    form.field(AIRFLOWS_OWN[0]).fill("portless")
    form.fill(Account_ID=firstpromoter.account_id, API_key="mistyped", API_base_URL=firstpromoter.base_url)
    form.save()
    refused = "FirstPromoter refused the API key (401: Unauthorized)"
    assert form.test().startswith("Bad Request" if NEEDS_PORT_TO_TEST else refused)
    form.replace_key(firstpromoter.api_key)
    assert "Connection success!" in airflow.command("connections", "test", "portless")


def test_form_has_the_fields_that_a_connection_needs_and_no_others(form: Form, screenshot: Callable[..., None]) -> None:
    # Airflow 2 shows the extra's JSON between the fields; get_provider_info says why it is not hidden.
    more = [] if AIRFLOW_3 else ["Extra", *EXTRA]
    assert form.labels() == [*AIRFLOWS_OWN, *STANDARD, *more]
    assert form.field("API base URL").get_attribute("placeholder") == "https://api.firstpromoter.com/api/v2"
    assert form.field("API key").get_attribute("type") == "password"
    form.field(AIRFLOWS_OWN[0]).fill("firstpromoter_default")
    screenshot("connection-form", form.form)

    for field in CONN_FIELDS.values():
        default = field["schema"].get("default")
        assert form.field(field["label"]).input_value() == ("" if default is None else str(default))
        assert form.help(field["label"]) == field["description"]
        if field["label"] == EXTRA[0]:
            screenshot("connection-form-extra", form.form, height=1400)


def test_connection_saved_by_the_form_is_read_by_the_hook(form: Form, airflow: Airflow) -> None:
    form.field(AIRFLOWS_OWN[0]).fill("full")
    form.fill(Account_ID="acc_1", API_key="key_1", API_base_URL="https://eu.example.com/v2/")
    form.fill(
        Ledger_connection="warehouse",
        Ledger_table="finance.refunds",
        Account_currency="eur",
        Requests_per_minute="120",
        Timeout_in_seconds="10",
        Attempts_per_request="3",
    )
    form.save()
    account = Account.from_connection(airflow.stored("full"))
    assert (account.account_id, account.api_key.get_secret_value()) == ("acc_1", "key_1")
    assert account.base_url == "https://eu.example.com/v2"
    assert account.extra == Extra(
        ledger_conn_id="warehouse",
        ledger_table="finance.refunds",
        currency="EUR",
        requests_per_minute=120,
        timeout=10,
        max_attempts=3,
    )


def test_empty_fields_of_the_form_mean_the_defaults(form: Form, airflow: Airflow) -> None:
    form.field(AIRFLOWS_OWN[0]).fill("emptied")
    form.fill(Account_ID="acc_1", API_key="key_1")
    form.fill(Ledger_table="", Requests_per_minute="", Timeout_in_seconds="", Attempts_per_request="")
    form.save()
    account = Account.from_connection(airflow.stored("emptied"))
    assert account.base_url == "https://api.firstpromoter.com/api/v2"
    assert account.extra == Extra()


@pytest.mark.parametrize(
    ("conn_id", "changed", "sentence"),
    [
        (
            "account_unknown",
            {"Account_ID": "nobody"},
            "FirstPromoter refused Account ID 'nobody' with this API key (403: Forbidden); "
            "compare it with Settings > Integrations",
        ),
        (
            "no_key",
            {"API_key": ""},
            "Password (API key) is empty; FirstPromoter shows it under Settings > Integrations",
        ),
        (
            "nobody_there",
            {"API_base_URL": "http://127.0.0.1:1"},
            "FirstPromoter could not be reached at http://127.0.0.1:1/api/v2: the connection was refused (127.0.0.1:1)",
        ),
        (
            "somebody_else",
            {"API_base_URL": "{url}/wrong/path"},
            "{url}/wrong/path answered 404, but not as FirstPromoter does; "
            "leave the API base URL empty for https://api.firstpromoter.com/api/v2",
        ),
        (
            "plain_http",
            {"API_base_URL": "http://api.firstpromoter.com"},
            "Host (API base URL) must use https: over plain http the API key could be read on the way",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_test_button_says_in_one_sentence_what_is_wrong(
    form: Form, firstpromoter: Any, conn_id: str, changed: dict[str, str], sentence: str
) -> None:
    url = firstpromoter.base_url.removesuffix("/api/v2")
    right = {
        "Account_ID": firstpromoter.account_id,
        "API_key": firstpromoter.api_key,
        "API_base_URL": url,
        "Port": PORT,
    }
    form.field(AIRFLOWS_OWN[0]).fill(conn_id)
    form.fill(**right | {field: value.format(url=url) for field, value in changed.items()})
    form.save()
    assert form.test() == sentence.format(url=url)
