"""What the ledger has stored about a refund, what is written to it about one, and batches of such changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from airflow_provider_firstpromoter.calls import (
    LOST_IN_DETAILS,
    REWARD_IN_DETAILS,
    Outcome,
    Refund,
    Result,
    Row,
    add_digest,
    fingerprint,
)


class RunKey(NamedTuple):
    """The task run that wrote a row; all None outside Airflow."""

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None


@dataclass(frozen=True, slots=True)
class LedgerWrite:
    """
    The result of one refund, to be written to the ledger.

    :param row_amount: the query's own text; None if no row was seen: the amount is then compared when one is seen
    :param fingerprint: of the row's content; None where the content no longer matters
    :param row_digest: the database's hash of the row's content; None likewise
    :param refund: what was sent; None where validation refused the row
    :param sent_before: what the ledger has as sent, where validation refused the row
    :param refunded_at: when the customer got the money, where the query says it
    :param known: whether the ledger had a row of this refund when the run looked: then this newer result replaces any
        that is not on record
    :param seen_at: when the query last had the row
    :param at: when the outcome was decided
    """

    result: Result
    row_amount: str | None = None
    fingerprint: str | None = None
    row_digest: str | None = None
    refund: Refund | None = None
    sent_before: LedgerRecord | None = None
    refunded_at: datetime | None = None
    known: bool = False
    seen_at: datetime | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def of(
        cls,
        row: Row,
        result: Result,
        refund: Refund | None,
        record: LedgerRecord | None,
        *,
        key: bytes,
        seen_at: datetime,
        contents: tuple[Row, ...] = (),
    ) -> LedgerWrite:
        """
        Return what the ledger has to store.

        :param record: what it had before
        :param key: the key of the fingerprint
        :param contents: further rows of the event_id whose content was tried as well
        """
        tokens = record.fingerprint if record else None
        digests = record.row_digest if record else None
        if result.outcome.remembers_content:
            for one in (row, *contents):
                tokens = fingerprint(one.values, key, tokens)
                digests = add_digest(digests, one.digest)
        else:
            tokens = digests = None
        found = result.recorded_amount if result.outcome is Outcome.ALREADY_RECORDED else None
        # What was found may have been recorded with another amount than the row's now: it is compared by the next run.
        is_same = found is None or refund is None or found == -refund.amount
        return cls(
            result,
            row.amount if is_same else None,
            tokens,
            digests,
            refund,
            record if refund is None else None,
            row.refunded_at,
            known=record is not None,
            seen_at=seen_at if result.outcome.is_problem else None,
        )


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """What the ledger has stored about one refund; times are UTC, and None for what was never sent."""

    event_id: str
    outcome: Outcome
    http_status: int | None = None
    row_amount: str | None = None
    sent_amount: int | None = None
    sent_currency: str | None = None
    sale_event_id: str | None = None
    recorded_amount: int | None = None
    fingerprint: str | None = None
    row_digest: str | None = None
    first_sent_at: datetime | None = None
    last_sent_at: datetime | None = None
    last_seen_at: datetime | None = None
    changed_amount: str | None = None
    accepted_at: datetime | None = None
    reported_at: datetime | None = None
    reported_run_id: str | None = None
    message: str | None = None
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    details: str | None = None
    reward_id: int | None = None
    reward_status: str | None = None
    reward_amount: int | None = None
    reward_unit: str | None = None
    promoter_id: int | None = None
    lead_id: int | None = None

    @property
    def run(self) -> RunKey:
        """The task run that decided the outcome."""
        return RunKey(self.dag_id, self.run_id, self.task_id, self.map_index)

    @property
    def recorded(self) -> bool:
        """Whether FirstPromoter has the refund, as far as the ledger knows."""
        return self.outcome.on_record

    @property
    def lost(self) -> bool:
        """Whether the response to one of its requests was lost."""
        return LOST_IN_DETAILS in (self.details or "")

    @property
    def has_reward(self) -> bool:
        """Whether the stored result has a reward; cheaper than to read the result."""
        return REWARD_IN_DETAILS in (self.details or "")

    @property
    def unresolved(self) -> bool:
        """Whether the refund was sent, and FirstPromoter may have recorded it although the ledger does not know it."""
        if self.last_sent_at is None or self.recorded or self.outcome is Outcome.REVERTED:
            return False
        # A 409 for a refund without a referral was looked up, but the commissions that FirstPromoter lists can lag.
        doubtful = self.outcome is Outcome.FAILED or (self.outcome is Outcome.NOT_REFERRED and self.http_status == 409)
        return doubtful or self.lost

    def result(self) -> Result:
        """Return the stored result: what the run that wrote it passed downstream, with ``sent`` False."""
        update: dict[str, Any] = {"sent": False}
        if self.recorded:
            update["reported_by"] = self.run._asdict()
        stored = Result.from_details(self.details) if self.details else None
        if self.outcome is Outcome.REVERTED:
            # The stored result is from before the revert: downstream must not count a commission that was denied.
            commissions = stored.commissions if stored else ()
            update |= {
                "outcome": Outcome.REVERTED,
                "commissions": tuple(one.model_copy(update={"status": "denied"}) for one in commissions),
            }
        if stored:
            return stored.model_copy(update=update)
        return Result(**{"event_id": self.event_id, "outcome": self.outcome, "http_status": self.http_status, **update})

    def sent(self) -> dict[str, Any]:
        """Return what was sent, as :meth:`Summary.add` takes it."""
        return {
            "amount": self.sent_amount,
            "currency": self.sent_currency,
            "sale_event_id": self.sale_event_id,
        }


@dataclass
class LedgerBatch:
    """
    Changes that are written in one transaction.

    :param seen_at: when the run that collects them began: what ``last_seen_at`` becomes
    :param writes: results of refunds
    :param changed: recorded refunds whose row has another amount now, with that amount and when it was seen
    :param seen: event_ids of problems that have not changed
    :param renewed: settled refunds whose amount, fingerprint or digest the ledger did not have
    """

    seen_at: datetime
    writes: list[LedgerWrite] = field(default_factory=list)
    changed: list[tuple[LedgerRecord, str, datetime]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    renewed: list[tuple[LedgerRecord, Row, str | None, str | None]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.writes) + len(self.changed) + len(self.seen) + len(self.renewed)

    def strongest(self, known: bool) -> Iterator[LedgerWrite]:
        """Return one result of each event_id: the strongest, and of equal ones the last."""
        writes: dict[str, LedgerWrite] = {}
        for write in self.writes:
            outcome, event_id = write.result.outcome, write.result.event_id
            if write.known is not known or not outcome.stored or event_id is None:
                continue
            earlier = writes.get(event_id)
            if earlier is None or outcome.strength >= earlier.result.outcome.strength:
                writes[event_id] = write
        yield from writes.values()

    def on_record(self) -> set[str]:
        """Return the event_ids of the results that say that FirstPromoter has the refund."""
        results = (write.result for write in self.writes)
        return {result.event_id for result in results if result.outcome.on_record and result.event_id}


#: The columns that only :meth:`LedgerRecord.result` needs; a query of many rows can leave them out.
DETAIL_COLUMNS = (
    "details",
    "reward_id",
    "reward_status",
    "reward_amount",
    "reward_unit",
    "promoter_id",
    "lead_id",
)
RULE_COLUMNS = tuple(name for name in LedgerRecord.__dataclass_fields__ if name not in DETAIL_COLUMNS)
