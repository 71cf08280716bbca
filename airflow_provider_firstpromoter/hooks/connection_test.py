"""The test of a connection, and what it says to the user who pressed the button."""

from __future__ import annotations

from typing import Any

from airflow_provider_firstpromoter.account import DEFAULT_PATH, PUBLIC_HOST
from airflow_provider_firstpromoter.api import Transport
from airflow_provider_firstpromoter.calls import masked


def try_connection(transport: Transport) -> tuple[bool, str]:
    """
    Read one promoter, and say what the response means for the settings of the connection.

    :returns: whether the connection works, and one sentence about it
    """
    account = transport.account
    response = transport.attempt("GET", "/company/promoters", params={"per_page": 1})
    where = account.base_url
    message = (masked(response.message, account.api_key.get_secret_value()) or "").rstrip(".")
    status = f"{response.status}: {message}" if message else f"{response.status}"
    if response.status is None:
        return False, f"FirstPromoter could not be reached at {where}: {response.problem}"
    if response.status == 200 and _is_listing(response.payload):
        return True, f"Connected to FirstPromoter account {account.account_id} at {where}"
    if response.status == 401:
        return False, (
            f"FirstPromoter refused the API key ({status}); "
            "copy it again from Settings > Integrations > Manage API Keys"
        )
    if response.status == 403:
        return False, (
            f"FirstPromoter refused Account ID {account.account_id!r} with this API key ({status}); "
            "compare it with Settings > Integrations"
        )
    if response.status == 429 or response.status >= 500:
        return False, f"{where} answered {status}; try again in a minute"
    if message and "code" in response.payload:
        return False, f"FirstPromoter answered {status}; check the Account ID and the API base URL"
    return False, (
        f"{where} answered {response.status}, but not as FirstPromoter does; "
        f"leave the API base URL empty for https://{PUBLIC_HOST}{DEFAULT_PATH}"
    )


def _is_listing(payload: Any) -> bool:
    """
    Return whether a payload is a page of records.

    FirstPromoter does not document whether that is a bare list, or an object that holds it beside paging information.
    """
    return isinstance(payload, list) or (
        isinstance(payload, dict) and any(isinstance(value, list) for value in payload.values())
    )
