"""
Which refunds of a query need sending: the rule in Python and in SQL, and the sensor's question.
"""

from airflow_provider_firstpromoter.pending.antijoin import unsettled_rows
from airflow_provider_firstpromoter.pending.lookup import PendingRefunds
from airflow_provider_firstpromoter.pending.rules import ClassifiedRow, Action, decide, classify_rows

__all__ = ["Judged", "PendingRefunds", "Verdict", "decide", "judged", "unsettled_rows"]
