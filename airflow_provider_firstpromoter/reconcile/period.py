"""The days that a reconciliation looks at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pendulum

#: The API's dates may be of another time zone, and a commission and its answer of two days.
MARGIN = timedelta(days=1)


@dataclass(frozen=True)
class Period:
    """
    Whole days, UTC.

    :param first: None is from the beginning
    :param last: itself included; None is until now
    """

    first: date | None = None
    last: date | None = None

    @classmethod
    def of(cls, first: date | str | timedelta | None, last: date | str | None) -> Period:
        """
        :param first: a date, a time, or its ISO 8601 text; an empty text is none; a timedelta counts back from now
        :raises ValueError: if it is none of these, or the last day is before the first
        """
        if isinstance(first, timedelta):
            first = datetime.now(UTC) - first
        period = cls(_day(first), _day(last))
        if period.first and period.last and period.last < period.first:
            raise ValueError(f"created_to ({period.last}) is before created_from ({period.first})")
        return period

    @property
    def start(self) -> datetime | None:
        """Its first moment."""
        return _midnight(self.first) if self.first else None

    @property
    def end(self) -> datetime | None:
        """The first moment that is no longer of it."""
        return _midnight(self.last + timedelta(days=1)) if self.last else None

    def contains(self, moment: datetime) -> bool:
        """Whether an aware moment is of it."""
        return (self.start is None or self.start <= moment) and (self.end is None or moment < self.end)

    def filters(self) -> dict[str, date | None]:
        """What to ask the API for, which is a little more."""
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
            raise ValueError(f"{value!r} is no date such as 2026-01-31") from None
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).date()
    if isinstance(value, date):
        return value
    raise ValueError(f"{value!r} is no date such as 2026-01-31")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
