"""The command line: ``python -m airflow_provider_firstpromoter``."""

from airflow_provider_firstpromoter.cli.commands import main

if __name__ == "__main__":
    main()
