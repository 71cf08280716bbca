"""
How often a refund without a referral is sent again.

This is a separate module because the operators check their parameter while Airflow parses a DAG, and should import
nothing else for that.
"""

from __future__ import annotations

from datetime import timedelta

#: The least time between two tries. Less than a day: a daily task that reaches the row a second earlier than yesterday
#: must not leave it for another day.
RECHECK_EVERY = timedelta(hours=20)


def checked_window(recheck_unreferred: timedelta | None) -> timedelta | None:
    """
    Check the window in which refunds are sent again, and return it.

    :raises ValueError: if it is not longer than :data:`RECHECK_EVERY`: no refund would be sent again
    """
    if recheck_unreferred is not None and recheck_unreferred <= RECHECK_EVERY:
        raise ValueError(
            f"recheck_unreferred must be longer than {RECHECK_EVERY}, the time between two tries of a refund, "
            f"not {recheck_unreferred}; timedelta(days=30) is usual"
        )
    return recheck_unreferred
