"""The asset events of a run that sent events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset, AssetAlias

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_firstpromoter.calls import Summary
    from airflow_provider_firstpromoter.sync import Sync


def attach_asset_events(outlets: Sequence[Any] | None, context: Context, sync: Sync, summary: Summary) -> None:
    """
    Attach the summary's counts and sums to the outlets' events, with those of all runs since the last event.

    An asset gets an event with every run that succeeds, and Airflow makes it. An alias gets one only if an event
    was recorded since its last one: a DAG scheduled by it runs when there is something to read.

    :param outlets: of the task; only assets and aliases among them matter
    """
    if not any(isinstance(outlet, Asset | AssetAlias) for outlet in outlets or ()):
        return
    from airflow_provider_firstpromoter.assets.firstpromoter import create_asset
    from airflow_provider_firstpromoter.calls import Outcome

    every_run = any(isinstance(outlet, Asset) for outlet in outlets or ())
    since = sync.since_last_event(only_reversals=not every_run)
    extra = _flat({**summary.to_json(), "since_last_event": since.to_json()})
    for outlet in outlets or ():
        if isinstance(outlet, AssetAlias):
            if since.outcomes[Outcome.RECORDED] and not summary.preview:
                asset = create_asset(account=sync.hook.account.key, kind=summary.kind)
                context["outlet_events"][outlet].add(asset, extra=extra)
        elif isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra = extra


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """
    Return the numbers and texts of a summary by their path, such as ``outcomes.recorded``; lists are left out.

    Airflow 2 and 3.0 put the values of an alias event's extra into a set, and fail the task if one is a dict or a list.
    """
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None and not isinstance(value, list):
            flat[f"{prefix}{name}"] = value
    return flat
