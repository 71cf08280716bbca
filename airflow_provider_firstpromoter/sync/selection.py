"""Chooses the rows of a run that need handling, before anything is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from airflow_provider_firstpromoter.calls import Refund, Row, Validation
from airflow_provider_firstpromoter.exceptions import InvalidRowError, RunRefusedError
from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.pending import Action, ClassifiedRow, PendingRules, classify_rows
from airflow_provider_firstpromoter.sync.spool import Spool
from airflow_provider_firstpromoter.sync.totals import PendingTotals


class Selection:
    """
    Counts the rows of a run by what is to be done with them, and passes on those that need handling.

    :param ledger: has the settled refunds; None if nothing is known of any
    :param how: how the rows are to be read
    :param with_settled: whether the settled ones are to be passed on as well
    """

    def __init__(
        self, ledger: RefundLedger | None, rules: PendingRules, how: Validation, *, with_settled: bool
    ) -> None:
        self.skipped = 0
        self._ledger = ledger
        self._rules = rules
        self._how = how
        self._with_settled = with_settled
        self._counts: Counter[Action] = Counter()

    @property
    def pending(self) -> int:
        """How many rows are to be sent."""
        return sum(count for action, count in self._counts.items() if action.sends)

    def select(self, rows: Iterable[Row], raise_if_killed: Callable[[], None]) -> Iterator[ClassifiedRow]:
        """
        Return the rows that need handling. They are compared with the ledger once more before they are sent.

        :raises SyncInterruptedError: if the task was killed
        :raises LedgerError: if the ledger's database refuses
        """
        for batch in classify_rows(rows, self._ledger, self._rules, details=False):
            raise_if_killed()
            for one in map(self._validated_again, batch):
                self._counts[one.action] += 1
                is_settled = one.action is Action.SETTLED and not self._rules.needs_renewal(one.row, one.record)
                if self._with_settled or not is_settled:
                    yield one
                else:
                    self.skipped += 1

    def _validated_again(self, one: ClassifiedRow) -> ClassifiedRow:
        """A row that only validation refused is sent if a corrected parameter makes it valid: it counts as pending."""
        if one.action is not Action.STILL_REJECTED or one.record is None or one.record.http_status is not None:
            return one
        try:
            Refund.from_row(one.row.values, self._how)
        except InvalidRowError:
            return one
        return one._replace(action=Action.SEND_AGAIN)


def refuse_too_many(pending: int, most: int | None, spool: Spool, how: Validation, *, preview: bool) -> str | None:
    """
    Refuse a run that would send more than ``max_pending`` refunds.

    :param how: how the rows are to be read
    :returns: what a preview warns of instead; None if there are not too many
    :raises RunRefusedError: if there are
    """
    if most is None or pending <= most:
        return None
    totals = PendingTotals.of((row for group in spool.groups() if group.rank for row in group.rows[:1]), how)
    finding = f"{pending} refunds are pending, more than max_pending={most}: {totals.text()}"
    if preview:
        return finding
    raise RunRefusedError(
        f"{finding}. Nothing was sent. If all of them are intended, as in a first run, set max_pending=None; "
        "preview=True reports without sending"
    )
