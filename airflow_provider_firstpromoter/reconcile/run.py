"""The ledger held against FirstPromoter's books: what differs is written down, what they know better is taken over."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pendulum

from airflow_provider_firstpromoter.api.commissions import Commission, taken_back
from airflow_provider_firstpromoter.exceptions import BooksDifferError
from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Entry, Known, RefundLedger, RunKey
from airflow_provider_firstpromoter.reconcile.mismatches import Kind, Mismatch, MismatchTable
from airflow_provider_firstpromoter.reconcile.staging import Both, Comparison
from airflow_provider_firstpromoter.refunds import Outcome, Result
from airflow_provider_firstpromoter.refunds.rows import batches

#: The API's dates may be of another time zone, and a commission and its answer of two days.
MARGIN = timedelta(days=1)
#: Single refunds that no page of the time in question showed are looked up, but not without end: one request each.
MOST_LOOKUPS = 1000
#: Cases of each kind in XCom; the table has them all.
MOST_CASES = 20
PROGRESS_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class Period:
    """
    Whole days, UTC.

    :param first: None is from the beginning
    :param last: itself included; None is until now
    """

    first: date | None = None
    last: date | None = None

    @classmethod
    def of(cls, first: date | str | timedelta | None, last: date | str | None) -> Period:
        """
        :param first: a date, a time, or its ISO 8601 text; an empty text is none; a timedelta counts back from now
        :raises ValueError: if it is none of these, or the last day is before the first
        """
        if isinstance(first, timedelta):
            first = datetime.now(UTC) - first
        period = cls(_day(first), _day(last))
        if period.first and period.last and period.last < period.first:
            raise ValueError(f"created_to ({period.last}) is before created_from ({period.first})")
        return period

    @property
    def start(self) -> datetime | None:
        """Its first moment."""
        return _midnight(self.first) if self.first else None

    @property
    def end(self) -> datetime | None:
        """The first moment that is no longer of it."""
        return _midnight(self.last + timedelta(days=1)) if self.last else None

    def holds(self, moment: datetime) -> bool:
        """Whether an aware moment is of it."""
        return (self.start is None or self.start <= moment) and (self.end is None or moment < self.end)

    def filters(self) -> dict[str, date | None]:
        """What to ask the API for, which is a little more."""
        return {
            "created_from": self.first and self.first - MARGIN,
            "created_to": self.last and self.last + MARGIN,
        }


@dataclass
class Report:
    """
    What a reconciliation found and did.

    :param matched: refunds that both sides agree about
    :param counts: refunds that differ, by kind
    :param cases: the first of each kind
    :param adopted: refunds that only FirstPromoter knew, and that the ledger knows now
    :param rewards_filled: recorded refunds whose reward the ledger did not know
    :param rewards_updated: recorded refunds whose reward's status or amount had changed
    :param commissions: that were read
    :param seconds: how long it took
    :param requests: HTTP requests, retries included
    """

    matched: int = 0
    counts: Counter[Kind] = field(default_factory=Counter)
    cases: dict[Kind, list[Mismatch]] = field(default_factory=dict)
    adopted: int = 0
    rewards_filled: int = 0
    rewards_updated: int = 0
    commissions: int = 0
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    requests: int = 0
    table: str = ""

    @property
    def mismatches(self) -> int:
        """Those that a person must look at."""
        return sum(count for kind, count in self.counts.items() if kind.needs_a_person)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for XCom; every kind is present, if as 0."""
        return {
            "matched": self.matched,
            **{kind.value: self.counts[kind] for kind in Kind},
            "mismatches": self.mismatches,
            "adopted": self.adopted,
            "rewards_filled": self.rewards_filled,
            "rewards_updated": self.rewards_updated,
            "cases": {kind.value: [case.to_json() for case in cases] for kind, cases in self.cases.items()},
            "table": self.table,
            "commissions": self.commissions,
            "warnings": self.warnings,
            "seconds": self.seconds,
            "requests": self.requests,
        }

    def text(self) -> str:
        """The log's last table."""
        names = ("matched", *Kind, "adopted", "rewards_filled", "rewards_updated", "commissions", "requests", "seconds")
        told = self.to_json()
        lines = [f"  {name:<16}  {told[name]:>10}" for name in names]
        lines += [f"  {case_line(case)}" for cases in self.cases.values() for case in cases[:5]]
        return "\n".join(["Reconciliation", *lines, *(f"  warning: {warning}" for warning in self.warnings)])

    def raise_beyond(self, max_mismatches: int | None) -> None:
        """
        :raises BooksDifferError: if there are more
        """
        if max_mismatches is None or self.mismatches <= max_mismatches:
            return
        kinds = [kind for kind in Kind if kind.needs_a_person and self.counts[kind]]
        first = [case for kind in kinds for case in self.cases[kind]][:5]
        raise BooksDifferError(
            f"{' and '.join(f'{self.counts[kind]} {kind}' for kind in kinds)} (max_mismatches={max_mismatches}): "
            f"{'; '.join(map(case_line, first))}{' …' if self.mismatches > len(first) else ''}. "
            f"All of them are in {self.table}, where resolved_at is empty"
        )


class Reconciliation:
    """
    One run: reads both sides, compares them, writes down what differs.

    All SQL is on the calling thread. The ledger's rows are changed only by what the books know better: rewards, and
    with ``adopt`` whole refunds.

    :param adopt: whether refunds that only FirstPromoter knows become ``already_recorded`` in the ledger
    :param run: which task run the entries are to name
    """

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: RefundLedger,
        period: Period,
        *,
        adopt: bool = False,
        run: RunKey | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        self.hook = hook
        self.ledger = ledger
        self.period = period
        self.adopt = adopt
        self.run_key = run or RunKey()
        self.log = log or logging.getLogger(__name__)
        self.table = MismatchTable(ledger, self.run_key)
        self.report = Report(table=self.table.table.fullname)
        self._now = datetime.now(UTC)

    def run(self) -> Report:
        """
        :returns: what was found; :meth:`Report.raise_beyond` fails the task if it calls for that
        :raises ReadError: if the books cannot be read
        :raises LedgerError: if the ledger's database refuses
        """
        started = time.monotonic()
        requests_before = self.hook.requests
        self.ledger.ensure()
        self.table.ensure()
        with Comparison() as both_sides:
            self._read(both_sides)
            for batch in batches(both_sides):
                self._judge(batch, both_sides)
            # Those still open are read to their end first: in SQLite a reader and a writer lock each other.
            both_sides.add_open(self.table.open_between(self.period.start, self.period.end))
            for gone in batches(both_sides.gone()):
                self.table.resolve(gone)
        self.report.seconds = round(time.monotonic() - started, 3)
        self.report.requests = self.hook.requests - requests_before
        return self.report

    # --- both sides in ---

    def _read(self, both_sides: Comparison) -> None:
        """The books first: what is recorded while they are read is then in the ledger, and looked up."""
        for commissions in batches(self._taken_back()):
            both_sides.add_there((one, self.period.holds(self._moment(one))) for one in commissions)
        for event_ids in both_sides.event_ids_there():
            both_sides.add_here(self.ledger.find(event_ids).values(), judged=False)
        for known in batches(self.ledger.recorded_between(self.period.start, self.period.end)):
            both_sides.add_here(known, judged=True)
        self._look_up(both_sides)

    def _taken_back(self) -> Iterator[Commission]:
        progress = time.monotonic()
        for commission in self.hook.iter_commissions(**self.period.filters(), sale_amount_to=-1):
            self.report.commissions += 1
            if commission.of_a_refund and commission.commission_type != "custom":
                yield commission
            if time.monotonic() - progress >= PROGRESS_EVERY_SECONDS:
                progress = time.monotonic()
                self.log.info("%s commissions read", self.report.commissions)

    def _look_up(self, both_sides: Comparison) -> None:
        """What the ledger has as recorded may stand in the books under another day: it is looked up by its event_id."""
        lookups = 0
        for event_ids in both_sides.only_here():
            found: list[tuple[Commission, bool]] = []
            for event_id in event_ids:
                if lookups == MOST_LOOKUPS:
                    self.report.warnings.append(
                        f"Only the first {MOST_LOOKUPS} refunds without a commission in this period were looked up one "
                        "by one; others of them may stand in FirstPromoter's books under another day"
                    )
                    break
                lookups += 1
                found += [
                    (one, True)
                    for one in self.hook.iter_commissions(q=event_id)
                    if one.event_id == event_id and one.of_a_refund
                ]
            both_sides.add_there(found)
            if lookups == MOST_LOOKUPS:
                return

    # --- compared ---

    def _judge(self, batch: list[Both], both_sides: Comparison) -> None:
        mismatches: list[Mismatch] = []
        adopted: list[Entry] = []
        rewards: list[tuple[Known, Result]] = []
        for both in batch:
            mismatch, result = self._compare(both)
            if mismatch is not None:
                mismatches.append(mismatch)
            if not (both.known and both.known.recorded):
                if self.adopt and result is not None:
                    adopted.append(Entry(result, row_amount=None, fingerprint=None, run=self.run_key, at=self._now))
            elif result is not None:
                rewards.append((both.known, result))
        # Written down before the ledger changes: a run that is killed in between finds it once more.
        self.table.write(mismatches)
        both_sides.note(mismatch.key for mismatch in mismatches)
        self.ledger.write(adopted)
        self.ledger.update_rewards(rewards)
        self.report.adopted += len(adopted)
        for known, _ in rewards:
            filled = known.reward_id is None
            self.report.rewards_filled += filled
            self.report.rewards_updated += not filled
        for mismatch in mismatches:
            self.report.counts[mismatch.kind] += 1
            cases = self.report.cases.setdefault(mismatch.kind, [])
            if len(cases) < MOST_CASES:
                cases.append(mismatch)

    def _compare(self, both: Both) -> tuple[Mismatch | None, Result | None]:
        """
        :returns: how it differs, if it does, and what the ledger is to take over, if anything
        """
        known, commissions = both.known, both.commissions
        if not commissions:
            return self._mismatch(Kind.ABSENT_THERE, both, None), None
        books = as_result(both)
        if both.twin is not None:
            return self._mismatch(Kind.REVERSED_TWICE, both, books), books if _adoptable(both) else None
        if known is None or not known.recorded:
            if self.adopt and _adoptable(both):
                return None, books
            return self._mismatch(Kind.UNKNOWN_HERE, both, books), None
        news = books if _reward_of(known) != _reward_of(books) else None
        if not same_money(known, commissions):
            return self._mismatch(Kind.AMOUNT_DIFFERS, both, books), news
        if news and _reward_changed(known, books, commissions):
            return self._mismatch(Kind.REWARD_CHANGED, both, books), news
        self.report.matched += 1
        return None, news

    def _mismatch(self, kind: Kind, both: Both, books: Result | None) -> Mismatch:
        known = both.known
        first = both.commissions[0] if both.commissions else None
        said: dict[str, Any] = {}
        if known:
            said |= {
                "ledger_outcome": known.outcome.value,
                "ledger_amount": known.recorded_amount,
                "ledger_reward": known.reward_amount,
                "ledger_reward_status": known.reward_status,
                "reward_unit": known.reward_unit,
                "promoter_id": known.promoter_id,
                "lead_id": known.lead_id,
            }
        if first:
            said |= {
                "firstpromoter_amount": first.sale_amount,
                "promoter_id": first.promoter_campaign.promoter_id,
                "lead_id": first.referral.id,
            }
        if books and books.reward:
            said |= {
                "firstpromoter_reward": books.reward.amount,
                "firstpromoter_reward_status": books.reward.status,
                "reward_unit": books.reward.unit,
            }
        if known and known.sent_amount is not None:
            # As the customer paid it, if that is how both sides can be compared, or all that the ledger knows.
            comparable = bool(known.sent_currency and first and first.original_sale_currency == known.sent_currency)
            if comparable or known.recorded_amount is None:
                said |= {"ledger_amount": -known.sent_amount, "currency": known.sent_currency}
            if comparable and first:
                said["firstpromoter_amount"] = first.original_sale_amount
        sent_at = (known and known.last_sent_at) or self._now
        return Mismatch(
            kind,
            both.event_id or "",
            commission_id=first.id if first else 0,
            happened_at=self._moment(first) if first else sent_at,
            other_event_id=both.twin,
            **said,
        )

    def _moment(self, commission: Commission) -> datetime:
        """When it was made; now, if that cannot be read."""
        return _time(commission.created_at) or self._now


def as_result(both: Both) -> Result:
    """What the books say of a refund, as the result that a 409 would have been."""
    event_id = both.event_id or ""
    commissions = (
        both.commissions if both.event_id else [one.model_copy(update={"event_id": ""}) for one in both.commissions]
    )
    return Result(
        event_id=event_id,
        outcome=both.known.outcome if both.known and both.known.recorded else Outcome.ALREADY_RECORDED,
        http_status=both.known.http_status if both.known and both.known.recorded else None,
        message=None if both.known and both.known.recorded else "adopted from FirstPromoter's books",
        refund_id=None,
        **(taken_back(event_id, commissions) or {}),
    )


def same_money(known: Known, commissions: list[Commission]) -> bool:
    """
    Whether the amount in the books is the one that was sent.

    What was sent in another currency than the account's is held against the amount before conversion, or else
    against what FirstPromoter answered that it recorded. The parts of a split may bear the whole amount or share it.
    """
    converted = [one.original_sale_amount for one in commissions if one.original_sale_currency == known.sent_currency]
    if known.sent_currency and known.sent_amount is not None and len(converted) == len(commissions):
        return _is_one_of(-known.sent_amount, converted)
    amounts = [one.sale_amount for one in commissions]
    if known.recorded_amount is not None:
        return _is_one_of(known.recorded_amount, amounts)
    if known.sent_currency or known.sent_amount is None:
        return True  # there is nothing to hold against it
    return _is_one_of(-known.sent_amount, amounts)


def _is_one_of(amount: int, parts: list[int | None]) -> bool:
    given = [part for part in parts if part is not None]
    return not given or amount in given or amount == sum(given)


def _reward_of(of: Known | Result) -> tuple[Any, ...]:
    if isinstance(of, Known):
        return of.reward_id, of.reward_status, of.reward_amount, of.reward_unit
    reward = of.reward
    return (reward.id, reward.status, reward.amount, reward.unit) if reward else (None,) * 4


def _reward_changed(known: Known, books: Result, commissions: list[Commission]) -> bool:
    """Whether somebody might want to know: not that a pending one was approved, nor a part that the answer left out."""
    if known.reward_id is None or books.reward is None:
        return False
    if known.reward_status != books.reward.status and {known.reward_status, books.reward.status} & {"denied", "paid"}:
        return True
    the_part = [one.amount for one in commissions if one.id == known.reward_id]
    return known.reward_amount != books.reward.amount and [known.reward_amount] != the_part


def _adoptable(both: Both) -> bool:
    return bool(both.event_id) and not (both.known and both.known.recorded)


def case_line(case: Mismatch) -> str:
    """One mismatch in a line."""
    name = repr(case.event_id) if case.event_id else f"commission {case.commission_id}"
    more = {
        Kind.REVERSED_TWICE: f" as well as {case.other_event_id!r}",
        Kind.AMOUNT_DIFFERS: f" ({case.ledger_amount} here, {case.firstpromoter_amount} there)",
        Kind.REWARD_CHANGED: f" ({case.ledger_reward_status} here, {case.firstpromoter_reward_status} there)",
    }
    return f"{case.kind}: {name}{more.get(case.kind, '')}"


def _day(value: date | str | None) -> date | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = pendulum.parse(value)  # type: ignore[assignment]
        except ValueError:
            raise ValueError(f"{value!r} is no date such as 2026-01-31") from None
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).date()
    if isinstance(value, date):
        return value
    raise ValueError(f"{value!r} is no date such as 2026-01-31")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _time(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
