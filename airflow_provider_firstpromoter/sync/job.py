"""What the parts of a run share: its parameters, and an event that is to be sent with what is known about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from airflow_provider_firstpromoter.calls import REFUND, AmountUnit, Call, Identity, Outcome, Row, TrackedEvent
from airflow_provider_firstpromoter.ledger import LedgerRecord
from airflow_provider_firstpromoter.parameters import Incremental
from airflow_provider_firstpromoter.pending import Action

FailOn = Literal["new", "any"]


@dataclass(frozen=True)
class SyncOptions:
    """
    The parameters of a run; the operators' parameters of the same names say more.

    :param call: what the rows are
    :param limit: events to send at most; the rest stays pending
    :param max_pending: more events to send than this end the run before its first request; None allows any number, the
        summary of a preview what that preview found
    :param max_age: an older sale that was never sent ends the run before its first request; None allows any age
    :param incremental: how a run of a query reads only what is new; None reads everything
    :param recover_rewards: None looks rewards up in a retry only, where an earlier try may have reversed them
    """

    call: Call = REFUND
    amount_unit: AmountUnit = "minor"
    identify_by: Sequence[Identity] = ("uid", "email")
    skip_email_notification: bool | None = None
    max_in_flight: int = 8
    max_rejected: int | None = 0
    fail_on: FailOn = "new"
    recheck_unreferred: timedelta | None = None
    retry_rejected: bool = False
    preview: bool = False
    limit: int | None = None
    max_pending: int | Mapping[str, Any] | None = None
    max_age: timedelta | None = None
    incremental: Incremental | None = None
    recover_rewards: bool | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """
    An event that is to be sent.

    :param record: what the ledger has of it; None if nothing
    :param action: what the run selected it for; None if it selected it for another reason than to send it
    :param alternatives: further rows of the event_id that differ in the e-mail alone
    :param others: further rows of the event_id that differ in anything else
    :param refused: those of its rows that cannot be sent: the ledger remembers their contents with the job's outcome
    """

    row: Row
    event: TrackedEvent
    record: LedgerRecord | None = None
    action: Action | None = Action.SEND
    alternatives: tuple[tuple[Row, TrackedEvent], ...] = ()
    others: tuple[Row, ...] = ()
    refused: tuple[Row, ...] = ()

    def rows(self) -> Iterator[Row]:
        """Return the rows that wait for this job."""
        yield self.row
        yield from (row for row, _ in self.alternatives)
        yield from self.others

    @property
    def is_recheck(self) -> bool:
        """Whether it was not referred before, and has not changed."""
        return self.action is Action.RECHECK

    @property
    def was_unmatched(self) -> bool:
        """Whether a request of an earlier run was answered with 204 or 404."""
        if self.record is None or self.record.first_sent_at is None:
            return False
        return bool(self.record.unmatched) or self.record.outcome is not Outcome.FAILED

    @property
    def was_lost(self) -> bool:
        """Whether the response to a request of an earlier run was lost."""
        return self.record is not None and self.record.first_sent_at is not None and bool(self.record.lost)

    def may_be_unmatched(self, identify_by: Sequence[Identity]) -> bool:
        """Return whether one of its requests may have been answered with 204 or 404, when the last response is lost."""
        return bool(self.alternatives) or len(self.event.identities(identify_by)) > 1 or self.was_unmatched
