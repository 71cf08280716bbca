"""``python -m airflow_provider_firstpromoter.ledger``."""

from airflow_provider_firstpromoter.ledger.store import main

if __name__ == "__main__":
    main()
