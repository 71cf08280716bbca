"""The connection in Airflow's UI: its form's fields for Airflow before 3.2, and what its Test button says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_firstpromoter.account import DEFAULT_PATH, PUBLIC_HOST
from airflow_provider_firstpromoter.api import Client
from airflow_provider_firstpromoter.get_provider_info import CONN_FIELDS


def form_widgets() -> dict[str, Any]:
    """Return the form's fields for the extra, by name. They need Flask-AppBuilder, which only Airflow 2 requires."""
    return {name: _widget(field) for name, field in CONN_FIELDS.items()}


def _widget(field: Mapping[str, Any]) -> Any:
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from wtforms import IntegerField, StringField
    from wtforms.validators import Length, NumberRange, Optional

    schema = field["schema"]
    kind = IntegerField if "integer" in schema["type"] else StringField
    # Airflow 2 has the fields of all connection types in one form: an empty one must not hold up others.
    validators: list[Any] = [Optional()]
    if "minimum" in schema:
        validators.append(NumberRange(schema["minimum"], schema["maximum"]))
    if "maxLength" in schema:
        validators.append(Length(max=schema["maxLength"]))
    return kind(
        field["label"],
        validators=validators,
        description=field["description"],
        default=schema.get("default"),
        widget=BS3TextFieldWidget(),
    )


def try_connection(client: Client) -> tuple[bool, str]:
    """
    Read one promoter, and say what the response means for the settings of the connection.

    :returns: whether the connection works, and one sentence about it
    """
    account = client.account
    response = client.attempt("GET", "/company/promoters", params={"per_page": 1}, private=())
    where = account.base_url
    message = (response.said() or "").rstrip(".")
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
