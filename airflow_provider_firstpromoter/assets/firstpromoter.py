"""Assets with ``firstpromoter://`` URIs: the refunds of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from urllib.parse import SplitResult


def create_asset(*, account: str, extra: dict[str, Any] | None = None) -> Any:
    """
    Return the asset of an account's refunds.

    :param account: the Account ID, with ``@host:port/path`` where it is not the public API's
    """
    from airflow.providers.common.compat.sdk import Asset

    # Quoted, because of the @ before another host: Airflow 2 would take the account for a login.
    return Asset(uri=f"firstpromoter://{quote(account, safe='')}/refunds", extra=extra or {})


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """
    Check a URI when a DAG declares it.

    :raises ValueError: if it names no account, or anything but the account's refunds
    """
    if not uri.netloc:
        raise ValueError("URI format firstpromoter:// must contain an Account ID: firstpromoter://ACCOUNT_ID/refunds")
    if uri.path.strip("/") != "refunds" or uri.query or uri.fragment:
        raise ValueError("URI format firstpromoter:// must be firstpromoter://ACCOUNT_ID/refunds")
    return uri._replace(path="/refunds")


def convert_asset_to_openlineage(asset: Any, lineage_context: Any) -> Any:  # noqa: ARG001  # Airflow passes it
    """Return the OpenLineage dataset of an asset, the same that a task's own lineage names."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    return Dataset(namespace=f"firstpromoter://{unquote(urlsplit(asset.uri).netloc)}", name="refunds")
