"""One reconciliation: reads both sides, compares them, writes mismatches, and corrects the ledger."""

from __future__ import annotations

import logging
import time

from airflow_provider_firstpromoter.calls import Result, batches
from airflow_provider_firstpromoter.database import stop_if_cancelled
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import (
    LedgerBatch,
    LedgerRecord,
    LedgerWrite,
    RefundLedger,
    RunHistory,
    RunKey,
    now,
    recover,
    update_rewards,
)
from airflow_provider_firstpromoter.reconcile.compare import Comparison, Correction, compare
from airflow_provider_firstpromoter.reconcile.mismatch_table import MismatchTable
from airflow_provider_firstpromoter.reconcile.open_mismatches import OpenMismatches
from airflow_provider_firstpromoter.reconcile.period import Period
from airflow_provider_firstpromoter.reconcile.reading import Reader
from airflow_provider_firstpromoter.reconcile.report import Report
from airflow_provider_firstpromoter.reconcile.staging import RefundPair, Staging


class Reconciliation:
    """
    One comparison of a ledger with FirstPromoter's commissions.

    All SQL runs on the calling thread. The ledger takes over rewards, the outcome of refunds that were sent and turned
    out to be recorded and, with ``adopt``, refunds that only FirstPromoter has. What is compared is written in batches,
    so that a kill loses none of it.

    :param adopt: whether refunds that only FirstPromoter has become ``already_recorded`` in the ledger
    :param run: the task run that the rows name as the one that found them
    :param try_number: Airflow's number of the try, for the run history
    """

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: RefundLedger,
        period: Period,
        *,
        adopt: bool = False,
        run: RunKey | None = None,
        try_number: int = 1,
        log: logging.Logger | None = None,
    ) -> None:
        self.hook = hook
        self.ledger = ledger
        self.period = period
        self.adopt = adopt
        self.run_key = run or RunKey()
        self.log = log or logging.getLogger(__name__)
        self.table = MismatchTable(ledger, self.run_key)
        self.history = RunHistory(ledger, self.run_key, try_number, kind="reconcile")
        self.report = Report(table=self.table.table.fullname, conn_id=hook.firstpromoter_conn_id)
        self._now = now()
        self._compared = 0

    def run(self) -> Report:
        """
        Reconcile.

        :returns: what was found; :meth:`Report.raise_if_more_than` decides whether it fails the task
        :raises ReadError: if FirstPromoter's commissions cannot be read
        :raises AccessRefusedError: on 401 and 403
        :raises LedgerError: if the ledger's database refuses
        :raises SyncInterruptedError: if the hook is cancelled meanwhile
        """
        started = time.monotonic()
        requests_before = self.hook.transport.requests
        self.ledger.ensure()
        self.table.ensure()
        self.history.start()
        error: BaseException | None = None
        try:
            with Staging() as staging, OpenMismatches() as open_mismatches:
                self._reconcile(staging, open_mismatches)
        except BaseException as caught:
            error = caught
            self.log.warning("The reconciliation ended early; %s refunds were compared", self._compared)
            raise
        finally:
            self.report.seconds = round(time.monotonic() - started, 3)
            self.report.requests = self.hook.transport.requests - requests_before
            self._finish_history(error)
        return self.report

    def _finish_history(self, error: BaseException | None) -> None:
        try:
            self.history.finish({"mismatches": self.report.mismatches, "requests": self.report.requests}, error)
        except LedgerError as refused:
            if error is None:
                raise
            self.log.warning("%s", refused)  # only logged: the error that ended the run says more

    def _reconcile(self, staging: Staging, open_mismatches: OpenMismatches) -> None:
        reader = Reader(
            self.hook, self.ledger, self.period, staging, open_mismatches, self.report, now=self._now, log=self.log
        )
        reader.read_commissions()
        reader.read_ledger(adopt=self.adopt)
        reader.look_up(lambda missing: self._compare(missing, open_mismatches))
        staging.find_duplicates()
        for batch in batches(staging):
            stop_if_cancelled(self.hook.cancelled)
            self._compare(batch, open_mismatches)
        # All open mismatches are read before the first is changed: in SQLite a reader and a writer lock each other.
        open_mismatches.add_open(self.table.open_between(self.period.start, self.period.end))
        for resolved in batches(open_mismatches.resolved()):
            stop_if_cancelled(self.hook.cancelled)
            self.table.resolve(resolved)

    def _compare(self, pairs: list[RefundPair], open_mismatches: OpenMismatches) -> None:
        """Compare refunds, and write what follows from it."""
        compared = [(pair, compare(pair, adopt=self.adopt, now=self._now)) for pair in pairs]
        mismatches = [
            comparison.mismatch for pair, comparison in compared if comparison.mismatch is not None and pair.in_period
        ]
        # Written before the ledger changes: if the run is killed in between, the next one finds them again.
        accepted = self.table.write(mismatches)
        open_mismatches.add_compared(pair.event_id for pair in pairs if pair.in_period)
        open_mismatches.add_found(mismatch.key for mismatch in mismatches)
        self._correct_ledger(compared)
        self.report.add(mismatches, accepted)
        self.report.matched += sum(
            pair.recorded and pair.in_period and comparison.mismatch is None for pair, comparison in compared
        )
        self._compared += len(compared)

    def _correct_ledger(self, compared: list[tuple[RefundPair, Comparison]]) -> None:
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
            writes = [LedgerWrite(result, at=self._now) for result in adopted]
            self.ledger.write(LedgerBatch(self._now, writes), self.run_key)
        recover(self.ledger, recovered, self._now)
        update_rewards(self.ledger, rewards)
        self.report.adopted += len(adopted)
        self.report.recovered += len(recovered)
        filled = sum(record.reward_id is None for record, _ in rewards)
        self.report.rewards_filled += filled
        self.report.rewards_updated += len(rewards) - filled
