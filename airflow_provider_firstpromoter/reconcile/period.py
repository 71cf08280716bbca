"""The days that a reconciliation covers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from airflow_provider_firstpromoter.calls import parameter_time, time_before

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
        Make a period from an operator's parameters ``created_from`` and ``created_to``; an empty text is None.

        :param first: a date, a time, or its ISO 8601 text; a timedelta counts back from now
        :param last: likewise, without the timedelta
        :raises ValueError: if a parameter is none of these, or the last day is before the first
        """
        if isinstance(first, timedelta):
            first = time_before("created_from", first)
        start, end = parameter_time("created_from", first), parameter_time("created_to", last)
        period = cls(start and start.date(), end and end.date())
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


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
