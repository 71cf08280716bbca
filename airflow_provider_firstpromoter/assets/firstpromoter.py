"""Assets with ``firstpromoter://`` URIs: the refunds, or the sales, of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from urllib.parse import SplitResult


def create_asset(*, account: str, kind: str = "refunds", extra: dict[str, Any] | None = None) -> Any:
    """
    Return the asset of an account's refunds or sales.

    :param account: the Account ID, with ``@host:port/path`` where it is not the public API's
    :param kind: ``refunds`` or ``sales``
    """
    from airflow.providers.common.compat.sdk import Asset

    # Quoted, because of the @ before another host: Airflow 2 would take the account for a login.
    return Asset(uri=f"firstpromoter://{quote(account, safe='')}/{kind}", extra=extra or {})


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """
    Check a URI when a DAG declares it.

    :raises ValueError: if it names no account, or anything but the account's refunds or sales
    """
    if not uri.netloc:
        raise ValueError("URI format firstpromoter:// must contain an Account ID: firstpromoter://ACCOUNT_ID/refunds")
    kind = uri.path.strip("/")
    if kind not in ("refunds", "sales") or uri.query or uri.fragment:
        raise ValueError("URI format firstpromoter:// must be firstpromoter://ACCOUNT_ID/refunds, or …/sales")
    return uri._replace(path=f"/{kind}")


def convert_asset_to_openlineage(asset: Any, lineage_context: Any) -> Any:  # noqa: ARG001  # Airflow passes it
    """Return the OpenLineage dataset of an asset, the same that a task's own lineage names."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    uri = urlsplit(asset.uri)
    return Dataset(namespace=f"firstpromoter://{unquote(uri.netloc)}", name=uri.path.strip("/"))
