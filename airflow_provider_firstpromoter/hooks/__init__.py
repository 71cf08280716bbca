"""The hook: FirstPromoter's API from Airflow, one method per endpoint."""

from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook

__all__ = ["FirstPromoterHook"]
