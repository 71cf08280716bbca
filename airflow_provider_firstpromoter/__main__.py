"""The command line: ``python -m airflow_provider_firstpromoter``."""

import sys
from contextlib import redirect_stdout

with redirect_stdout(sys.stderr):  # Airflow 3.0 logs to standard output while it is imported
    from airflow_provider_firstpromoter.cli.definition import main

if __name__ == "__main__":
    main()
