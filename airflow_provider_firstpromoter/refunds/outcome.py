"""What became of a refund, in one word, and what follows from it: all of it is said here."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never


class Outcome(StrEnum):
    """What became of one refund."""

    #: FirstPromoter recorded the refund, and reversed a commission.
    RECORDED = "recorded"
    #: FirstPromoter had recorded this event_id before.
    ALREADY_RECORDED = "already_recorded"
    #: FirstPromoter knows no referral for the customer.
    NOT_REFERRED = "not_referred"
    #: The row cannot be sent as it is, or FirstPromoter refused it.
    REJECTED = "rejected"
    #: Settled before, and now the row has another amount.
    CHANGED = "changed"
    #: No usable response.
    FAILED = "failed"
    #: Not sent: a preview, a limit, or the run stopped before its turn. The next run takes it up.
    PENDING = "pending"

    @property
    def strength(self) -> int:
        """A weaker outcome never overwrites a stronger one in the ledger; 0 is not written to it."""
        match self:
            case Outcome.RECORDED:
                return 4
            case Outcome.ALREADY_RECORDED:
                return 3
            case Outcome.NOT_REFERRED:
                return 2
            case Outcome.REJECTED:
                return 1
            case Outcome.CHANGED | Outcome.FAILED | Outcome.PENDING:
                return 0
            case _:
                assert_never(self)

    @property
    def renewable(self) -> bool:
        """Whether a later result with the same outcome overwrites it: what is on record stays as first recorded."""
        return self.strength > 0 and not self.on_record

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be done for the refund."""
        return self.on_record or self is Outcome.NOT_REFERRED

    @property
    def on_record(self) -> bool:
        """Whether FirstPromoter has the refund."""
        return self in (Outcome.RECORDED, Outcome.ALREADY_RECORDED)

    @property
    def needs_attention(self) -> bool:
        """Whether no retry will mend it: the row, or the refund in FirstPromoter, has to be put right by a person."""
        return self in (Outcome.REJECTED, Outcome.CHANGED)

    @property
    def is_problem(self) -> bool:
        """Whether the summary names the refund."""
        return self.needs_attention or self is Outcome.FAILED
