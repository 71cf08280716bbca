"""The days that a reconciliation covers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pendulum

#: The time zone of the API's dates is not documented, and a commission can be made on the day after its refund was
#: sent. That many days more are read at either end.
MARGIN = timedelta(days=1)


@dataclass(frozen=True)
class Period:
    """
    Whole days in UTC.

    :param first: None has no beginning
    :param last: inclusive; None has no end
    """

    first: date | None = None
    last: date | None = None

    @classmethod
    def of(cls, first: date | str | timedelta | None, last: date | str | None) -> Period:
        """
        Make a period from an operator's parameters.

        :param first: a date, a time, or its ISO 8601 text; a timedelta counts back from now; an empty text is None
        :param last: likewise, without the timedelta
        :raises ValueError: if a parameter is none of these, or the last day is before the first
        """
        if isinstance(first, timedelta):
            first = datetime.now(UTC) - first
        period = cls(_day(first), _day(last))
        if period.first and period.last and period.last < period.first:
            raise ValueError(f"created_to ({period.last}) is before created_from ({period.first})")
        return period

    @property
    def start(self) -> datetime | None:
        """The first moment of the period."""
        return _midnight(self.first) if self.first else None

    @property
    def end(self) -> datetime | None:
        """The first moment after the period."""
        return _midnight(self.last + timedelta(days=1)) if self.last else None

    def contains(self, moment: datetime) -> bool:
        """
        Return whether a moment is in the period.

        :param moment: aware
        """
        return (self.start is None or self.start <= moment) and (self.end is None or moment < self.end)

    def filters(self) -> dict[str, date | None]:
        """Return the filters of the API for these days and :data:`MARGIN` at either end."""
        return {
            "created_from": self.first and self.first - MARGIN,
            "created_to": self.last and self.last + MARGIN,
        }


def _day(value: date | str | None) -> date | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = pendulum.parse(value)  # type: ignore[assignment]
        except ValueError:
            raise ValueError(f"{value!r} is not a date such as 2026-01-31") from None
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).date()
    if isinstance(value, date):
        return value
    raise ValueError(f"{value!r} is not a date such as 2026-01-31")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
