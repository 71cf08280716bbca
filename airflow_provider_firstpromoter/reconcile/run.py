"""The ledger held against FirstPromoter's books: what differs is written down, what they know better is taken over."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from airflow_provider_firstpromoter.api import Commission
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import LedgerBatch, LedgerRecord, LedgerWrite, RefundLedger, RunKey
from airflow_provider_firstpromoter.reconcile.compare import compare, moment_of
from airflow_provider_firstpromoter.reconcile.mismatches import Mismatch, MismatchTable
from airflow_provider_firstpromoter.reconcile.period import Period
from airflow_provider_firstpromoter.reconcile.report import Report
from airflow_provider_firstpromoter.reconcile.staging import RefundPair, Staging
from airflow_provider_firstpromoter.refunds import Result, batches

#: Single refunds that no page of the time in question showed are looked up, but not without end: one request each.
MOST_LOOKUPS = 1000
#: Cases of each kind in XCom; the table has them all.
MOST_CASES = 20
PROGRESS_EVERY_SECONDS = 10.0


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
        :returns: what was found; :meth:`Report.raise_if_more_than` fails the task if it calls for that
        :raises ReadError: if the books cannot be read
        :raises LedgerError: if the ledger's database refuses
        """
        started = time.monotonic()
        requests_before = self.hook.transport.requests
        self.ledger.ensure()
        self.table.ensure()
        with Staging() as staging:
            self._read(staging)
            for batch in batches(staging):
                self._compare_batch(batch, staging)
            # Those still open are read to their end first: in SQLite a reader and a writer lock each other.
            staging.add_open(self.table.open_between(self.period.start, self.period.end))
            for resolved_keys in batches(staging.resolved_keys()):
                self.table.resolve(resolved_keys)
        self.report.seconds = round(time.monotonic() - started, 3)
        self.report.requests = self.hook.transport.requests - requests_before
        return self.report

    # --- both sides in ---

    def _read(self, staging: Staging) -> None:
        """The books first: what is recorded while they are read is then in the ledger, and looked up."""
        for commissions in batches(self._reversals()):
            staging.add_commissions((one, self.period.contains(moment_of(one, self._now))) for one in commissions)
        for event_ids in staging.commission_event_ids():
            staging.add_ledger_rows(self.ledger.find(event_ids).values(), in_period=False)
        for records in batches(self.ledger.recorded_between(self.period.start, self.period.end)):
            staging.add_ledger_rows(records, in_period=True)
        self._look_up(staging)

    def _reversals(self) -> Iterator[Commission]:
        progress = time.monotonic()
        for commission in self.hook.iter_commissions(**self.period.filters(), sale_amount_to=-1):
            self.report.commissions += 1
            if commission.is_reversal and commission.commission_type != "custom":
                yield commission
            if time.monotonic() - progress >= PROGRESS_EVERY_SECONDS:
                progress = time.monotonic()
                self.log.info("%s commissions read", self.report.commissions)

    def _look_up(self, staging: Staging) -> None:
        """What the ledger has as recorded may stand in the books under another day: it is looked up by its event_id."""
        lookups = 0
        for event_ids in staging.ledger_only_event_ids():
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
                    if one.event_id == event_id and one.is_reversal
                ]
            staging.add_commissions(found)
            if lookups == MOST_LOOKUPS:
                return

    # --- compared ---

    def _compare_batch(self, batch: list[RefundPair], staging: Staging) -> None:
        mismatches: list[Mismatch] = []
        adopted: list[LedgerWrite] = []
        rewards: list[tuple[LedgerRecord, Result]] = []
        for pair in batch:
            mismatch, result = compare(pair, adopt=self.adopt, now=self._now)
            if mismatch is not None:
                mismatches.append(mismatch)
            else:
                self.report.matched += pair.record is not None and pair.record.recorded
            if not (pair.record and pair.record.recorded):
                if self.adopt and result is not None:
                    adopted.append(LedgerWrite(result, at=self._now))
            elif result is not None:
                rewards.append((pair.record, result))
        # Written down before the ledger changes: a run that is killed in between finds it once more.
        self.table.write(mismatches)
        staging.note(mismatch.key for mismatch in mismatches)
        self.ledger.write(LedgerBatch(self._now, adopted), self.run_key)
        self.ledger.update_rewards(rewards)
        self.report.adopted += len(adopted)
        for record, _ in rewards:
            filled = record.reward_id is None
            self.report.rewards_filled += filled
            self.report.rewards_updated += not filled
        for mismatch in mismatches:
            self.report.counts[mismatch.kind] += 1
            cases = self.report.cases.setdefault(mismatch.kind, [])
            if len(cases) < MOST_CASES:
                cases.append(mismatch)
