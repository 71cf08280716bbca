"""What a reconciliation and a revert have in common: the row in the run history, the report, and how both end."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from airflow_provider_firstpromoter.calls import REFUND, Call
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger import Ledger, RunHistory, RunKey
from airflow_provider_firstpromoter.reconcile.reading import CommissionReader

#: The number of warnings that are kept.
MOST_WARNINGS = 20


@dataclass
class RunReport:
    """
    What both reports have.

    :param call: whose events it counts
    :param currency: the account's, if its connection names it
    :param requests: HTTP requests, retries included
    :param seconds: the time that it took
    :param history: what the run history says of it, and of runs that no XCom tells of
    """

    call: Call = field(default=REFUND, kw_only=True)
    currency: str | None = field(default=None, kw_only=True)
    warnings: list[str] = field(default_factory=list, kw_only=True)
    requests: int = field(default=0, kw_only=True)
    seconds: float = field(default=0.0, kw_only=True)
    history: list[dict[str, Any]] = field(default_factory=list, kw_only=True)

    def warn(self, warning: str) -> None:
        """Keep a warning, unless there are many."""
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(warning)

    def history_counts(self) -> dict[str, int]:
        """Return the columns of the run history, besides the requests, that this report fills."""
        raise NotImplementedError


R = TypeVar("R", bound=RunReport)


class LedgerRun(Generic[R]):
    """
    One run over the ledger and FirstPromoter's commissions. All SQL runs on the calling thread.

    :param report: what the run finds and does
    :param run: the task run that the rows name
    :param try_number: Airflow's number of the try, for the run history
    :param writes: False leaves the ledger and the run history as they are
    """

    #: The run's kind in the run history.
    KIND: ClassVar[str]

    def __init__(
        self,
        reader: CommissionReader,
        ledger: Ledger,
        report: R,
        *,
        run: RunKey | None = None,
        try_number: int = 1,
        writes: bool = True,
    ) -> None:
        self.reader = reader
        self.hook = reader.hook
        self.log = reader.log
        self.ledger = ledger
        self.report = report
        report.currency = self.hook.account.extra.currency
        self.run_key = run or RunKey()
        self.writes = writes
        self.history = RunHistory(ledger, self.run_key, try_number, kind=self.KIND)

    def run(self) -> R:
        """
        Do the work of the run.

        :returns: what was found and done; the report itself decides whether it fails the task
        :raises ReadError: if FirstPromoter's commissions cannot be read
        :raises AccessRefusedError: on 401 and 403
        :raises LedgerError: if the ledger's database refuses
        :raises SyncInterruptedError: if the hook is cancelled meanwhile
        """
        started, requests_before = time.monotonic(), self.hook.client.requests
        if self.writes:
            self._prepare()
            self.history.start()
        error: BaseException | None = None
        try:
            self._work()
        except BaseException as caught:
            error = caught
            raise
        finally:
            self.report.seconds = round(time.monotonic() - started, 3)
            self.report.requests = self.hook.client.requests - requests_before
            self._finish_history(error)
        return self.report

    def warn(self, warning: str) -> None:
        """Log a warning and keep it in the report."""
        self.log.warning("%s", warning)
        self.report.warn(warning)

    def command(self, name: str, *options: str) -> str:
        """Return a command on this ledger, ready to paste."""
        where = {"ledger_conn_id": self.ledger.name, "ledger_table": self.ledger.table.fullname}
        return " ".join(
            [self.hook.account.command_line(name, **where, call=self.ledger.call), shlex.join(options)]
        ).strip()

    def _prepare(self) -> None:
        self.ledger.ensure()

    def _work(self) -> None:
        raise NotImplementedError

    def _finish_history(self, error: BaseException | None) -> None:
        if not self.writes:
            return
        counts: dict[str, Any] = {**self.report.history_counts(), "requests": self.report.requests}
        try:
            killed = self.hook.cancelled.is_set()  # the next run adds up what this one has no time for
            if not killed:
                # Whatever changed the ledger's commissions and is in no other row, a killed run's too, is in this one.
                counts["rewards"] = json.dumps(self.history.unaccounted(self.ledger.rewards_in_effect()))
            self.history.finish(counts, error)
            if not killed:
                self.report.history = self.history.report()
        except LedgerError as refused:
            if error is None:
                raise
            self.log.warning("%s", refused)  # only logged: the error that ended the run says more
