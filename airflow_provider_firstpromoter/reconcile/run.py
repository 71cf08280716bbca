"""One reconciliation: reads both sides, compares them, writes mismatches, and corrects the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from airflow_provider_firstpromoter.api import describe_unreadable
from airflow_provider_firstpromoter.calls import SALE, Commission, Result, batches
from airflow_provider_firstpromoter.database import CallQuery, stop_if_cancelled
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, LedgerRecord, LedgerWrite, RunKey, now
from airflow_provider_firstpromoter.reconcile.checks import Checks
from airflow_provider_firstpromoter.reconcile.compare import Comparison, Correction, EventPair, compare, created_at
from airflow_provider_firstpromoter.reconcile.mismatch_table import Findings, MismatchTable
from airflow_provider_firstpromoter.reconcile.mismatches import CHECKED_KINDS, COMPARED_KINDS, ReconcileReport
from airflow_provider_firstpromoter.reconcile.reading import CommissionReader, Period
from airflow_provider_firstpromoter.reconcile.scaffold import LedgerRun
from airflow_provider_firstpromoter.reconcile.staging import Staging

T = TypeVar("T")
PROGRESS_EVERY_SECONDS = 10.0
#: The number of refunds that are looked up before those that FirstPromoter does not have are written: what a kill
#: leaves unwritten.
LOOKUPS_AT_A_TIME = 100


class Reconciliation(LedgerRun[ReconcileReport]):
    """
    One comparison of a ledger with FirstPromoter's commissions.

    The ledger takes over rewards, the outcome of refunds that were sent and turned out to be recorded and, with
    ``adopt``, refunds that only FirstPromoter has. What is compared is written in batches, so that a kill loses none of
    it.

    :param adopt: whether refunds that only FirstPromoter has become ``already_recorded`` in the ledger
    :param query: the warehouse's query over the whole period; None does not look for what it no longer selects
    :param pending_after: how old a pending commission has to be to be a mismatch; None leaves that out
    :param max_sale_lookups: the number of sales that are looked up at most
    :param run: the task run that the rows name as the one that found them
    """

    KIND = "reconcile"

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: Ledger,
        period: Period,
        *,
        adopt: bool = False,
        query: CallQuery | None = None,
        pending_after: timedelta | None = timedelta(days=45),
        max_sale_lookups: int = 100,
        run: RunKey | None = None,
        try_number: int = 1,
        log: logging.Logger | None = None,
    ) -> None:
        table = MismatchTable(ledger, run)
        report = ReconcileReport(table=table.table.fullname, call=ledger.call)
        super().__init__(CommissionReader(hook, ledger.call, log), ledger, report, run=run, try_number=try_number)
        report.accept = self.command("accept")
        self.table = table
        self.period = period
        self.adopt = adopt
        self.query = query
        self.pending_after = pending_after
        self.max_sale_lookups = max_sale_lookups
        self._now = now()
        self._compared = 0
        self._next_progress = time.monotonic() + PROGRESS_EVERY_SECONDS

    def _prepare(self) -> None:
        super()._prepare()
        self.table.ensure()

    def _work(self) -> None:
        try:
            with Staging(self.ledger.call) as staging, Findings(self.table, self.report) as findings:
                self._reconcile(staging, findings)
        except BaseException:
            self.log.warning("The reconciliation ended early; %s compared", self.ledger.call.counted(self._compared))
            raise

    def _reconcile(self, staging: Staging, findings: Findings) -> None:
        self._read_commissions(staging, findings)
        self._read_ledger(staging)
        self._look_up(staging, findings)
        staging.find_duplicates()
        for batch in self._batches(staging):
            self._compare(batch, findings)
        findings.resolve(COMPARED_KINDS, self.period.start, self.period.end)
        before = None if self.pending_after is None else self._now - self.pending_after
        checks = Checks(self.ledger, self.reader, self.period, findings, self._now, before)
        if self.max_sale_lookups and self.ledger.call.sale_column is not None:
            sales = self.ledger.beside(self.hook.account.ledger_table(SALE), SALE)
            checks.sales(self.max_sale_lookups, sales)
            self.report.sales_looked_up, self.report.sales_left = checks.looked_up, checks.left
        if self.query is not None:
            checks.no_longer_selected(self.query)
        findings.resolve(CHECKED_KINDS)

    def _batches(self, items: Iterable[T]) -> Iterator[list[T]]:
        """Yield items in batches, until the task is killed."""
        for batch in batches(items):
            stop_if_cancelled(self.hook.cancelled)
            yield batch

    def _read_commissions(self, staging: Staging, findings: Findings) -> None:
        unreadable: dict[int, int] = {}
        for page in self.reader.pages(self.period):
            self.report.commissions += len(page.commissions)
            moments = ((one, created_at(one, self._now)) for one in page.commissions)
            staging.add_commissions((one, moment, self.period.contains(moment)) for one, moment in moments)
            if page.unreadable:
                unreadable[page.number] = len(page.unreadable)
                staging.add_unreadable(page.unreadable)
                findings.keep_open(page.unreadable)
            self._log_progress("%s commissions read", self.report.commissions)
        if unreadable:
            self.warn(describe_unreadable(unreadable))

    def _read_ledger(self, staging: Staging) -> None:
        """
        Read the ledger's rows of the commissions, of the period, and of the same leads.

        It is read after the commissions, so that it has the refunds that are recorded while those are read. To adopt,
        refunds that were sent and whose lead is not known are looked up as well: an adopted one could be a duplicate.
        """
        for event_ids in staging.commission_event_ids():
            stop_if_cancelled(self.hook.cancelled)
            staging.add_ledger_rows(list(self.ledger.find(event_ids).values()))
        for records in self._batches(self.ledger.recorded_between(self.period.start, self.period.end)):
            staging.add_ledger_rows(records, in_period=True)
        adopt = self.adopt
        for lead_ids in staging.unsent_lead_ids():
            stop_if_cancelled(self.hook.cancelled)
            if adopt:
                for records in self._batches(self.ledger.sent_without_lead()):
                    staging.add_ledger_rows(records, look_up=True)
                adopt = False
            staging.add_sent_to_leads(self.ledger.sent_to_leads(lead_ids))

    def _look_up(self, staging: Staging, findings: Findings) -> None:
        """
        Look up each refund of the ledger that no commission of the period belongs to: its commission can be older.

        What FirstPromoter does not have is written at once: after an error or a kill, as far as it is known by then.
        """
        count = staging.count_without_commission()
        if not count:
            return
        rate = self.hook.account.extra.requests_per_minute
        self.log.info(
            "%s %s of the ledger have no commission in this period; each is looked up, with one or two requests. "
            "At %s requests a minute that takes up to %.0f minutes",
            count,
            self.ledger.call.plural,
            rate,
            2 * count / rate + 0.5,
        )
        for pairs in staging.without_commission(LOOKUPS_AT_A_TIME):
            by_id = {pair.event_id: pair for pair in pairs}
            missing: list[EventPair] = []
            found: list[tuple[Commission, bool]] = []
            try:
                for event_id, commissions in self.reader.look_up(one for one in by_id if one):
                    if commissions is None:
                        self.report.not_looked_up += 1
                        staging.add_unreadable([event_id])
                        findings.keep_open([event_id])
                        continue
                    self.report.looked_up += 1
                    pair = by_id[event_id]
                    found += ((one, pair.in_period) for one in commissions)
                    if not commissions and pair.in_period:
                        missing.append(pair)
                    self._log_progress("%s of %s %s looked up", self.report.looked_up, count, self.ledger.call.plural)
            finally:
                staging.add_commissions((one, created_at(one, self._now), in_period) for one, in_period in found)
                self._compare(missing, findings)
        if self.report.not_looked_up:
            self.warn(
                f"{self.report.not_looked_up} {self.ledger.call.plural} could not be looked up and were not compared; "
                "the log has the reason of each"
            )

    def _log_progress(self, message: str, *values: object) -> None:
        if time.monotonic() >= self._next_progress:
            self._next_progress = time.monotonic() + PROGRESS_EVERY_SECONDS
            self.log.info(message, *values)

    def _compare(self, pairs: list[EventPair], findings: Findings) -> None:
        """Compare refunds, and write what follows from it."""
        compared = [(pair, compare(pair, adopt=self.adopt, now=self._now)) for pair in pairs]
        mismatches = [
            comparison.mismatch for pair, comparison in compared if comparison.mismatch is not None and pair.in_period
        ]
        # Written before the ledger changes: if the run is killed in between, the next one finds them again.
        findings.write(mismatches)
        findings.compared(pair.event_id for pair in pairs if pair.in_period)
        self._correct_ledger(compared)
        self.report.matched += sum(
            pair.recorded and pair.in_period and comparison.mismatch is None for pair, comparison in compared
        )
        self._compared += len(compared)

    def _correct_ledger(self, compared: list[tuple[EventPair, Comparison]]) -> None:
        def corrected(correction: Correction) -> list[tuple[LedgerRecord | None, Result]]:
            return [
                (pair.record, comparison.result)
                for pair, comparison in compared
                if comparison.correction is correction and comparison.result is not None
            ]

        adopted = [result for _, result in corrected(Correction.ADOPT)]
        recovered = [(record, result) for record, result in corrected(Correction.RECOVER) if record]
        rewards = [(record, result) for record, result in corrected(Correction.UPDATE_REWARD) if record]
        if adopted:
            writes = [LedgerWrite.of_result(result, self.run_key, at=self._now) for result in adopted]
            self.ledger.write(writes, self.run_key)
        self.ledger.recover(recovered, self._now)
        self.ledger.update_commissions(rewards)
        self.report.adopted += len(adopted)
        self.report.recovered += len(recovered)
        filled = sum(not record.commissions for record, _ in rewards)
        self.report.rewards_filled += filled
        self.report.rewards_updated += len(rewards) - filled
