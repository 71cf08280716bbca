"""One run: reads rows, sends what is pending through the hook, and records the results in the ledger."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.calls import SALE, Outcome, Row, Summary, Totals, batches, numbered
from airflow_provider_firstpromoter.database import CallQuery, stop_if_cancelled
from airflow_provider_firstpromoter.exceptions import EventsFailedError, EventsRejectedError, LedgerError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, RunHistory, RunKey, now
from airflow_provider_firstpromoter.pending import PendingRules, QueryReading
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.dispatcher import Dispatcher
from airflow_provider_firstpromoter.sync.log_text import Progress
from airflow_provider_firstpromoter.sync.plan import GroupHandler
from airflow_provider_firstpromoter.sync.recorder import OnResult, Recorder
from airflow_provider_firstpromoter.sync.selection import (
    PendingTotals,
    Reading,
    Selection,
    SyncOptions,
    validation_of,
    warnings_before_sending,
    warnings_of_age,
)
from airflow_provider_firstpromoter.sync.spool import Spool

#: The most results in the XCom ``rewards``; the others are in the ledger.
MOST_REWARDS = 1000


class Sync:
    """
    One run: takes rows, sends what is pending, and records the results.

    All SQL and the reading of the connection happen on the calling thread; the sender's threads do HTTP only.

    :param hook: the connection to FirstPromoter
    :param ledger: has the settled events; None relies on FirstPromoter's 409 alone
    :param options: the parameters of the run
    :param run: the task run that the ledger's rows name
    :param try_number: Airflow's number of the try
    :param kind: where the rows come from: a ``query``, which has all of its problems in every run, or a ``list``
    """

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: Ledger | None,
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
        #: Set when the task was killed. The hook's own flag is also set where a run stops early: it ends requests only.
        self.killed = ledger.cancelled if ledger is not None else threading.Event()
        history = None
        if ledger is not None and not self.options.preview:
            history = RunHistory(ledger, self.run_key, try_number, kind)
        self.summary = new_summary(hook.account, self.options)
        self._recorder = Recorder(
            self.summary, self.run_key, history, Progress(hook, self.summary, self.log), self.log, self._command
        )
        self._dispatcher = Dispatcher(hook, self.options, self._recorder, self.killed, self.log)
        self._report_settled = False
        self._total: Summary | None = None
        self._query: QueryReading | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections to the ledger's database."""
        if self.ledger is not None:
            self.ledger.close()

    @cached_property
    def _reading(self) -> Reading:
        """How rows are read; the ledger has its salt only once the run has begun."""
        key = self.ledger.salt.encode() if self.ledger is not None else b""
        rules = PendingRules(key, self.options.recheck_unreferred, self.options.retry_rejected)
        return Reading(self.ledger, rules, validation_of(self.hook.account, self.options))

    def cancel(self) -> None:
        """End every wait, and the run: called by ``on_kill``, so it only sets flags."""
        self.killed.set()
        self.hook.cancelled.set()

    def run_query(self, query: CallQuery) -> None:
        """Send every pending event of a query; the run needs a ledger."""
        if self.ledger is None:
            raise ValueError("a query needs a ledger")
        options = self.options
        self._query = QueryReading(
            replace(query, source=replace(query.source, cancelled=self.killed)),
            self.ledger,
            self.run_key,
            options.recheck_unreferred,
            options.retry_rejected,
            options.identify_by,
            content=(
                options.amount_unit,
                self.hook.account.extra.currency,
                tuple(options.identify_by),
                options.skip_email_notification,
                options.recheck_unreferred,
                options.retry_rejected,
            ),
            incremental=options.incremental,
        )
        with self._query.query, closing(self._query.rows(self._note_what_is_read)) as rows:
            self.run(numbered(rows, options.call))

    def _note_what_is_read(self, read: str) -> None:
        self.summary.read = read
        self.log.info("read: %s", read)

    def run(self, rows: Iterable[Row], on_result: OnResult | None = None, *, report_settled: bool = False) -> Summary:
        """
        Send every pending event among the rows, once.

        :param rows: read once; kept on disk meanwhile
        :param on_result: called with a row and its result, in no particular order; not for a repeated row
        :param report_settled: whether the stored results of settled events belong to the summary, as those of a list
            do; otherwise they are only counted as skipped
        :returns: the counts and sums. Events that failed, were rejected or changed do not raise here:
            :meth:`raise_for_summary` does
        """
        self._report_settled = report_settled
        error: BaseException | None = None
        try:
            self._recorder.start(on_result)
            with Spool(self.options.call, self._raise_if_killed) as spool:
                self._send_all(rows, spool)
        except BaseException as raised:
            error = raised
            self._save_what_is_known()
            raise
        finally:
            self._total = None
            self._dispatcher.close()
            self._finish(error or self._dispatcher.fatal)
        return self.summary

    def total(self) -> Summary:
        """
        Return the summary of the whole task run, with what earlier tries settled.

        Each try of a list has all of its events; each try of a query has only those that are not settled yet.
        """
        if self._report_settled:
            return self.summary
        if self._total is None:
            self._total = self._recorder.total()
        return self._total

    def history(self) -> list[dict[str, Any]]:
        """
        Return what the run history says of this task run, all tries together, and of runs that no XCom tells of.

        :raises LedgerError: if the ledger's database refuses
        """
        return self._recorder.history()

    def since_last_event(self, *, only_recorded: bool = False) -> Totals:
        """
        Return what the task has done since its last asset event, runs that failed included.

        :param only_recorded: whether there is an event only if something was recorded
        """
        return self._recorder.since_last_event(only_recorded=only_recorded)

    def rewards(self) -> list[dict[str, Any]]:
        """
        Return the results of the whole task run that have a reward, earlier tries included, from the ledger.

        :returns: plain JSON; at most :data:`MOST_REWARDS`, with a warning in the summary about the others
        """
        if self.ledger is None or not self.total().rewards:
            return []
        rewards: list[dict[str, Any]] = []
        beyond = 0
        for record in self.ledger.records_of_run(self.run_key):
            result = record.result()
            if result.rewards and len(rewards) < MOST_REWARDS:
                rewards.append(result.to_json())
            else:
                beyond += bool(result.rewards)
        if beyond:
            self.summary.warnings.append(
                f"{beyond} more rewards than the {MOST_REWARDS} in XCom: read them in the ledger"
            )
        return rewards

    def raise_for_summary(self) -> None:
        """Fail the task if the run calls for it; call this after the summary was pushed to XCom."""
        if error := self._dispatcher.fatal or error_of(self.summary, self.options, self._accept):
            raise error

    def _command(self, name: str, *event_ids: str) -> str:
        """Return a command on this run's ledger, ready to paste."""
        account, ledger, call = self.hook.account, self.ledger, self.options.call
        if ledger is None:
            return account.command_line(name, *event_ids, call=call)
        where = {"ledger_conn_id": ledger.name, "ledger_table": ledger.table.fullname}
        return account.command_line(name, *event_ids, **where, call=call)

    def _accept(self, event_id: str) -> str:
        return self._command("accept", event_id)

    def _raise_if_killed(self) -> None:
        stop_if_cancelled(self.killed)

    def _send_all(self, rows: Iterable[Row], spool: Spool) -> None:
        selection = Selection(self._reading, with_settled=self._report_settled)
        spool.fill(selection.select(rows, self._raise_if_killed))
        self.summary.skipped += selection.skipped
        self._announce(spool)
        handler = GroupHandler(self._reading, self._dispatcher, self._recorder, report_settled=self._report_settled)
        for groups in batches(spool.groups()):
            self._raise_if_killed()
            handler.handle(groups)
            self._dispatcher.pump()
            self._recorder.keep_up()
            spool.note_reported(self._recorder.take_new_problems())
        self._dispatcher.pump(drain=True)
        self._recorder.flush()
        spool.note_reported(self._recorder.take_new_problems())
        if self.options.preview:
            self._preview(spool)
        # An error of access does not name the other problems, so that they are still to be reported.
        elif self.ledger is not None and self._dispatcher.fatal is None:
            self.ledger.mark(spool.reported(), reported_at=now(), reported_run_id=self.run_key.run_id)

    def _preview(self, spool: Spool) -> None:
        """Add up what would be sent."""
        totals = PendingTotals(spool, self._reading, self.options.call, self.options.limit)
        totals.look_up_sales(self.hook, self.ledger and self.ledger.beside(self.hook.account.ledger_table(SALE), SALE))
        if self.options.recheck_unreferred is not None:
            totals.count_rechecks(spool, self.ledger, self.options.recheck_unreferred)
        self.summary.would_be_sent = totals.to_json()
        self.summary.warnings += totals.warnings()

    def _announce(self, spool: Spool) -> None:
        """Log how many events are pending, and refuse too many or too old ones before anything is sent."""
        options = self.options
        warnings = warnings_before_sending(spool, self._reading, options) + warnings_of_age(spool, options, now())
        self.summary.warnings += warnings
        rate = self.hook.account.extra.requests_per_minute
        self.log.info(
            "%s", log_text.announcement(spool.pending, options.limit, rate, options.call, preview=options.preview)
        )
        for warning in warnings:
            self.log.warning("%s", warning)
        self._recorder.progress.expected = min(spool.pending, options.limit or spool.pending)

    def _save_what_is_known(self) -> None:
        """Write what is known after an error or a kill; a second error must not hide the first one."""
        try:
            self._dispatcher.end()
        finally:
            try:
                self._recorder.flush()
            except LedgerError as error:
                self.log.error("%s", error)

    def _finish(self, error: BaseException | None) -> None:
        self.summary.warnings += self._dispatcher.brakes.warnings()
        self.summary.ended_at = now()
        is_complete = error is None and not (
            self.summary.stopped_because or self.summary.left_pending or self._recorder.is_unstored
        )
        try:
            self._recorder.finish(
                error or error_of(self.summary, self.options, self._accept),
                self._query.key() if self._query is not None and is_complete else None,
            )
        except LedgerError as failure:
            if error is None:
                raise
            self.log.error("%s", failure)


def new_summary(account: Account, options: SyncOptions) -> Summary:
    """Return the summary of a run that begins."""
    return Summary(
        kind=options.call.plural,
        preview=options.preview,
        account=account.key,
        host=account.host,
        currency=account.extra.currency,
        started_at=now(),
    )


def error_of(summary: Summary, options: SyncOptions, accept: Callable[[str], str]) -> AirflowException | None:
    """
    Return the error that a run calls for.

    - :class:`EventsFailedError` if events failed: Airflow's retry sends them again
    - :class:`EventsRejectedError` if more events are rejected or changed than ``max_rejected`` allows; with
      ``fail_on="new"`` only those count that no earlier run has reported
    - either of them if the run stopped early

    :param accept: returns the command that accepts the changed amount of an event_id
    :returns: None if the task succeeds
    """
    if summary.preview:
        return None
    if summary.outcomes[Outcome.FAILED]:
        return EventsFailedError(log_text.failure(summary, Outcome.FAILED))
    counted = summary.new_problems if options.fail_on == "new" else summary.need_attention
    if options.max_rejected is not None and counted > options.max_rejected:
        return EventsRejectedError(
            log_text.failure(
                summary, Outcome.REJECTED, Outcome.CHANGED, new_only=options.fail_on == "new", accept=accept
            )
            + f" (max_rejected={options.max_rejected})"
        )
    if summary.stopped_because:
        return EventsRejectedError(f"The run stopped early: {summary.stopped_because}")
    return None
