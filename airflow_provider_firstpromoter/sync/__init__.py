"""One run: rows in, results out, through hook and ledger."""

from airflow_provider_firstpromoter.sync.run import (
    RefundSync,
    SyncOptions,
)

__all__ = [
    "RefundSync",
    "SyncOptions",
]
