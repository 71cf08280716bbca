"""What a reconciliation checks besides commissions: whether the warehouse still selects refunds, and their sales."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from airflow_provider_firstpromoter.calls import Commission, batches, event_id_of
from airflow_provider_firstpromoter.database import CallQuery, stop_if_cancelled
from airflow_provider_firstpromoter.exceptions import InputError
from airflow_provider_firstpromoter.ledger import Ledger, LedgerRecord
from airflow_provider_firstpromoter.reconcile.compare import created_at, mismatch_of, result_from_commissions
from airflow_provider_firstpromoter.reconcile.mismatches import Mismatch, MismatchKind
from airflow_provider_firstpromoter.reconcile.reading import CommissionReader, Period
from airflow_provider_firstpromoter.reconcile.staging import EventPair, Staging, known_ids

T = TypeVar("T")
#: Before everything that was ever sent.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
SALE_KINDS = (MismatchKind.STILL_PENDING, MismatchKind.SALE_NOT_FOUND)


@dataclass
class Checks:
    """
    The checks of one reconciliation.

    :param started_at: when it began
    :param query: the warehouse's query over the whole period; None leaves that check out
    :param pending_after: how old a pending commission has to be to be a mismatch
    :param max_sale_lookups: the number of sales that are looked up at most; 0 leaves these checks out
    :param looked_up: sales that were looked up
    :param left: sales that were not, because they were more
    """

    ledger: Ledger
    reader: CommissionReader
    staging: Staging
    period: Period
    started_at: datetime
    query: CallQuery | None = None
    pending_after: timedelta | None = timedelta(days=45)
    max_sale_lookups: int = 100
    looked_up: int = 0
    left: int = 0

    def no_longer_selected(self) -> Iterator[list[Mismatch]]:
        """
        Yield recorded refunds that were first sent in the period and that the query does not select.

        :raises InputError: if it selects none of what was sent: then it is another query, or one of fewer days
        :raises SourceError: if the warehouse refuses the query
        """
        if self.query is None:
            return
        # What is sent from now on can be missing in what is read.
        read_at = datetime.now(UTC)
        with closing(self.query.rows()) as rows:
            for ids in self._batches(event_id_of(row) for row in rows):
                self.staging.add_selected(one for one in ids if one)
        sent = selected = 0
        for records in self._batches(self._sent_in_period(read_at)):
            self.staging.add_checked(MismatchKind.NO_LONGER_SELECTED, (one.event_id for one in records))
            recorded = [one for one in records if one.recorded]
            selected += self.staging.add_sent(recorded)
            sent += len(recorded)
        if sent and not selected:
            raise InputError(
                f"The query on connection {self.query.name!r} selects none of the {sent} {self.ledger.call.plural} "
                "that were first sent in this period. It must select the whole period: give it no lower bound, or one "
                "that is earlier than created_from"
            )
        for records in self._batches(self.staging.unselected()):
            yield [self._mismatch(MismatchKind.NO_LONGER_SELECTED, one) for one in records]

    def sales(self, open_event_ids: Iterator[str]) -> Iterator[list[Mismatch]]:
        """
        Yield refunds of a sale that FirstPromoter does not have, and refunds pending although their sale is not.

        :param open_event_ids: the refunds with such a mismatch, which are looked up first
        """
        if not self.max_sale_lookups or self.ledger.call.sale_column is None:
            return
        for ids in self._batches(open_event_ids):
            recorded = {one.event_id: one for one in self.ledger.find(ids).values() if one.recorded}
            self._check_all(one for one in ids if one not in recorded)
            self.staging.add_sales(recorded.values(), urgent=True)
        for records in self._batches(self._sent_in_period(datetime.now(UTC))):
            self.staging.add_sales(one for one in records if one.recorded)
        if self.pending_after is not None:
            for records in self._batches(self.ledger.with_pending_commission(self.started_at - self.pending_after)):
                self.staging.add_sales(records)
        chosen, left = self.staging.sales(self.max_sale_lookups)
        self.left = left
        for sale_event_id, commissions in self.reader.sales(chosen):
            if commissions is None:
                continue
            self.looked_up += 1
            refunds = self.staging.refunds_of_sale(sale_event_id)
            self._check_all(one.event_id for one in refunds)
            if not commissions:
                yield [self._mismatch(MismatchKind.SALE_NOT_FOUND, one) for one in refunds]
            elif any(one.state in ("approved", "paid") for one in commissions):
                yield self._still_pending(refunds)

    def _still_pending(self, refunds: list[LedgerRecord]) -> list[Mismatch]:
        """Return the refunds' commissions that are pending for too long, as FirstPromoter lists them now."""
        if self.pending_after is None:
            return []
        before = self.started_at - self.pending_after
        old = {
            number: one
            for one in refunds
            if one.first_sent_at is not None and one.first_sent_at <= before
            for number in known_ids(one)
        }
        return [
            self._mismatch(MismatchKind.STILL_PENDING, old[number], commission)
            for number, commission in self.reader.by_ids(list(old)).items()
            if commission.state == "pending" and created_at(commission, self.started_at) <= before
        ]

    def _mismatch(self, kind: MismatchKind, record: LedgerRecord, commission: Commission | None = None) -> Mismatch:
        pair = EventPair(record.event_id, [commission] if commission else [], record, sign=self.ledger.call.sign)
        result = result_from_commissions(pair) if commission else None
        mismatch = mismatch_of(kind, pair, result, self.started_at)
        sale = None if kind is MismatchKind.NO_LONGER_SELECTED else record.sale_event_id
        happened_at = mismatch.happened_at if commission else record.first_sent_at or self.started_at
        return replace(mismatch, other_event_id=sale, happened_at=happened_at)

    def _check_all(self, event_ids: Iterable[str]) -> None:
        ids = list(event_ids)
        for kind in SALE_KINDS:
            self.staging.add_checked(kind, ids)

    def _sent_in_period(self, before: datetime) -> Iterator[LedgerRecord]:
        end = min(self.period.end or before, before)
        yield from self.ledger.first_sent_between(self.period.start or BEGINNING, end)

    def _batches(self, items: Iterable[T]) -> Iterator[list[T]]:
        for batch in batches(items):
            stop_if_cancelled(self.reader.hook.cancelled)
            yield batch
