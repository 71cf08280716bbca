"""One run: reads rows, sends what is pending through the hook, and records the results in the ledger."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Self

from airflow_provider_firstpromoter.exceptions import (
    LedgerError,
    RunRefusedError,
)
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger, RunHistory, RunKey, now
from airflow_provider_firstpromoter.pending import Action, ClassifiedRow, PendingRules, classify_rows, decide
from airflow_provider_firstpromoter.refunds import Refund, Row, Summary, Totals, Validation, batches
from airflow_provider_firstpromoter.sync import fan_out, log_text
from airflow_provider_firstpromoter.sync.dispatcher import Dispatcher
from airflow_provider_firstpromoter.sync.options import SyncOptions
from airflow_provider_firstpromoter.sync.progress import OnResult, Progress
from airflow_provider_firstpromoter.sync.recorder import Recorder
from airflow_provider_firstpromoter.sync.spool import Group, Spool
from airflow_provider_firstpromoter.sync.totals import PendingTotals
from airflow_provider_firstpromoter.sync.verdict import error_of


class RefundSync:
    """
    One run: takes rows, sends what is pending, and records the results.

    All SQL and the reading of the connection happen on the calling thread; the sender's threads do HTTP only.

    :param hook: the connection to FirstPromoter
    :param ledger: has the settled refunds; None relies on FirstPromoter's 409 alone
    :param options: the parameters of the run
    :param run: the task run that the ledger's rows name
    :param try_number: Airflow's number of the try
    :param kind: where the rows come from: a ``query``, which has all of its problems in every run, or a ``list``
    """

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: RefundLedger | None,
        options: SyncOptions | None = None,
        run: RunKey | None = None,
        log: logging.Logger | None = None,
        try_number: int = 1,
        kind: str = "list",
    ) -> None:
        self.hook = hook
        self.ledger = ledger
        self.options = options or SyncOptions()
        self.run_key = run or RunKey()
        self.log = log or logging.getLogger(__name__)
        account = hook.account
        self.validation = Validation(
            amount_unit=self.options.amount_unit,
            currency=account.extra.currency,
            skip_email_notification=self.options.skip_email_notification,
            identify_by=tuple(self.options.identify_by),
        )
        self.rules = PendingRules(account.fingerprint_key, self.options.recheck_unreferred, self.options.retry_rejected)
        written = None if self.options.preview else ledger
        summary = Summary(preview=self.options.preview, account=account.key, host=account.host, started_at=now())
        self._recorder = Recorder(
            written,
            RunHistory(written, self.run_key, try_number, kind) if written is not None else None,
            self.run_key,
            account.fingerprint_key,
            Progress(summary, hook.transport, hook.firstpromoter_conn_id, self.log),
        )
        if self.options.preview:
            self._recorder.would_be_sent = PendingTotals(self.validation)
        self._dispatcher = Dispatcher(hook, self.options, self._recorder, self.log)
        self._counts: Counter[Action] = Counter()
        self._report_settled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections to the ledger's database."""
        if self.ledger is not None:
            self.ledger.close()

    @property
    def summary(self) -> Summary:
        """The counts and sums of this try."""
        return self._recorder.summary

    def cancel(self) -> None:
        """End every wait, and the run: called by ``on_kill``, so it only sets flags."""
        self._dispatcher.cancel()

    def run(self, rows: Iterable[Row], on_result: OnResult | None = None, *, report_settled: bool = False) -> Summary:
        """
        Send every pending refund among the rows, once.

        :param rows: read once; kept on disk meanwhile
        :param on_result: called with a row and its result, in no particular order; not for a repeated row
        :param report_settled: whether the stored results of settled refunds belong to the summary, as those of a list
            do; otherwise they are only counted as skipped
        :returns: the counts and sums. Refunds that failed, were rejected or changed do not raise here:
            :meth:`raise_for_summary` does
        :raises RunRefusedError: before the first request, if more is pending than ``max_pending`` allows
        :raises SyncInterruptedError: if the task was killed
        :raises LedgerError: if the ledger's database refuses
        :raises SpoolError: if the worker's disk is full
        """
        self._recorder.progress.start(on_result)
        self._report_settled = report_settled
        error: BaseException | None = None
        try:
            self._recorder.start()
            with Spool() as spool:
                self._send_all(rows, spool)
        except BaseException as raised:
            error = raised
            self._save_what_is_known()
            raise
        finally:
            self._dispatcher.close()
            self._finish(error or self._dispatcher.fatal)
        return self.summary

    def total(self) -> Summary:
        """
        Return the summary of the whole task run, with what earlier tries settled.

        Each try of a list has all of its refunds; each try of a query has only those that are not settled yet.
        """
        if self._report_settled:
            return self.summary
        return self.summary.plus_settled(self._recorder.earlier.totals)

    def since_last_event(self, *, only_reversals: bool = False) -> Totals:
        """
        Return what the task has done since its last asset event, runs that failed included.

        :param only_reversals: whether there is an event only if a commission was reversed
        :raises LedgerError: if the ledger's database refuses
        """
        history = self._recorder.history
        if history is None:
            return self.total()
        return history.report_by_event(only_reversals=only_reversals).totals

    def raise_for_summary(self) -> None:
        """
        Fail the task if the run calls for it; call this after the summary was pushed to XCom.

        :raises AccessRefusedError: if FirstPromoter refused the key
        :raises RefundsFailedError: if refunds failed; Airflow's retry sends them again
        :raises RefundsRejectedError: if more refunds were rejected or changed than ``max_rejected`` allows
        """
        if error := self._dispatcher.fatal or error_of(self.summary, self.options):
            raise error

    # --- rows in ---

    def _send_all(self, rows: Iterable[Row], spool: Spool) -> None:
        spool.fill(self._unsettled(rows))
        self._refuse_or_announce(spool)
        self._recorder.progress.expect(len(spool))
        for groups in batches(spool.groups()):
            self._dispatcher.raise_if_killed()
            self._handle_groups(groups)
            self._dispatcher.pump()
            self._recorder.flush(only_if_due=True)
            self._note_reported(spool)
        self._dispatcher.pump(drain=True)
        self._recorder.flush()
        self._note_reported(spool)
        if self.ledger is not None and not self.options.preview:
            self.ledger.mark(spool.reported(), reported_at=now(), reported_run_id=self.run_key.run_id)

    def _unsettled(self, rows: Iterable[Row]) -> Iterator[ClassifiedRow]:
        """Return the rows that need handling. They are compared with the ledger once more before they are sent."""
        for batch in classify_rows(rows, self.ledger, self.rules, details=False):
            self._dispatcher.raise_if_killed()
            for one in batch:
                self._counts[one.action] += 1
                if one.action is not Action.SETTLED or self._report_settled or self._renews(one):
                    yield one
                else:
                    self.summary.skipped += 1

    def _renews(self, one: ClassifiedRow) -> bool:
        return one.record is not None and self.rules.needs_renewal(one.row, one.record)

    def _refuse_or_announce(self, spool: Spool) -> None:
        """
        Refuse the run if too many refunds are pending; otherwise log how many are.

        :raises RunRefusedError: if more is pending than ``max_pending`` allows
        """
        pending = sum(count for action, count in self._counts.items() if action.sends)
        most = self.options.max_pending
        if most is not None and pending > most:
            told = f"{pending} refunds are pending, more than max_pending={most}: {self._totals(spool).text()}"
            if not self.options.preview:
                raise RunRefusedError(
                    f"{told}. Nothing was sent. If all of them are intended, as in a first run, set max_pending=None; "
                    "preview=True reports without sending"
                )
            self.summary.warnings.append(told)
        rate = self.hook.account.extra.requests_per_minute
        self.log.info("%s", log_text.announcement(pending, self.options.limit, rate, preview=self.options.preview))

    def _totals(self, spool: Spool) -> PendingTotals:
        return PendingTotals.of(
            (row for group in spool.groups() if group.rank for row in group.rows[:1]), self.validation
        )

    # --- one event_id after the other ---

    def _handle_groups(self, groups: list[Group]) -> None:
        rows = [row for group in groups for row in group.rows]
        found = {one.row.position: one for batch in classify_rows(rows, self.ledger, self.rules) for one in batch}
        for group in groups:
            self._dispatcher.enter_rank(group.rank)
            first, repeated = fan_out.distinct(group.rows, self.rules.key)
            self.summary.repeated += len(repeated)
            self._handle([found[row.position] for row in first], group.rank)

    def _handle(self, rows: list[ClassifiedRow], rank: int) -> None:
        """Handle the rows of one event_id, each of another content."""
        to_send: list[tuple[ClassifiedRow, Refund]] = []
        settled = False
        for one in rows:
            decision = decide(one, self.validation)
            if decision.refund is not None:
                to_send.append((one, decision.refund))
            elif decision.result is not None:
                if decision.known and decision.record is not None and self._renews(one):
                    self._recorder.renew(decision.record, one.row)
                self._recorder.add_problem(one.row, decision.result, decision.record, decision.known)
            elif decision.record is not None:
                if one.action is Action.COMPARE or self._renews(one):
                    self._recorder.renew(decision.record, one.row)
                if not self._report_settled:
                    self.summary.skipped += 1
                elif settled:
                    self.summary.repeated += 1
                else:
                    self._recorder.add_settled(one.row, decision.record)
                settled = True
        if to_send:
            self._dispatcher.dispatch(fan_out.job_of(to_send, rank))

    # --- the end ---

    def _save_what_is_known(self) -> None:
        """Write what is known after an error or a kill; a second error must not hide the first one."""
        try:
            self._dispatcher.end()
        finally:
            try:
                self._recorder.flush()
            except LedgerError as error:
                self.log.error("%s", error)

    def _note_reported(self, spool: Spool) -> None:
        spool.note_reported(self._recorder.new_problems)
        self._recorder.new_problems.clear()

    def _finish(self, error: BaseException | None) -> None:
        self.summary.warnings += self._dispatcher.brakes.warnings()
        self.summary.ended_at = now()
        would = self._recorder.would_be_sent
        if would is not None and would.looks_like_minor_units:
            self.summary.warnings.append(
                "amount_unit is 'major', and every amount is whole and large: is the column in cents? "
                f"As it is, these would be sent: {would.text()}"
            )
        try:
            self._recorder.finish(error or error_of(self.summary, self.options))
        except LedgerError as failure:
            if error is None:
                raise
            self.log.error("%s", failure)
