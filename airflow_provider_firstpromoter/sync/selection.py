"""Chooses the rows of a run that need handling, before anything is sent, and adds up what would be sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.calls import REFUND, SALE, Refund, Row, Validation
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, InvalidRowError, ReadError, RunRefusedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.pending import Action, ClassifiedRow, PendingRules, classify_rows
from airflow_provider_firstpromoter.sync.job import SyncOptions
from airflow_provider_firstpromoter.sync.spool import Spool

#: The number of refunds that a preview shows.
SAMPLE = 10
#: In minor units. If no refund is below it and none has cents, the column probably holds cents and ``major`` is a
#: mistake.
WHOLE_AND_LARGE = 10_000
#: So many refunds of one uid are suspicious: the column may hold something else than the customer.
MANY_OF_ONE_UID = 50


class Reading(NamedTuple):
    """
    How the rows of a run are read.

    :param ledger: has the settled refunds; None if nothing is known of any
    :param rules: decide what is to be done with a row
    :param how: how its values are to be read
    """

    ledger: RefundLedger | None
    rules: PendingRules
    how: Validation

    def classified(self, rows: Iterable[Row], *, commissions: bool) -> Iterator[list[ClassifiedRow]]:
        """Return the rows with what is to be done with each, batch by batch."""
        return classify_rows(rows, self.ledger, self.rules, commissions=commissions)

    def refund(self, row: Row) -> Refund | None:
        """Return the refund that a row holds; None if it cannot be sent."""
        try:
            return Refund.from_row(row.values, self.how)
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
        """
        Return the rows that need handling. They are compared with the ledger once more before they are sent.

        :raises SyncInterruptedError: if the task was killed
        :raises LedgerError: if the ledger's database refuses
        """
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
        if action.sends and self._reading.refund(row) is None:
            return ClassifiedRow(row, Action.STILL_REJECTED, record)
        was_invalid = action is Action.STILL_REJECTED and record is not None and record.http_status is None
        if was_invalid and self._reading.refund(row) is not None:
            return ClassifiedRow(row, Action.SEND_AGAIN, record)
        return one


def warnings_before_sending(spool: Spool, most: int | None, reading: Reading, *, preview: bool) -> list[str]:
    """
    Refuse a run that would send more events than ``max_pending``, and return what is suspicious.

    :raises RunRefusedError: unless it is a preview, which only warns
    """
    pending, of_one_uid = spool.pending, spool.most_of_one_uid
    warnings = []
    if of_one_uid >= MANY_OF_ONE_UID:
        warnings.append(
            f"{of_one_uid} of {pending} pending refunds name one and the same uid: does its column hold customers?"
        )
    if most is not None and pending > most:
        totals = PendingTotals(reading.how)
        for group in spool.groups():
            if group.rank:
                totals.add(next(refund for row in group.rows if (refund := reading.refund(row))))
        finding = f"{pending} refunds are pending, more than max_pending={most}: {totals.text()}"
        if not preview:
            raise RunRefusedError(
                f"{finding}. Nothing was sent. If all of them are intended, as in a first run, set max_pending=None; "
                "preview=True reports without sending"
            )
        warnings.append(finding)
    return warnings


class PendingTotals:
    """
    Counts, sums and largest amounts by currency, by which a user can tell a backfill from a wrong query.

    :param how: how rows are read
    """

    def __init__(self, how: Validation) -> None:
        self._how = how
        self.counts: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.largest: dict[str, int] = {}
        self._smallest: int | None = None
        self._all_whole = True
        self.sample: list[dict[str, Any]] = []
        self._sales: list[str | None] = []
        self._warnings: list[str] = []

    def add(self, refund: Refund) -> None:
        """Add one refund."""
        currency = refund.currency or self._how.currency or "account"
        self.counts[currency] += 1
        self.sums[currency] += refund.amount
        self.largest[currency] = max(self.largest.get(currency, 0), refund.amount)
        self._smallest = min(self._smallest or refund.amount, refund.amount)
        self._all_whole = self._all_whole and refund.amount % 100 == 0
        if len(self.sample) < SAMPLE:
            self.sample.append(
                {
                    "event_id": refund.event_id,
                    "amount": refund.amount,
                    "currency": currency,
                    "identified_by": refund.identities(self._how.identify_by)[0][0],
                }
            )
            self._sales.append(getattr(refund, REFUND.sale_column or "", None))

    def look_up_sales(self, hook: FirstPromoterHook) -> None:
        """
        Look up whether FirstPromoter has a commission of each sale that the sample names.

        :raises SyncInterruptedError: if the task was killed
        """
        found = {}
        for one, sale in zip(self.sample, self._sales, strict=True):
            if sale is not None:
                try:
                    found[sale] = one["sale_found"] = bool(hook.find_commissions(sale, SALE))
                except (AccessRefusedError, ReadError) as error:
                    self._warnings.append(f"The sales of the sample could not be looked up: {error}")
                    return
        if found and not any(found.values()):
            self._warnings.append(
                f"FirstPromoter lists no commission of any of the {len(found)} sales that were looked up: does "
                f"{REFUND.sale_column} hold the event_ids under which the sales were tracked?"
            )

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
            "refunds": self.counts.total(),
            "by_currency": {
                currency: {"refunds": count, "sum": self.sums[currency], "largest": self.largest[currency]}
                for currency, count in sorted(self.counts.items())
            },
            "sample": self.sample,
        }

    def text(self) -> str:
        """Return the sums in words."""
        return ", ".join(
            f"{self.sums[currency]} minor units of {_name(currency)} "
            f"({self.counts[currency]} refunds, the largest {self.largest[currency]})"
            for currency in sorted(self.sums)
        )


def _name(currency: str) -> str:
    return "the account's currency" if currency == "account" else currency
