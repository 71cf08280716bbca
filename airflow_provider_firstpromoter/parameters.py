"""
The checks of parameters that more than one operator, sensor or command takes.

They run whenever a DAG is parsed, so that this module imports nothing that Airflow has not loaded by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, Self, TypeAlias, get_args

import pendulum

#: FirstPromoter's tracking calls whose events have a ledger.
CallName: TypeAlias = Literal["refund", "sale"]
CALL_NAMES: tuple[CallName, ...] = get_args(CallName)

#: The least time between two tries of an event that no referral matched. Less than a day: a daily task that reaches the
#: row a second earlier than yesterday must not leave it for another day.
RECHECK_EVERY = timedelta(hours=20)
LONGEST_RECHECK = timedelta(days=3653)
#: The years that parameters can name. Databases, and the API with the margin, do not know all that Python does.
FIRST_YEAR, LAST_YEAR = 1900, 9998

#: What a template may give for yes and no.
YES, NO = ("true", "1", "yes"), ("false", "0", "no", "none", "")


@dataclass(frozen=True)
class Incremental:
    """
    How a run reads only what is new; the operator's parameters of the same names say more.

    :param column: a column of the query that never decreases for a row that changes
    """

    column: str
    lookback: timedelta = timedelta(days=3)
    full_scan_every: timedelta = timedelta(days=1)
    full_scan: bool = False

    @classmethod
    def of(
        cls, column: str | None, lookback: timedelta, full_scan_every: timedelta, full_scan: bool | str
    ) -> Self | None:
        """
        Return how a run reads only what is new; None if no column is named.

        :param full_scan: may be a text, as a template gives it
        :raises ValueError: if it is a text that says neither yes nor no
        """
        if column is None:
            return None
        told = str(full_scan).strip().lower()
        if told not in (*YES, *NO):
            raise ValueError(f"full_scan must be true or false, not {full_scan!r}")
        return cls(column, lookback, full_scan_every, told in YES)


def checked_window(recheck_unreferred: timedelta | None) -> timedelta | None:
    """
    Check ``recheck_unreferred``, and return it.

    :raises ValueError: if no event would be sent again in that time, or it reaches beyond the calendar
    """
    if recheck_unreferred is not None and not RECHECK_EVERY < recheck_unreferred <= LONGEST_RECHECK:
        raise ValueError(
            f"recheck_unreferred must be longer than {RECHECK_EVERY}, the time between two tries of an event, and at "
            f"most {LONGEST_RECHECK.days} days, not {recheck_unreferred}; timedelta(days=30) is usual"
        )
    return recheck_unreferred


def check_times(**parameters: Any) -> None:
    """
    Refuse times that cannot be used when the DAG is parsed; templates and XComArgs are only known when the task runs.

    :raises ValueError: names the parameter
    """
    for name, value in parameters.items():
        if isinstance(value, timedelta):
            time_before(name, value)
        elif isinstance(value, date) or (isinstance(value, str) and "{" not in value):
            parameter_time(name, value)


def parameter_time(name: str, value: Any) -> datetime | None:
    """
    Return the time that a parameter names, in UTC: a time, a date, or its ISO 8601 text; an empty text is None.

    :raises ValueError: if it is none of these, or of a year that not every database knows
    """
    if value is None or value == "":
        return None
    example = "such as 2026-01-31 or 2026-01-31T14:00:00+00:00"
    if isinstance(value, str):
        try:
            value = pendulum.parse(value)
        except (ValueError, OverflowError):
            raise ValueError(f"{name} ({value!r}) is not a date or time {example}") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise ValueError(f"{name} ({value!r}) is not a date or time {example}")
    # Checked before the conversion, which fails beyond the calendar.
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"{name} ({value}) is not between the years {FIRST_YEAR} and {LAST_YEAR}")
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def time_before(name: str, back: timedelta) -> datetime:
    """
    Return the time so long ago.

    :raises ValueError: if that is before :data:`FIRST_YEAR`, or in the future
    """
    if timedelta() <= back <= datetime.now(UTC) - datetime(FIRST_YEAR, 1, 2, tzinfo=UTC):
        return datetime.now(UTC) - back
    raise ValueError(f"{name} ({back}) does not lead to a time between {FIRST_YEAR} and now")
