"""Reads the negative commissions of refunds: the pages of the days on which they were sent, and the rest one by one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from airflow_provider_firstpromoter.api import (
    read_commissions,
)
from airflow_provider_firstpromoter.calls import Commission
from airflow_provider_firstpromoter.database import in_background
from airflow_provider_firstpromoter.exceptions import UnreadableCommissionError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import LedgerRecord
from airflow_provider_firstpromoter.reconcile.period import Period

#: The number of refunds up to which all are looked up one by one.
FEW = 20


class CommissionReader:
    """
    Reads the negative commissions of refunds.

    A page has a hundred commissions, and a lookup takes one or two requests. So pages are read for as long as there are
    fewer of them than refunds without a commission, and the refunds that are left are looked up.
    """

    def __init__(self, hook: FirstPromoterHook, log: logging.Logger) -> None:
        self.hook = hook
        self.log = log
        #: The commissions by event_id.
        self.found: dict[str, list[Commission]] = {}
        #: The event_ids of malformed commissions.
        self.unreadable: set[str] = set()

    def read(self, records: Sequence[LedgerRecord]) -> None:
        """
        Read the commissions of these refunds.

        :param records: each was sent
        :raises ReadError: if the commissions cannot be read
        :raises AccessRefusedError: on 401 and 403
        :raises SyncInterruptedError: if the hook is cancelled meanwhile
        """
        missing = {record.event_id for record in records}
        if len(missing) > FEW:
            self._read_pages(records, missing)
        missing -= self.found.keys() | self.unreadable
        if missing:
            self.log.info("%s refunds are looked up one by one", len(missing))
        for event_id, commissions in in_background(self._lookups(sorted(missing)), self.hook.cancelled):
            if commissions is None:
                self.unreadable.add(event_id)
            else:
                self.found[event_id] = commissions

    def _read_pages(self, records: Sequence[LedgerRecord], wanted: set[str]) -> None:
        times = [time for one in records for time in (one.first_sent_at, one.last_sent_at) if time is not None]
        period = Period(min(times).date(), max(times).date())
        pages = read_commissions(self.hook.transport, **period.filters(), sale_amount_to=-1)
        complete = False
        for page in in_background(pages, self.hook.cancelled):
            self.unreadable |= {event_id for event_id in page.unreadable if event_id in wanted}
            on_page: set[str] = set()
            for one in page.commissions:
                if one.event_id is not None and one.event_id in wanted and _can_be_of_refund(one):
                    self.found.setdefault(one.event_id, []).append(one)
                    on_page.add(one.event_id)
            if complete:
                return
            # Further commissions of the last refunds can be on the next page, so that is read as well.
            left = len(wanted - self.found.keys() - self.unreadable)
            complete = left == 0
            if not complete and page.number > left:
                for event_id in on_page:  # likewise, but they are looked up
                    del self.found[event_id]
                return

    def _lookups(self, event_ids: Sequence[str]) -> Iterator[tuple[str, list[Commission] | None]]:
        """Look up refunds; None is for those whose commission is malformed."""
        for event_id in event_ids:
            try:
                yield event_id, [one for one in self.hook.find_commissions(event_id) if _can_be_of_refund(one)]
            except UnreadableCommissionError as error:
                self.log.warning("%s", error)
                yield event_id, None


def _can_be_of_refund(commission: Commission) -> bool:
    """Return whether a commission can be a refund's: negative, and not made by hand."""
    return commission.is_reversal and commission.commission_type != "custom"
