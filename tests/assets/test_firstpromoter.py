"""Assets with ``firstpromoter://`` URIs."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import Asset

from airflow_provider_firstpromoter.assets.firstpromoter import (
    convert_asset_to_openlineage,
    create_asset,
    sanitize_uri,
)


@pytest.mark.parametrize("account", ["abc123", "abc123@gateway.example:8443/api/v2"])
def test_asset_of_an_account_is_accepted_by_airflow(account: str) -> None:
    asset = create_asset(account=account, extra={"a": 1})

    assert isinstance(asset, Asset)
    assert sanitize_uri(urlsplit(asset.uri)).path == "/refunds"
    assert asset.extra == {"a": 1}


@pytest.mark.parametrize("uri", ["firstpromoter:///refunds", "firstpromoter://abc/leads", "firstpromoter://abc"])
def test_uri_that_names_no_refunds_of_an_account_is_refused_by_airflow(uri: str) -> None:
    with pytest.raises(ValueError, match="URI format firstpromoter://"):
        sanitize_uri(urlsplit(uri))


def test_openlineage_dataset_of_an_asset_is_the_one_of_the_task() -> None:
    facets = pytest.importorskip("openlineage.client.event_v2")
    asset = SimpleNamespace(uri="firstpromoter://abc123%40gateway.example/refunds")

    dataset = convert_asset_to_openlineage(asset, None)

    assert (dataset.namespace, dataset.name) == ("firstpromoter://abc123@gateway.example", "refunds")
    assert facets
