"""Reads both sides of a reconciliation into its staging database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime

from airflow_provider_firstpromoter.api import (
    CommissionPage,
    describe_unreadable,
    read_commissions,
)
from airflow_provider_firstpromoter.calls import Commission, batches
from airflow_provider_firstpromoter.database import in_background, stop_if_cancelled
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger, recorded_between, sent_to_leads, sent_without_lead
from airflow_provider_firstpromoter.reconcile.compare import created_at
from airflow_provider_firstpromoter.reconcile.lookups import Lookups
from airflow_provider_firstpromoter.reconcile.open_mismatches import OpenMismatches
from airflow_provider_firstpromoter.reconcile.period import Period
from airflow_provider_firstpromoter.reconcile.report import Report
from airflow_provider_firstpromoter.reconcile.staging import RefundPair, Staging

PROGRESS_EVERY_SECONDS = 10.0
#: The number of refunds that are looked up before those that FirstPromoter does not have are written: what a kill
#: leaves unwritten.
LOOKUPS_AT_A_TIME = 100


class Reader:
    """
    Reads FirstPromoter's commissions and the ledger's rows.

    :param open_mismatches: collects the event_ids of commissions that cannot be read
    :param report: counts what is read, and gets a warning for what cannot be read
    :param now: replaces times that cannot be read
    """

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: RefundLedger,
        period: Period,
        staging: Staging,
        open_mismatches: OpenMismatches,
        report: Report,
        *,
        now: datetime,
        log: logging.Logger,
    ) -> None:
        self.hook = hook
        self.ledger = ledger
        self.period = period
        self.staging = staging
        self.open_mismatches = open_mismatches
        self.report = report
        self.now = now
        self.log = log
        self._next_progress = time.monotonic() + PROGRESS_EVERY_SECONDS
        self._lookups = Lookups(hook, log)

    def read_commissions(self) -> None:
        """
        Read the negative commissions of the period.

        :raises ReadError: if they cannot be read
        :raises AccessRefusedError: on 401 and 403
        """
        pages = read_commissions(self.hook.transport, **self.period.filters(), sale_amount_to=-1)
        unreadable: dict[int, int] = {}
        for page in in_background(pages, self.hook.cancelled):
            self._add_page(page, unreadable)
            self._log_progress("%s commissions read", self.report.commissions)
        if unreadable:
            self._warn(describe_unreadable(unreadable))

    def _add_page(self, page: CommissionPage, unreadable: dict[int, int]) -> None:
        self.report.commissions += len(page.commissions)
        self.staging.add_commissions(
            self._staged(one) for one in page.commissions if one.is_reversal and one.commission_type != "custom"
        )
        if page.unreadable:
            unreadable[page.number] = len(page.unreadable)
            self.open_mismatches.add_unreadable(page.unreadable)

    def read_ledger(self, *, adopt: bool) -> None:
        """
        Read the ledger's rows of the commissions, of the period, and of the same leads.

        It is read after the commissions, so that it has the refunds that are recorded while those are read.

        :param adopt: whether refunds that were sent and whose lead is not known must be looked up as well, because an
            adopted refund could be a duplicate of one
        :raises LedgerError: if the database cannot be read
        :raises SyncInterruptedError: if the task is killed
        """
        staging = self.staging
        for event_ids in staging.commission_event_ids():
            stop_if_cancelled(self.hook.cancelled)
            staging.add_ledger_rows(self.ledger.find(event_ids).values())
        for records in batches(recorded_between(self.ledger, self.period.start, self.period.end)):
            stop_if_cancelled(self.hook.cancelled)
            staging.add_ledger_rows(records, in_period=True)
        for lead_ids in staging.unsent_lead_ids():
            stop_if_cancelled(self.hook.cancelled)
            if adopt:
                for records in batches(sent_without_lead(self.ledger)):
                    staging.add_ledger_rows(records, look_up=True)
                adopt = False
            staging.add_sent_to_leads(sent_to_leads(self.ledger, lead_ids))

    def look_up(self, report_missing: Callable[[list[RefundPair]], None]) -> None:
        """
        Look up each refund of the ledger that no commission of the period belongs to: its commission can be older.

        :param report_missing: is called with the refunds for which FirstPromoter has no commission, in batches; after
            an error or a kill, with those that are known by then
        :raises ReadError: if several lookups in a row fail
        :raises AccessRefusedError: on 401 and 403
        """
        count = self.staging.count_without_commission()
        if not count:
            return
        rate = self.hook.account.extra.requests_per_minute
        self.log.info(
            "%s refunds of the ledger have no commission in this period; each is looked up, with one or two requests. "
            "At %s requests a minute that takes up to %.0f minutes",
            count,
            rate,
            2 * count / rate + 0.5,
        )
        for pairs in self.staging.without_commission(LOOKUPS_AT_A_TIME):
            missing: list[RefundPair] = []
            found: list[Commission] = []
            try:
                for pair, commissions in in_background(self._lookups.commissions_of(pairs), self.hook.cancelled):
                    if commissions is None:
                        self.report.not_looked_up += 1
                        self.open_mismatches.add_unreadable([pair.event_id])
                        continue
                    self.report.looked_up += 1
                    found += commissions
                    if not commissions and pair.in_period:
                        missing.append(pair)
                    self._log_progress("%s of %s refunds looked up", self.report.looked_up, count)
            finally:
                in_period = {pair.event_id: pair.in_period for pair in pairs}
                self.staging.add_commissions(
                    (one, created_at(one, self.now), in_period.get(one.event_id, False)) for one in found
                )
                report_missing(missing)
        if self.report.not_looked_up:
            self._warn(
                f"{self.report.not_looked_up} refunds could not be looked up and were not compared; "
                "the log has the reason of each"
            )

    def _staged(self, commission: Commission) -> tuple[Commission, datetime, bool]:
        moment = created_at(commission, self.now)
        return commission, moment, self.period.contains(moment)

    def _warn(self, warning: str) -> None:
        self.log.warning("%s", warning)
        self.report.warnings.append(warning)

    def _log_progress(self, message: str, *values: object) -> None:
        if time.monotonic() >= self._next_progress:
            self._next_progress = time.monotonic() + PROGRESS_EVERY_SECONDS
            self.log.info(message, *values)
