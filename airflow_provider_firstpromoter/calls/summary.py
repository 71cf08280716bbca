"""The counts and sums of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Any, ClassVar, Self

from pydantic import BaseModel, Field, PrivateAttr

from airflow_provider_firstpromoter.calls.outcome import Outcome
from airflow_provider_firstpromoter.calls.result import Result


class Problem(BaseModel):
    """
    An event that needs attention, or that failed.

    :param new: False if an earlier run has reported the same problem
    """

    event_id: str | None
    outcome: Outcome
    reason: str | None
    new: bool = True


class Totals(BaseModel):
    """
    Counts and sums, of one try or of a whole task run.

    :param outcomes: events by outcome
    :param rewards: sum of the commissions in effect by unit, negative for refunds; ``cash`` is minor units of the
        account's currency
    :param amounts: sum of what was recorded by currency, minor units; ``account`` where a row names no currency
    :param rewards_unknown: recorded, but the commissions are not known because the response was lost
    :param without_sale_event_id: recorded refunds that name no sale
    """

    outcomes: Counter[Outcome] = Field(default_factory=Counter)
    rewards: Counter[str] = Field(default_factory=Counter)
    amounts: Counter[str] = Field(default_factory=Counter)
    rewards_unknown: int = 0
    without_sale_event_id: int = 0

    def add_sums(
        self,
        result: Result,
        *,
        amount: int | None = None,
        currency: str | None = None,
        names_no_sale: bool = False,
    ) -> None:
        """
        Add the commissions and the amount of one event: in the task run that reports them, and in no other.

        :param amount: in minor units of ``currency``; None where it is not known what FirstPromoter recorded
        :param names_no_sale: whether it is a refund that does not name its sale
        """
        for unit, reward in result.rewards.items():
            self.rewards[unit] += reward
        if not result.outcome.on_record:
            return
        self.rewards_unknown += not result.commissions
        if amount is not None:
            self.amounts[currency or "account"] += amount
            self.without_sale_event_id += names_no_sale

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; every outcome is present, even with 0."""
        return {
            **self.model_dump(mode="json"),
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "rewards": {unit: amount for unit, amount in self.rewards.items() if amount},
            "amounts": {currency: amount for currency, amount in self.amounts.items() if amount},
        }


class Summary(Totals):
    """
    The counts and sums of a run, for XCom, the log, asset events and the run history.

    :param account: the ledger's name of the account
    :param host: the host of the API
    :param currency: the account's currency, as the connection names it
    :param started_at: UTC
    :param ended_at: UTC
    :param kind: ``refunds`` or ``sales``
    :param read: what a run of a query has read: ``all``, or ``since`` when, in UTC; None for a list
    :param sent: events that were sent
    :param skipped: events that the ledger had as settled
    :param rechecked: of those sent, the ones that were ``not_referred`` before
    :param repeated: rows that name an event_id again, with the same content or only another identity
    :param matched_by_email: of those sent, the ones whose row names a uid and that FirstPromoter found by the e-mail
    :param left_pending: events that this run did not get to
    :param still_open: rejected and changed events that an earlier run has reported
    :param problems: the first events that need attention or failed, twenty new and
        twenty old ones of an outcome at most
    :param stopped_because: why the run ended early; None if it did not
    :param preview: whether nothing was sent or written
    :param would_be_sent: of a preview: ``events`` (how many), ``by_currency`` (of each ``events``, ``sum`` and
        ``largest`` in minor units), ``sample`` (the first ten) and ``rechecks_a_day`` (what ``recheck_unreferred``
        costs at most; None without it)
    :param seconds: how long the run took
    :param requests: HTTP requests, retries included
    """

    kind: str = "refunds"
    account: str | None = None
    host: str | None = None
    currency: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    read: str | None = None
    sent: int = 0
    skipped: int = 0
    rechecked: int = 0
    repeated: int = 0
    matched_by_email: int = 0
    left_pending: int = 0
    still_open: int = 0
    problems: list[Problem] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    stopped_because: str | None = None
    preview: bool = False
    would_be_sent: dict[str, Any] | None = None
    seconds: float = 0.0
    requests: int = 0

    MAX_PROBLEMS: ClassVar[int] = 20
    #: Reasons can name what is in a row: no more different ones are counted.
    MAX_REASONS: ClassVar[int] = 200
    #: New problems are counted apart: many old ones must not keep a new one from being named.
    _problems: Counter[tuple[Outcome, bool]] = PrivateAttr(default_factory=Counter)
    _reasons: Counter[tuple[Outcome, bool, str]] = PrivateAttr(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON, with the problems by outcome that no earlier run has reported."""
        new = {outcome.value: count for (outcome, is_new), count in self._problems.items() if is_new}
        return {**super().to_json(), "new": new}

    def add(self, result: Result, *, new: bool = True) -> Problem | None:
        """
        Count one event of this try, without its sums: they belong to the task run that reports them.

        :param new: False for a problem that an earlier run has reported
        :returns: the problem, if it is one of those that the summary names
        """
        self.outcomes[result.outcome] += 1
        self.sent += result.sent
        self.skipped += not result.sent and result.outcome.settled
        self.still_open += result.outcome.needs_attention and not new
        if not result.outcome.is_problem:
            return None
        self._problems[result.outcome, new] += 1
        reason = (result.outcome, new, result.message or "")
        if reason in self._reasons or len(self._reasons) < self.MAX_REASONS:
            self._reasons[reason] += 1
        if self._problems[result.outcome, new] > self.MAX_PROBLEMS:
            return None
        problem = Problem(event_id=result.event_id, outcome=result.outcome, reason=result.message, new=new)
        self.problems.append(problem)
        return problem

    def commonest_reason(self, outcomes: Collection[Outcome], *, new_only: bool = False) -> tuple[str, int]:
        """Return the commonest reason of problems, and how many have it."""
        counts: Counter[str] = Counter()
        for (outcome, new, reason), count in self._reasons.items():
            if outcome in outcomes and (new or not new_only):
                counts[reason] += count
        return max(counts.items(), key=lambda item: item[1], default=("", 0))

    def with_settled(self, settled: Totals) -> Self:
        """
        Return the summary of a whole task run: what is not settled is of its last try.

        :param settled: the settled outcomes of all its tries, with their sums
        """
        whole = self.model_copy(update=settled.model_copy(deep=True).__dict__)
        whole.outcomes.update({outcome: count for outcome, count in self.outcomes.items() if not outcome.settled})
        return whole

    @property
    def need_attention(self) -> int:
        """Events that no retry can help, old and new."""
        return sum(count for outcome, count in self.outcomes.items() if outcome.needs_attention)

    @property
    def new_problems(self) -> int:
        """Events that no retry can help and that no earlier run has reported."""
        return self.need_attention - self.still_open
