"""What a run may be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from airflow_provider_firstpromoter.refunds import AmountUnit, Identity


@dataclass(frozen=True)
class SyncOptions:
    """
    What a run may be told; the operators' parameters of the same names say more.

    :param limit: refunds to send at most; the rest stays pending
    """

    amount_unit: AmountUnit = "minor"
    identify_by: Sequence[Identity] = ("uid", "email")
    skip_email_notification: bool | None = None
    max_in_flight: int = 8
    max_rejected: int | None = 0
    recheck_unreferred: timedelta | None = None
    retry_rejected: bool = False
    preview: bool = False
    limit: int | None = None
    recover_rewards: bool = False
