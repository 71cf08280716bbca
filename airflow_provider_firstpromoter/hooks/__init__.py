"""The hook: FirstPromoter's API from Airflow, one method per endpoint."""

from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
from airflow_provider_firstpromoter.hooks.tracking_call import track_event

__all__ = ["FirstPromoterHook", "track_event"]
