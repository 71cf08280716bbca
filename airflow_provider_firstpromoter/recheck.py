"""
How often a refund without a referral is sent again.

A module of its own: the operators check their parameter while Airflow parses a DAG, and import nothing else for that.
"""

from __future__ import annotations

from datetime import timedelta

#: The least time between two tries. Less than a day: a daily task that reaches the row a second earlier than yesterday
#: must not leave it for another day.
RECHECK_EVERY = timedelta(hours=20)


def checked_window(recheck_unreferred: timedelta | None) -> timedelta | None:
    """
    Return the window in which refunds are sent again, unless no refund could be.

    :raises ValueError: if it is not longer than :data:`RECHECK_EVERY`
    """
    if recheck_unreferred is not None and recheck_unreferred <= RECHECK_EVERY:
        raise ValueError(
            f"recheck_unreferred must be longer than {RECHECK_EVERY}, the time between two tries of a refund, "
            f"not {recheck_unreferred}; timedelta(days=30) is usual"
        )
    return recheck_unreferred
