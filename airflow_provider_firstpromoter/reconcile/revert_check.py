"""Decides what a revert does with one refund, from its rows in the ledger and its commissions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from airflow_provider_firstpromoter.calls import Commission, Outcome
from airflow_provider_firstpromoter.ledger import LedgerRecord, RunKey
from airflow_provider_firstpromoter.reconcile.compare import compare_amounts, created_at

#: A commission that was made by more than this before or after the ledger's account sent the refund was made by
#: something else. The ledger has the time of the response, which retries can delay, and clocks differ.
TOLERANCE = timedelta(hours=1)
#: For so long after its start, a run that was killed may have sent a refund.
LONGEST_RUN = timedelta(days=7)


class Decision(StrEnum):
    """What a revert does with one selected refund."""

    #: Its commissions are to be denied.
    REVERT = "to_revert"
    #: Its commissions are denied already: only the ledger is updated.
    ALREADY_DENIED = "already_denied"
    #: The ledger has it as reverted, and its commissions are denied: there is nothing to do.
    ALREADY_REVERTED = "already_reverted"
    #: A commission of it is paid: it is left alone.
    PAID = "paid"
    #: FirstPromoter does not say plainly that a commission of it is unpaid: it is left alone.
    UNCLEAR = "unclear"
    #: This ledger's account did not make its commission: it is left alone.
    NOT_OURS = "not_ours"
    #: It became recorded after the selected run began, and which run sent it is not known: it is left to ``event_ids``.
    SENDER_UNKNOWN = "sender_unknown"
    #: FirstPromoter has no negative commission for it: there is nothing to deny.
    NOT_FOUND = "not_found"
    #: Its commissions could not be read: it is left alone.
    UNREADABLE = "unreadable"
    #: It was sent, and the ledger does not know whether FirstPromoter recorded it: it is left alone.
    UNRESOLVED = "unresolved"
    #: The ledger does not have it as recorded: there is nothing to deny.
    NOT_RECORDED = "not_recorded"


@dataclass(frozen=True)
class CheckedEvent:
    """
    A selected refund, its commissions, and what the revert does with it.

    :param commissions: all tiers and splits
    :param notes: what the operator should know before it is reverted
    """

    event_id: str
    decision: Decision
    commissions: Sequence[Commission] = ()
    notes: Sequence[str] = ()

    @property
    def deniable(self) -> list[Commission]:
        """The commissions that are plainly unpaid and not denied."""
        return [one for one in self.commissions if one.state in ("pending", "approved")]

    @property
    def left_alone(self) -> Decision | None:
        """Why its commissions must not be denied; None if they may."""
        states = {one.state for one in self.commissions}
        if "paid" in states:
            return Decision.PAID
        return Decision.UNCLEAR if "unknown" in states else None

    @property
    def denied(self) -> bool:
        """Whether it has commissions and all of them are denied."""
        return bool(self.commissions) and all(one.state == "denied" for one in self.commissions)

    def amounts(self) -> Counter[str]:
        """Return the sums of the commissions that can be denied, by unit; negative, minor units if that is cash."""
        sums: Counter[str] = Counter()
        for one in self.deniable:
            sums[one.unit or "unknown"] += one.amount or 0
        return sums

    def to_json(self) -> dict[str, object]:
        """Return plain JSON, with ids and amounts only."""
        parts = [
            {
                "commission_id": one.id,
                "promoter_id": one.promoter_id,
                "amount": one.amount,
                "unit": one.unit,
                "status": one.state,
            }
            for one in self.commissions
        ]
        return {"event_id": self.event_id, "commissions": parts, "notes": list(self.notes)}


def check(
    record: LedgerRecord,
    commissions: Sequence[Commission] | None,
    sign: int,
    *,
    now: datetime,
    killed: Sequence[datetime] = (),
) -> CheckedEvent:
    """
    Decide what a revert does with a refund of the ledger.

    :param commissions: None if they cannot be read
    :param sign: of their amounts
    :param now: aware; replaces times that cannot be read
    :param killed: when runs began whose end is not known, and which may have sent it
    """

    def decided(decision: Decision, *notes: str) -> CheckedEvent:
        return CheckedEvent(record.event_id, decision, commissions or (), notes)

    if record.unresolved:
        return decided(Decision.UNRESOLVED, f"the ledger has it as {record.outcome}, and its response is not known")
    if not record.recorded and record.outcome is not Outcome.REVERTED:
        return decided(Decision.NOT_RECORDED, f"the ledger has it as {record.outcome}")
    if record.first_sent_at is None:
        return decided(Decision.NOT_OURS, "the ledger has adopted it and never sent it")
    if commissions is None:
        return decided(Decision.UNREADABLE, "its commissions could not be read; the log says why")
    if not commissions:
        return decided(Decision.NOT_FOUND)
    made_at = min(created_at(one, now) for one in commissions)
    if not _made_by_us(record, made_at) and not (record.sent_by == RunKey() and _during(killed, made_at)):
        return decided(Decision.NOT_OURS, "its commission was not made when this ledger sent it")
    notes = _notes(record, commissions, sign)
    refund = decided(Decision.REVERT, *notes)
    if refund.left_alone is not None:
        return decided(refund.left_alone, *notes)
    if refund.denied:
        reverted = record.outcome is Outcome.REVERTED
        return decided(Decision.ALREADY_REVERTED if reverted else Decision.ALREADY_DENIED, *notes)
    return refund


def _made_by_us(record: LedgerRecord, made_at: datetime) -> bool:
    """
    Return whether a request of this ledger's account can have made the commission.

    A 200 says that the request itself made it. A 409 can be due to a commission that another tool made: it is ours only
    if it was made when the refund was last sent or, where a response was lost, since it was first sent.
    """
    if record.http_status == 200:
        return True
    first = record.first_sent_at if record.lost else record.last_sent_at
    if first is None or record.last_sent_at is None:
        return False
    return first - TOLERANCE <= made_at <= record.last_sent_at + TOLERANCE


def _during(runs: Sequence[datetime], moment: datetime) -> bool:
    """Return whether one of these runs may have been under way."""
    return any(start - TOLERANCE <= moment <= start + LONGEST_RUN for start in runs)


def _notes(record: LedgerRecord, commissions: Sequence[Commission], sign: int) -> list[str]:
    """Return what is unusual: several commissions, or commissions that differ from the ledger."""
    notes = []
    if len(commissions) > 1:
        notes.append(f"in_parts: {len(commissions)} commissions, of tiers or splits")
    amounts = compare_amounts(record, commissions, sign)
    if not amounts.equal:
        notes.append(f"differs: amount {amounts.ledger} in the ledger, {amounts.firstpromoter} in FirstPromoter")
    known = {one.id: one for one in record.commissions}
    both = [(known[one.id], one) for one in commissions if one.id in known]
    if any(ours.promoter_id not in (None, theirs.promoter_id) for ours, theirs in both):
        notes.append("differs: another promoter than in the ledger")
    if any(ours.amount not in (None, theirs.amount) for ours, theirs in both):
        notes.append("differs: another reward than in the ledger")
    return notes
