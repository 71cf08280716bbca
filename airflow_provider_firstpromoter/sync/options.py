"""The parameters of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from airflow_provider_firstpromoter.calls import AmountUnit, Identity

FailOn = Literal["new", "any"]


@dataclass(frozen=True)
class SyncOptions:
    """
    The parameters of a run; the operators' parameters of the same names say more.

    :param limit: refunds to send at most; the rest stays pending
    :param max_pending: more refunds to send than this end the run before its first request; None allows any number
    :param recover_rewards: None looks rewards up in a retry only, where an earlier try may have reversed them
    """

    amount_unit: AmountUnit = "minor"
    identify_by: Sequence[Identity] = ("uid", "email")
    skip_email_notification: bool | None = None
    max_in_flight: int = 8
    max_rejected: int | None = 0
    fail_on: FailOn = "new"
    recheck_unreferred: timedelta | None = None
    retry_rejected: bool = False
    preview: bool = False
    limit: int | None = None
    max_pending: int | None = None
    recover_rewards: bool | None = None
