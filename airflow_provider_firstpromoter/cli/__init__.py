"""The commands: ``airflow firstpromoter ...``, and the same parser as ``python -m airflow_provider_firstpromoter``."""
