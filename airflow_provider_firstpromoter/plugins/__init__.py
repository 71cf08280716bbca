"""
What the provider adds to Airflow's own pages: the page "Refund runs", on Airflow 3.1 and later.

Airflow loads :class:`~airflow_provider_firstpromoter.plugins.refund_runs.RefundRunsPlugin` through the entry point
``airflow.plugins``. The page is a handful of static files in ``page/``; they hold no data, and the plugin serves none.
"""
