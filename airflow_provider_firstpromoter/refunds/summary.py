"""What a run adds up to."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from airflow_provider_firstpromoter.refunds.outcome import Outcome
from airflow_provider_firstpromoter.refunds.result import Result


class Problem(BaseModel):
    """A refund that somebody should look at."""

    event_id: str | None
    outcome: Outcome
    reason: str | None


class Summary(BaseModel):
    """
    What a run adds up to.

    :param outcomes: how many refunds of each outcome, those that the ledger already knew included
    :param sent: refunds that FirstPromoter was asked about
    :param skipped: refunds that the ledger already knew
    :param rechecked: of those sent, the ones that were ``not_referred`` before
    :param repeated: rows that name an event_id again, with the same amount
    :param left_pending: refunds that this run did not get to
    :param rewards_unknown: recorded, but the reward is not known (its answer was lost)
    :param reversed: sum of the rewards by unit, negative (``cash``: minor units of the account's currency)
    :param refunded: sum of the recorded refunds by currency, minor units (``account`` where a row names none)
    :param without_sale_event_id: recorded refunds that name no sale
    :param problems: the first refunds that somebody should look at, twenty of an outcome at most
    :param stopped_because: why the run ended early; None if it did not
    :param seconds: how long it took
    :param requests: HTTP requests, retries included
    """

    outcomes: Counter[Outcome] = Field(default_factory=Counter)
    sent: int = 0
    skipped: int = 0
    rechecked: int = 0
    repeated: int = 0
    left_pending: int = 0
    rewards_unknown: int = 0
    reversed: Counter[str] = Field(default_factory=Counter)
    refunded: Counter[str] = Field(default_factory=Counter)
    without_sale_event_id: int = 0
    problems: list[Problem] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    stopped_because: str | None = None
    preview: bool = False
    seconds: float = 0.0
    requests: int = 0

    MAX_PROBLEMS: ClassVar[int] = 20

    def add(
        self,
        result: Result,
        *,
        amount: int | None = None,
        currency: str | None = None,
        sale_event_id: str | None = None,
    ) -> None:
        """
        Count one refund of this try.

        :param amount: what was sent, in minor units of ``currency``; None where it is not known
        """
        self.add_earlier(result, amount=amount, currency=currency, sale_event_id=sale_event_id)
        self.sent += result.sent
        self.skipped += not result.sent and result.outcome.settled
        if result.outcome.is_problem and self.outcomes[result.outcome] <= self.MAX_PROBLEMS:
            self.problems.append(Problem(event_id=result.event_id, outcome=result.outcome, reason=result.message))

    def add_earlier(
        self,
        result: Result,
        *,
        amount: int | None = None,
        currency: str | None = None,
        sale_event_id: str | None = None,
    ) -> None:
        """Count one refund of an earlier try of the same task run; the parameters are those of :meth:`add`."""
        self.outcomes[result.outcome] += 1
        if result.outcome.on_record:
            if result.reward is None or result.reward.amount is None:
                self.rewards_unknown += 1
            else:
                self.reversed[result.reward.unit or "unknown"] += result.reward.amount
            if amount is not None:
                self.refunded[currency or "account"] += amount
                self.without_sale_event_id += sale_event_id is None

    @property
    def need_attention(self) -> int:
        """Refunds that no retry will mend."""
        return sum(count for outcome, count in self.outcomes.items() if outcome.needs_attention)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for XCom; every outcome is present, if as 0."""
        return {
            **self.model_dump(mode="json"),
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in Outcome},
        }
