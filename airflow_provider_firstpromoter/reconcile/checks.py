"""What a reconciliation checks besides commissions: whether the warehouse still selects events, and refunds' sales."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from airflow_provider_firstpromoter.calls import Commission, batches, event_id_of
from airflow_provider_firstpromoter.database import CallQuery, ScratchDatabase, stop_if_cancelled
from airflow_provider_firstpromoter.exceptions import InputError
from airflow_provider_firstpromoter.ledger import Ledger, LedgerRecord
from airflow_provider_firstpromoter.reconcile.compare import (
    EventPair,
    created_at,
    mismatch_of,
    result_from_commissions,
)
from airflow_provider_firstpromoter.reconcile.mismatch_table import Findings
from airflow_provider_firstpromoter.reconcile.mismatches import Mismatch, MismatchKind
from airflow_provider_firstpromoter.reconcile.reading import CommissionReader, Period, known_ids

T = TypeVar("T")
#: Before everything that was ever sent.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
SALE_KINDS = (MismatchKind.STILL_PENDING, MismatchKind.SALE_NOT_FOUND)
SELECTED = """
CREATE TABLE selected (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE sent (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
#: Refunds whose sale may be looked up. Urgent are those with an open mismatch, late those that are pending for long.
SALES = """
CREATE TABLE sales (
    sale_event_id TEXT, event_id TEXT, urgent INTEGER, late INTEGER, PRIMARY KEY (sale_event_id, event_id)
) WITHOUT ROWID;
"""


@dataclass
class Checks:
    """
    The checks of one reconciliation.

    :param started_at: when it began
    :param pending_before: when a pending commission has to be made at the latest to be a mismatch; None leaves that out
    :param looked_up: sales that were looked up
    :param left: sales that were not, because they were more
    """

    ledger: Ledger
    reader: CommissionReader
    period: Period
    findings: Findings
    started_at: datetime
    pending_before: datetime | None = None
    looked_up: int = 0
    left: int = 0

    def no_longer_selected(self, query: CallQuery) -> None:
        """
        Find recorded events that were first sent in the period, and that the query over all of it does not select.

        :raises InputError: if it selects none of what was sent: then it is another query, or one of fewer days
        :raises SourceError: if the warehouse refuses the query
        """
        # What is sent from now on can be missing in what is read.
        read_at = datetime.now(UTC)
        with ScratchDatabase(SELECTED) as scratch:
            with closing(query.rows()) as rows:
                for ids in self._batches(map(event_id_of, rows)):
                    scratch.insert("INSERT OR IGNORE INTO selected VALUES (?)", ((one,) for one in ids if one))
            for records in self._sent_in_period(read_at):
                self.findings.looked_for(MismatchKind.NO_LONGER_SELECTED, (one.event_id for one in records))
                scratch.insert("INSERT INTO sent VALUES (?)", ((one.event_id,) for one in records if one.recorded))
            ((sent, selected),) = scratch.read(
                "SELECT count(*), count(selected.event_id) FROM sent LEFT JOIN selected USING (event_id)"
            )
            if sent and not selected:
                raise InputError(
                    f"The query on connection {query.name!r} selects none of the {self.ledger.call.counted(sent)} that "
                    "were first sent in this period. It must select the whole period: give it no lower bound, or one "
                    "that is earlier than created_from"
                )
            missing = "SELECT event_id FROM (SELECT * FROM sent EXCEPT SELECT * FROM selected) WHERE event_id > ?"
            for unselected in scratch.ids_in_batches(missing, ""):
                self._write(MismatchKind.NO_LONGER_SELECTED, unselected)

    def sales(self, most: int, sales: Ledger) -> None:
        """
        Find refunds of a sale that FirstPromoter does not have, and refunds pending although their sale is not.

        :param most: the number of sales that are looked up; those of open mismatches come first
        :param sales: their ledger, which is asked before FirstPromoter
        """
        with ScratchDatabase(SALES) as scratch:
            still_open = (event_id for _, event_id, _ in self.findings.table.open_mismatches(SALE_KINDS))
            for ids in self._batches(still_open):
                recorded = [one for one in self.ledger.find(ids).values() if one.recorded]
                self._looked_for(set(ids) - {one.event_id for one in recorded})
                self._add_sales(scratch, recorded, urgent=True)
            for records in self._sent_in_period(datetime.now(UTC)):
                self._add_sales(scratch, (one for one in records if one.recorded))
            if self.pending_before is not None:
                for records in self._batches(self.ledger.with_pending_commission(self.pending_before)):
                    self._add_sales(scratch, records)
            self._ask_ledger(scratch, sales)
            ((count,),) = scratch.read("SELECT count(DISTINCT sale_event_id) FROM sales")
            chosen = scratch.read(
                "SELECT sale_event_id FROM sales GROUP BY 1 ORDER BY max(urgent) DESC, random() LIMIT ?", most
            )
            self.left = max(count - most, 0)
            for sale_event_id, commissions in self.reader.sales([one for (one,) in chosen]):
                if commissions is not None:
                    self.looked_up += 1
                    refunds = _refunds_of(scratch, [sale_event_id])[sale_event_id]
                    self._looked_for(refunds)
                    if not commissions:
                        self._write(MismatchKind.SALE_NOT_FOUND, refunds)
                    elif _is_final(commissions):
                        self._write_still_pending(event_id for event_id, is_late in refunds.items() if is_late)

    def _ask_ledger(self, scratch: ScratchDatabase, sales: Ledger) -> None:
        """
        Leave out the sales of which the ledger knows enough: that FirstPromoter has them.

        Of a sale with a refund that is pending for long it must also know a commission that is not: its own can have
        been approved since.
        """
        ids_of_sales = "SELECT DISTINCT sale_event_id FROM sales WHERE sale_event_id > ?"
        for ids in scratch.ids_in_batches(ids_of_sales, "") if sales.exists() else ():
            refunds = _refunds_of(scratch, ids)
            known = {
                event_id: _is_final(record.commissions)
                for event_id, record in sales.find(ids).items()
                if record.recorded and (_is_final(record.commissions) or not any(refunds[event_id].values()))
            }
            self._looked_for(one for event_id in known for one in refunds[event_id])
            late = (one for event_id, is_final in known.items() if is_final for one in refunds[event_id].items())
            self._write_still_pending(event_id for event_id, is_late in late if is_late)
            scratch.insert("DELETE FROM sales WHERE sale_event_id = ?", ((one,) for one in known))

    def _add_sales(self, scratch: ScratchDatabase, records: Iterable[LedgerRecord], *, urgent: bool = False) -> None:
        scratch.insert(
            "INSERT OR IGNORE INTO sales VALUES (?, ?, ?, ?)",
            ((one.sale_event_id, one.event_id, urgent, self._is_late(one)) for one in records if one.sale_event_id),
        )

    def _is_late(self, record: LedgerRecord) -> bool:
        """Return whether a refund has a commission that, as far as the ledger knows, is pending for too long."""
        if self.pending_before is None or record.first_sent_at is None:
            return False
        return record.first_sent_at <= self.pending_before and any(
            one.status == "pending" for one in record.commissions
        )

    def _write_still_pending(self, event_ids: Iterable[str]) -> None:
        """Write the commissions of late refunds that are pending for too long, as FirstPromoter lists them now."""
        for ids in self._batches(event_ids):
            late = {number: one for one in self.ledger.find(ids).values() for number in known_ids(one)}
            self.findings.write(
                [
                    self._mismatch(MismatchKind.STILL_PENDING, late[number], commission)
                    for number, commission in self.reader.by_ids(list(late)).items()
                    if commission.state == "pending"
                    and created_at(commission, self.started_at) <= (self.pending_before or BEGINNING)
                ]
            )

    def _write(self, kind: MismatchKind, event_ids: Iterable[str]) -> None:
        for ids in self._batches(event_ids):
            found = self.ledger.find(ids).values()
            self.findings.write([self._mismatch(kind, one) for one in found if one.recorded])

    def _mismatch(self, kind: MismatchKind, record: LedgerRecord, commission: Commission | None = None) -> Mismatch:
        pair = EventPair(record.event_id, [commission] if commission else [], record, sign=self.ledger.call.sign)
        result = result_from_commissions(pair) if commission else None
        mismatch = mismatch_of(kind, pair, result, self.started_at)
        sale = None if kind is MismatchKind.NO_LONGER_SELECTED else record.sale_event_id
        happened_at = mismatch.happened_at if commission else record.first_sent_at or self.started_at
        return replace(mismatch, other_event_id=sale, happened_at=happened_at)

    def _looked_for(self, event_ids: Iterable[str]) -> None:
        ids = list(event_ids)
        for kind in SALE_KINDS:
            self.findings.looked_for(kind, ids)

    def _sent_in_period(self, before: datetime) -> Iterator[list[LedgerRecord]]:
        end = min(self.period.end or before, before)
        yield from self._batches(self.ledger.first_sent_between(self.period.start or BEGINNING, end))

    def _batches(self, items: Iterable[T]) -> Iterator[list[T]]:
        for batch in batches(items):
            stop_if_cancelled(self.reader.hook.cancelled)
            yield batch


def _is_final(commissions: Iterable[Commission]) -> bool:
    """Return whether a commission of a sale is no longer pending, and not denied."""
    return any(one.state in ("approved", "paid") for one in commissions)


def _refunds_of(scratch: ScratchDatabase, sales: Collection[str]) -> dict[str, dict[str, bool]]:
    """Return the refunds of each sale, with whether they are pending for long."""
    refunds: dict[str, dict[str, bool]] = defaultdict(dict)
    in_sales = "SELECT sale_event_id, event_id, late FROM sales WHERE sale_event_id IN (SELECT value FROM json_each(?))"
    for sale_event_id, event_id, is_late in scratch.read(in_sales, json.dumps(list(sales))):
        refunds[sale_event_id][event_id] = bool(is_late)
    return refunds
