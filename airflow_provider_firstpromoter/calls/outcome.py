"""The outcome of an event, and the properties that depend on the outcome."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never


class Outcome(StrEnum):
    """What became of one event, a refund or a sale."""

    #: FirstPromoter recorded the event.
    RECORDED = "recorded"
    #: FirstPromoter had recorded this event_id before.
    ALREADY_RECORDED = "already_recorded"
    #: FirstPromoter has no referral for the customer.
    NOT_REFERRED = "not_referred"
    #: The row cannot be sent as it is, or FirstPromoter refused its data.
    REJECTED = "rejected"
    #: Recorded before, and now the row has another amount. The ledger keeps the recorded row and adds the new amount.
    CHANGED = "changed"
    #: No usable response after all attempts, or a response that is not FirstPromoter's.
    FAILED = "failed"
    #: Recorded, and its commission denied by a revert. The event_id stays used: it is not sent again.
    REVERTED = "reverted"
    #: Not sent: a preview, a limit, or the run stopped before its turn. The next run sends it.
    PENDING = "pending"

    @property
    def strength(self) -> int:
        """
        The rank of the outcome: of two tasks that write the same event, the ledger keeps the stronger outcome.

        An outcome of strength 0 is never stored in the ledger.
        """
        match self:
            case Outcome.REVERTED:
                return 6
            case Outcome.RECORDED:
                return 5
            case Outcome.ALREADY_RECORDED:
                return 4
            case Outcome.NOT_REFERRED:
                return 3
            case Outcome.REJECTED:
                return 2
            case Outcome.FAILED:
                return 1
            case Outcome.CHANGED | Outcome.PENDING:
                return 0
            case _:
                assert_never(self)

    @property
    def stored(self) -> bool:
        """Whether a row of the ledger can have this outcome."""
        return self.strength > 0

    @property
    def on_record(self) -> bool:
        """Whether FirstPromoter has recorded the event, and its commission was not denied by a revert."""
        return self in (Outcome.RECORDED, Outcome.ALREADY_RECORDED)

    @property
    def settled(self) -> bool:
        """Whether nothing more has to be done for the event as it is."""
        return self.on_record or self in (Outcome.NOT_REFERRED, Outcome.REVERTED)

    @property
    def remembers_content(self) -> bool:
        """Whether the event is sent again when any column of its row changes: no commission was made."""
        return self in (Outcome.NOT_REFERRED, Outcome.REJECTED)

    @property
    def needs_attention(self) -> bool:
        """Whether no retry can help: the user must correct the row, or the event in FirstPromoter."""
        return self in (Outcome.REJECTED, Outcome.CHANGED)

    @property
    def is_problem(self) -> bool:
        """Whether the summary names the event."""
        return self.needs_attention or self is Outcome.FAILED
