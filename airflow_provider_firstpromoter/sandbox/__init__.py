"""
A FirstPromoter server to develop and test against.

The sandbox implements FirstPromoter's published API contract, stores its data in SQLite, injects faults on request, and
reports every request and refund that it received, so that tests can compare this with what the client says it did. It
imports no other module of this package, so that a misreading of the contract in the client shows as a difference
between the two. Start it with ``python -m airflow_provider_firstpromoter.sandbox``, or in a test with
:func:`running_sandbox`.
"""

from airflow_provider_firstpromoter.sandbox.app import Sandbox
from airflow_provider_firstpromoter.sandbox.audit import Balance, RecordedCommission, RecordedEvent, TrackingRequest
from airflow_provider_firstpromoter.sandbox.faults import Fault
from airflow_provider_firstpromoter.sandbox.responses import SECRET
from airflow_provider_firstpromoter.sandbox.server import running_sandbox
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings

__all__ = [
    "SECRET",
    "Account",
    "Balance",
    "Fault",
    "RecordedCommission",
    "RecordedEvent",
    "Sandbox",
    "Settings",
    "TrackingRequest",
    "running_sandbox",
]
