"""What a run does before anything is sent: it chooses the rows that need handling, and adds up what would be sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Literal, NamedTuple

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.calls import (
    REFUND,
    SALE,
    AmountUnit,
    Call,
    Identity,
    Row,
    TrackedEvent,
    Validation,
    money_text,
)
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, InvalidRowError, ReadError, RunRefusedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.parameters import Incremental
from airflow_provider_firstpromoter.pending import SENDING, Action, ClassifiedRow, PendingRules, classify_rows
from airflow_provider_firstpromoter.sync.log_text import are_pending
from airflow_provider_firstpromoter.sync.spool import Spool

#: The number of events that a preview shows.
SAMPLE = 10
#: In minor units. If no amount is below it and none has cents, the column probably holds cents and ``major`` is a
#: mistake.
WHOLE_AND_LARGE = 10_000
#: So many events of one uid are suspicious: the column may hold something else than the customer.
MANY_OF_ONE_UID = 50
#: Sales that are older are named before they are sent.
WEEK = timedelta(days=7)


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


class Reading(NamedTuple):
    """
    How the rows of a run are read.

    :param ledger: has the settled events; None if nothing is known of any
    :param rules: decide what is to be done with a row
    :param how: how its values are to be read
    """

    ledger: Ledger | None
    rules: PendingRules
    how: Validation

    def classified(self, rows: Iterable[Row], *, commissions: bool) -> Iterator[list[ClassifiedRow]]:
        """Return the rows with what is to be done with each, batch by batch."""
        return classify_rows(rows, self.ledger, self.rules, commissions=commissions)

    def event(self, row: Row) -> TrackedEvent | None:
        """Return the event that a row holds; None if it cannot be sent."""
        try:
            return row.call.read(row.values, self.how)
        except InvalidRowError:
            return None


def validation_of(account: Account, options: SyncOptions) -> Validation:
    """Return how a run reads the values of its rows."""
    return Validation(
        amount_unit=options.amount_unit,
        currency=account.extra.currency,
        skip_email_notification=options.skip_email_notification,
        identify_by=tuple(options.identify_by),
    )


class Selection:
    """
    Passes on the rows of a run that need handling, and counts the others as ``skipped``.

    :param with_settled: whether the settled ones are passed on as well
    """

    def __init__(self, reading: Reading, *, with_settled: bool) -> None:
        self.skipped = 0
        self._reading = reading
        self._with_settled = with_settled

    def select(self, rows: Iterable[Row], raise_if_killed: Callable[[], None]) -> Iterator[ClassifiedRow]:
        """Return the rows that need handling. They are compared with the ledger once more before they are sent."""
        rules = self._reading.rules
        for batch in self._reading.classified(rows, commissions=False):
            raise_if_killed()
            for one in map(self._validated, batch):
                is_settled = one.action is Action.SETTLED and not rules.needs_renewal(one.row, one.record)
                if self._with_settled or not is_settled:
                    yield one
                else:
                    self.skipped += 1

    def _validated(self, one: ClassifiedRow) -> ClassifiedRow:
        """
        Validate a row that would be sent, so that it counts as pending only if it can be.

        A row that only validation refused is sent if a corrected parameter makes it valid.
        """
        row, action, record = one
        if action in SENDING and self._reading.event(row) is None:
            return ClassifiedRow(row, Action.STILL_REJECTED, record)
        was_invalid = action is Action.STILL_REJECTED and record is not None and record.http_status is None
        if was_invalid and self._reading.event(row) is not None:
            return ClassifiedRow(row, Action.SEND_AGAIN, record)
        return one


def warnings_before_sending(spool: Spool, reading: Reading, options: SyncOptions) -> list[str]:
    """Refuse a run of more events than ``max_pending``, unless it is a preview, and return what is suspicious."""
    if isinstance(options.max_pending, Mapping):
        _refuse_what_is_not_approved(options.max_pending, PendingTotals(spool, reading, options.call))
        most = None
    else:
        most = options.max_pending
    call = options.call
    pending, of_one_uid = spool.pending, spool.most_of_one_uid
    warnings = []
    if of_one_uid >= MANY_OF_ONE_UID:
        warnings.append(
            f"{of_one_uid} of {pending} pending {call.plural} name one and the same uid: does its column hold "
            "customers?"
        )
    if most is not None and pending > most:
        totals = PendingTotals(spool, reading, call).text()
        finding = f"{are_pending(pending, call)}, more than max_pending={most}: {totals}"
        if not options.preview:
            raise RunRefusedError(
                f"{finding}. Nothing was sent. If all of them are intended, as in a first run, set max_pending=None; "
                "preview=True reports without sending"
            )
        warnings.append(finding)
    return warnings


def _refuse_what_is_not_approved(preview: Mapping[str, Any], totals: PendingTotals) -> None:
    """Refuse a run that would send more than a preview found, or whose ``max_pending`` is the summary of no preview."""
    found = preview.get("would_be_sent")
    if not isinstance(found, Mapping):
        raise RunRefusedError(
            "max_pending is the summary of a run that was no preview. Nothing was sent. Pass a number, None, or what a "
            "task with preview=True returned"
        )
    sums = {currency: one["sum"] for currency, one in found["by_currency"].items()}
    if totals.counts.total() > found["events"] or any(
        total > sums.get(currency, 0) for currency, total in totals.sums.items()
    ):
        raise RunRefusedError(
            f"More is pending than the preview found: {totals.text()}; the preview found {found['events']}, with the "
            f"sums {sums}. Nothing was sent. Run the preview again, and approve what it finds then"
        )


def warnings_of_age(spool: Spool, options: SyncOptions, now: datetime) -> list[str]:
    """
    Refuse a run that would send a sale for the first time that is older than ``max_age``, and return what is old.

    A preview only warns.

    :param now: aware
    """
    call = options.call
    oldest, of_weeks = spool.ages(now - WEEK) if call.counts_when_sent else (None, 0)
    if oldest is None:
        return []
    age = now - oldest
    finding = (
        f"The oldest of the {call.plural} that were never sent is {age.days} days old, and {of_weeks} are older than a "
        f"week: a {call.name} that is sent today counts today, whatever {call.moment} says"
    )
    if options.max_age is not None and age > options.max_age and not options.preview:
        raise RunRefusedError(
            f"{finding}. Nothing was sent, because max_age is {options.max_age.days} days. Give the query a lower "
            "bound, or set max_age=None if they are to count today"
        )
    return [finding] if of_weeks else []


class PendingTotals:
    """
    Counts, sums and largest amounts by currency, by which a user can tell a backfill from a wrong query.

    :param limit: how many events are added up; None adds up all that are pending
    """

    def __init__(self, spool: Spool, reading: Reading, call: Call, limit: int | None = None) -> None:
        self._how = reading.how
        self._call = call
        self.counts: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.largest: dict[str, int] = {}
        self._smallest: int | None = None
        self._all_whole = True
        self.sample: list[dict[str, Any]] = []
        self._sales: list[str | None] = []
        self.rechecks_a_day: int | None = None
        self._warnings: list[str] = []
        sending = (group.rows[0] for group in spool.groups() if group.action is not None)
        for row in islice(sending, limit):
            if event := reading.event(row):
                self._add(event)

    def _add(self, event: TrackedEvent) -> None:
        currency = event.currency or self._how.currency or "account"
        self.counts[currency] += 1
        self.sums[currency] += event.amount
        self.largest[currency] = max(self.largest.get(currency, 0), event.amount)
        self._smallest = min(self._smallest or event.amount, event.amount)
        self._all_whole = self._all_whole and event.amount % 100 == 0
        if len(self.sample) < SAMPLE:
            self.sample.append(
                {
                    "event_id": event.event_id,
                    "amount": event.amount,
                    "currency": currency,
                    "identified_by": event.identities(self._how.identify_by)[0][0],
                }
            )
            self._sales.append(getattr(event, self._call.sale_column or "", None))

    def look_up_sales(self, hook: FirstPromoterHook, sales: Ledger | None = None) -> None:
        """
        Look up whether FirstPromoter has a commission of each sale that the sample names.

        :param sales: their ledger, which is asked first
        """
        found = {}
        recorded = sales.find({one for one in self._sales if one}, commissions=False) if sales else {}
        for one, sale in zip(self.sample, self._sales, strict=True):
            if sale is not None:
                try:
                    known = sale in recorded and recorded[sale].recorded
                    found[sale] = one["sale_found"] = known or bool(hook.find_commissions(sale, SALE))
                except (AccessRefusedError, ReadError) as error:
                    self._warnings.append(f"The sales of the sample could not be looked up: {error}")
                    return
        if found and not any(found.values()):
            self._warnings.append(
                f"FirstPromoter lists no commission of any of the {len(found)} sales that were looked up: does "
                f"{self._call.sale_column} hold the event_ids under which the sales were tracked?"
            )

    def count_rechecks(self, spool: Spool, ledger: Ledger | None, window: timedelta) -> None:
        """
        Count how many requests a day ``recheck_unreferred`` costs at most: if no new event belongs to a referral.

        :param window: ``recheck_unreferred``
        :raises LedgerError: if the ledger's database refuses
        """
        since = datetime.now(UTC) - window
        self.rechecks_a_day = spool.count_recent(since) + (ledger.count_unreferred(since) if ledger else 0)

    def warnings(self) -> list[str]:
        """Return what is suspicious: among it amounts in major units that are all whole and large, as if in cents."""
        if self._how.amount_unit != "major" or not self._all_whole or (self._smallest or 0) < WHOLE_AND_LARGE:
            return self._warnings
        return [
            *self._warnings,
            "amount_unit is 'major', and every amount is whole and large: is the column in cents? "
            f"As it is, these would be sent: {self.text()}",
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON for the summary."""
        return {
            "events": self.counts.total(),
            "by_currency": {
                currency: {"events": count, "sum": self.sums[currency], "largest": self.largest[currency]}
                for currency, count in sorted(self.counts.items())
            },
            "sample": self.sample,
            "rechecks_a_day": self.rechecks_a_day,
        }

    def text(self) -> str:
        """Return the sums in words."""
        return ", ".join(
            f"{self._amount(self.sums, currency)} ({self.counts[currency]} {self._call.plural}, "
            f"the largest {self._amount(self.largest, currency)})"
            for currency in sorted(self.sums)
        )

    def _amount(self, amounts: Mapping[str, int], currency: str) -> str:
        return money_text(amounts[currency], self._how.currency if currency == "account" else currency)
