"""
What the provider adds to Airflow's own pages: the page "FirstPromoter", on Airflow 3.1 and later.

Airflow loads :class:`~airflow_provider_firstpromoter.plugins.firstpromoter.FirstPromoterPlugin` through the entry point
``airflow.plugins``. The page is a handful of static files in ``page/``; they hold no data, and the plugin serves none.
"""
