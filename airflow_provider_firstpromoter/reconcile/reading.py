"""Reads FirstPromoter's commissions: the pages of a period, single refunds, and what both together have of refunds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from airflow_provider_firstpromoter.api import (
    MOST_IDS,
    CommissionPage,
    read_commissions,
    sign_filter,
)
from airflow_provider_firstpromoter.calls import REFUND, Call, Commission, batches
from airflow_provider_firstpromoter.database import in_background
from airflow_provider_firstpromoter.exceptions import ReadError, SyncInterruptedError, UnreadableCommissionError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import LedgerRecord
from airflow_provider_firstpromoter.parameters import parameter_time, time_before

T = TypeVar("T")
#: The number of failed lookups in a row after which the API is taken to be down.
MOST_FAILED_LOOKUPS = 3
#: The number of pages on which a sale is looked for: a search finds every event_id that begins with the sale's.
MOST_SALE_PAGES = 3
#: The number of refunds up to which all are looked up one by one.
FEW = 20
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


class CommissionReader:
    """
    Reads the commissions of a call's events in a thread of its own: a kill need not wait for a response.

    :param call: whose commissions are read: only those with its sign
    """

    def __init__(self, hook: FirstPromoterHook, call: Call, log: logging.Logger | None = None) -> None:
        self.hook = hook
        self.call_kind = call
        self.log = log or logging.getLogger(__name__)
        self._failed_in_a_row = 0

    def pages(self, period: Period) -> Iterator[CommissionPage]:
        """Read the pages of a period; on them are only commissions that the call can have made."""
        pages = read_commissions(self.hook.client, **period.filters(), **sign_filter(self.call_kind))
        for page in in_background(pages, self.hook.cancelled):
            yield page._replace(commissions=list(filter(self._is_of_call, page.commissions)))

    def look_up(self, event_ids: Iterable[str]) -> Iterator[tuple[str, list[Commission] | None]]:
        """
        Look up refunds one after the other.

        :returns: each event_id with its commissions, or with None if they cannot be read
        :raises ReadError: if several lookups in a row fail
        """
        yield from in_background(self._lookups(event_ids, self._of_event), self.hook.cancelled)

    def sales(self, event_ids: Iterable[str]) -> Iterator[tuple[str, list[Commission] | None]]:
        """Look up sales, likewise; None is also for one that is not found on the first pages of what begins alike."""
        yield from in_background(self._lookups(event_ids, self._of_sale), self.hook.cancelled)

    def by_ids(self, ids: Sequence[int]) -> dict[int, Commission]:
        """Read commissions as they are now; one that FirstPromoter does not list is left out."""
        found: dict[int, Commission] = {}
        for some in batches(ids, MOST_IDS):
            found |= self.call(lambda some=some: {one.id: one for one in self.hook.iter_commissions(ids=some)})  # type: ignore[misc]
        return found

    def of_records(self, records: Sequence[LedgerRecord]) -> dict[str, list[Commission] | None]:
        """
        Read the commissions of these refunds, all tiers and splits.

        A page has a hundred commissions, and a lookup takes one or two requests. So the pages of the days on which the
        refunds were sent are read, unless they are more than the refunds. What has no commission on them, or lacks one
        that the ledger knows, is looked up.

        :param records: each was sent
        :returns: None for a refund whose commissions cannot be read
        """
        found = self._on_pages(records) if len(records) > FEW else {}
        missing = sorted(one.event_id for one in records if not _complete(one, found.get(one.event_id, [])))
        if missing:
            self.log.info("%s that are looked up one by one: %s", self.call_kind.plural.capitalize(), len(missing))
        return found | dict(self.look_up(missing))

    def call(self, request: Callable[[], T]) -> T:
        """Make requests in a thread, so that a kill need not wait for a response."""
        for value in in_background((request() for _ in range(1)), self.hook.cancelled):
            return value
        raise SyncInterruptedError("The task was asked to stop")

    def _on_pages(self, records: Sequence[LedgerRecord]) -> dict[str, list[Commission] | None]:
        times = [time for one in records for time in (one.first_sent_at, one.last_sent_at) if time is not None]
        wanted = {one.event_id for one in records}
        found: dict[str, list[Commission]] = {}
        unreadable: set[str | None] = set()
        for page in self.pages(Period(min(times).date(), max(times).date())):
            if page.number > len(records):
                return {}
            unreadable.update(page.unreadable)
            for one in page.commissions:
                if one.event_id in wanted and one.event_id is not None:
                    found.setdefault(one.event_id, []).append(one)
        # Whatever else is known of a refund with a malformed commission is not all of it.
        return {event_id: commissions for event_id, commissions in found.items() if event_id not in unreadable}

    def _of_event(self, event_id: str) -> list[Commission]:
        return list(filter(self._is_of_call, self.hook.find_commissions(event_id, self.call_kind)))

    def _is_of_call(self, commission: Commission) -> bool:
        """Return whether the call can have made a commission: one with its sign, and not one made by hand."""
        return commission.commission_type != "custom" and commission.is_of(self.call_kind)

    def _of_sale(self, event_id: str) -> list[Commission] | None:
        pages = read_commissions(self.hook.client, q=event_id, sale_amount_from=1)
        for page in pages:
            found = [one for one in page.commissions if one.event_id == event_id and not one.is_of(REFUND)]
            if found:
                return found
            if event_id in page.unreadable or page.number == MOST_SALE_PAGES:
                return None
        return []

    def _lookups(
        self, event_ids: Iterable[str], find: Callable[[str], list[Commission] | None]
    ) -> Iterator[tuple[str, list[Commission] | None]]:
        for event_id in event_ids:
            try:
                yield event_id, find(event_id)
            except UnreadableCommissionError as error:
                self.log.warning("%s", error)
                yield event_id, None
            except ReadError as error:
                self._failed_in_a_row += 1
                if self._failed_in_a_row == MOST_FAILED_LOOKUPS:
                    raise
                self.log.warning("%r could not be looked up: %s", event_id, error)
                yield event_id, None
            else:
                self._failed_in_a_row = 0


def known_ids(record: LedgerRecord) -> set[int]:
    """Return the ids of the commissions that the ledger knows."""
    return {one.id for one in record.commissions}


def known_in_effect(record: LedgerRecord) -> set[int]:
    """Return those of them that are not denied: whether FirstPromoter lists the others makes no difference."""
    return {one.id for one in record.commissions if one.in_effect}


def _complete(record: LedgerRecord, commissions: Sequence[Commission] | None) -> bool:
    """Return whether a refund has a commission, and each one that the ledger knows."""
    return bool(commissions) and known_ids(record) <= {one.id for one in commissions or ()}
