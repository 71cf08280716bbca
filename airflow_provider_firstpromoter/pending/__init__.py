"""
Decides which rows of a query need sending: the rules in Python and in SQL, and the lookup of the sensor.
"""

from airflow_provider_firstpromoter.pending.incremental import QueryReading
from airflow_provider_firstpromoter.pending.lookup import PendingEvents
from airflow_provider_firstpromoter.pending.rules import (
    SENDING,
    Action,
    ClassifiedRow,
    NextStep,
    PendingRules,
    classify_rows,
    decide,
)

__all__ = [
    "SENDING",
    "Action",
    "ClassifiedRow",
    "NextStep",
    "PendingEvents",
    "PendingRules",
    "QueryReading",
    "classify_rows",
    "decide",
]
