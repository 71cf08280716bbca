"""The command line: ``python -m airflow_provider_firstpromoter``."""
