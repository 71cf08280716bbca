"""
A FirstPromoter to develop and test against.

It is written from FirstPromoter's published contract and imports nothing of the rest of this package, so that one
misreading of the contract cannot hide in both.
"""

from airflow_provider_firstpromoter.sandbox.app import Sandbox
from airflow_provider_firstpromoter.sandbox.audit import RecordedRefund, RefundRequest
from airflow_provider_firstpromoter.sandbox.faults import Fault
from airflow_provider_firstpromoter.sandbox.serializers import SECRET
from airflow_provider_firstpromoter.sandbox.server import running_sandbox
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings

__all__ = ["SECRET", "Account", "Fault", "RecordedRefund", "RefundRequest", "Sandbox", "Settings", "running_sandbox"]
