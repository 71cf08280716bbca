"""Airflow connections to FirstPromoter, as the form, a URI and the environment make them."""

from __future__ import annotations

import json
import os
from typing import Any
from unittest import mock

import pytest
from airflow.models.connection import Connection

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError

KEY = "sekrit-key-0123"
PUBLIC = "https://api.firstpromoter.com/api/v2"


def form(**fields: Any) -> Connection:
    """Return what the connection form saves."""
    extra = fields.pop("extra", None)
    return Connection(
        **{
            "conn_id": "fp_eu",
            "conn_type": "firstpromoter",
            "login": "acc-1",
            "password": KEY,
            "extra": json.dumps(extra) if extra is not None else None,
            **fields,
        }
    )


def uri(rest: str) -> Connection:
    return Connection(conn_id="fp_eu", uri=f"firstpromoter://acc-1:{KEY}@{rest}")


def environment(value: str) -> Connection:
    with mock.patch.dict(os.environ, {"AIRFLOW_CONN_FP_EU": value}):
        from airflow.secrets.environment_variables import EnvironmentVariablesBackend

        connection = EnvironmentVariablesBackend().get_connection("fp_eu")
    assert connection is not None
    return connection


def refused(connection: Connection) -> str:
    with pytest.raises(ConnectionSettingsError) as caught:
        Account.from_connection(connection)
    return str(caught.value)
