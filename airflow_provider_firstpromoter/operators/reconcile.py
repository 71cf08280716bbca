"""The operators that compare a ledger with FirstPromoter's commissions, and what they share with reverts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError
from airflow_provider_firstpromoter.operators.base import FirstPromoterOperator, SqlFile
from airflow_provider_firstpromoter.parameters import check_times, time_before

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_firstpromoter.hooks import FirstPromoterHook
    from airflow_provider_firstpromoter.reconcile import ReconcileReport, RevertReport


class LedgerOperator(FirstPromoterOperator):
    """Base class of the operators that compare a ledger with FirstPromoter's commissions."""

    #: What the run is called in its summary.
    kind: ClassVar[str] = "reconcile"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._hook: FirstPromoterHook | None = None
        self._started_at = datetime.now(UTC)

    def on_kill(self) -> None:
        """End every wait, including the wait for a response; what was done is written, and a retry does the rest."""
        if self._hook is not None:
            self._hook.cancelled.set()

    def _start(self, context: Context) -> tuple[FirstPromoterHook, dict[str, Any]]:
        """Return the hook, and what every run over a ledger is told about its task."""
        from airflow_provider_firstpromoter.hooks import FirstPromoterHook

        self._started_at = datetime.now(UTC)
        self._hook = FirstPromoterHook(self.firstpromoter_conn_id)
        return self._hook, self._task(context)

    def _known(self) -> dict[str, Any]:
        known: dict[str, Any] = {"kind": self.kind, "call": f"{self.call}s"}
        if self._hook is not None:
            with suppress(ConnectionSettingsError):
                account = self._hook.account
                known |= {"account": account.key, "host": account.host, "currency": account.extra.currency}
        known["started_at"] = self._started_at.isoformat(timespec="seconds")
        return {**known, "ended_at": datetime.now(UTC).isoformat(timespec="seconds")}

    def _push(
        self,
        context: Context,
        report: ReconcileReport | RevertReport,
        value: dict[str, Any],
        error: Exception | None = None,
    ) -> dict[str, Any]:
        """Log a report, and push it to XCom: as ``return_value``, and as the ``summary`` that Airflow's page shows."""
        self.log.info("%s", report.text())
        if self.do_xcom_push:
            context["ti"].xcom_push(key="return_value", value=value)
            more = {"history": report.history, "error": f"{type(error).__name__}: {error}" if error else None}
            self._push_summary(context, {**self._known(), **report.to_json(), **more})
        return value


class ReconcileOperator(SqlFile, LedgerOperator):
    """
    Compare the ledger with FirstPromoter's commissions, and bring the ledger up to date.

    Use :class:`ReconcileRefundsOperator` or :class:`ReconcileSalesOperator`: what is said here of a refund and its
    negative commissions holds for a sale and its positive ones.

    Kinds of mismatch:

    - ``missing_in_firstpromoter``: the ledger has the refund as recorded, and FirstPromoter has no commission for it
    - ``missing_in_ledger``: FirstPromoter has a negative commission that the ledger does not know
    - ``recorded_twice``: FirstPromoter has a negative commission of the same lead and amount as a refund that was sent,
      under an event_id that was not sent, as from a billing integration that tracks refunds too
    - ``reverted_not_denied``: the ledger has the refund as reverted, and its commission is not denied
    - ``amount_differs``: FirstPromoter recorded another amount than was sent
    - ``no_longer_selected``: the refund was first sent in these days and is recorded, and ``sql`` does not select it: a
      refund that a bank returned, for example. XCom ``no_longer_selected`` has up to a thousand of their event_ids, for
      the ``event_ids`` of a revert
    - ``still_pending``: a commission of the refund has been pending for longer than ``pending_after``, and one of its
      sale is approved or paid
    - ``sale_not_found``: the refund names a ``sale_event_id`` of which FirstPromoter has no commission
    - ``reward_changed``: the reward was denied or paid, or its amount changed, since the last reconciliation; it does
      not count against ``max_mismatches``, and the ledger has the new reward now

    All mismatches are written to a table beside the ledger, whose name is the ledger's followed by ``_mismatches``.
    One that a later run over the same days no longer finds gets a ``resolved_at``. One that an operator accepts, by
    ``airflow firstpromoter accept CONN_ID EVENT_ID`` or, without an event_id, ``--commission ID``,
    no longer counts until it changes.

    The ledger takes over the rewards of recorded refunds: those that it lacks, and the status (``pending``,
    ``approved``, ``denied``, ``paid``) of the others. A refund that it has as sent, and as ``not_referred`` or
    ``failed``, becomes ``already_recorded`` if FirstPromoter has a negative commission under its event_id.

    A request reads a hundred commissions. A refund that has no commission in the period is looked up by its event_id,
    with one or two requests. Use the Airflow pool of the tasks that send refunds, so that they share the rate limit and
    a refund that is just being recorded is no mismatch.

    XCom: ``return_value`` has the counts, the first twenty mismatches of each kind and the name of the table. It is
    pushed also if mismatches then fail the task.

    :param created_from: the first day, in UTC: a date, its text, or a timedelta back from now; None has no beginning
    :param created_to: the last day, inclusive; None has no end
    :param adopt: write refunds that only FirstPromoter has into the ledger as ``already_recorded``, so that they are
        not sent: for an account whose refunds were tracked by other means before, or a ledger that was lost. A refund
        that looks like a duplicate of one that was sent, at whatever time, is reported and not adopted
    :param max_mismatches: the number of mismatches above which the task fails, once everything is written; None allows
        any number
    :param sql: the query of the warehouse, as :class:`SqlToFirstPromoterOperator` takes it, over the **whole period**:
        what was sent in it and is not selected is a mismatch. A query that selects none of it is an error
    :param sql_conn_id: with ``sql``: the SQL connection to run it on
    :param parameters: with ``sql``: bound by the database driver
    :param pending_after: how long a commission may be pending while one of its sale is not; None allows any time
    :param max_sale_lookups: for how many sales at most FirstPromoter is asked, with one or two requests each: those of
        open mismatches first, then a random choice of the others. One that the ledger of sales has as recorded needs
        no request. 0 finds no ``still_pending`` and ``sale_not_found``
    :param firstpromoter_conn_id: the connection of type ``firstpromoter``
    :param ledger_conn_id: the SQL connection of the ledger; by default the one in the FirstPromoter connection's extra
    :param ledger_table: the ledger's table, ``table`` or ``schema.table``; by default likewise
    """

    template_fields: Sequence[str] = (
        "created_from",
        "created_to",
        "sql",
        "sql_conn_id",
        "parameters",
        *LedgerOperator.template_fields,
    )
    template_fields_renderers = {"sql": "sql", "parameters": "json"}

    def __init__(
        self,
        *,
        created_from: date | timedelta | str | None = None,
        created_to: date | str | None = None,
        adopt: bool = False,
        max_mismatches: int | None = 0,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        parameters: Any = None,
        pending_after: timedelta | None = timedelta(days=45),
        max_sale_lookups: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_times(created_from=created_from, created_to=created_to)
        self.created_from = created_from
        self.created_to = created_to
        self.adopt = adopt
        self.max_mismatches = max_mismatches
        if (sql is None) != (sql_conn_id is None):
            raise ValueError("sql and sql_conn_id belong together")
        if pending_after is not None:
            time_before("pending_after", pending_after)
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        self.parameters = parameters
        self.pending_after = pending_after
        self.max_sale_lookups = max_sale_lookups

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Compare ledger and commissions.

        :returns: the report as plain JSON
        :raises ReconciliationMismatchError: if there are more mismatches than ``max_mismatches`` allows
        :raises ConnectionSettingsError: if neither the operator nor the connection names a ledger
        :raises ReadError: if the commissions cannot be read; a retry begins anew
        :raises AccessRefusedError: if FirstPromoter responds with 401 or 403
        :raises LedgerError: if the ledger's database refuses
        :raises SyncInterruptedError: if the task is killed
        :raises ValueError: if a day is not a date
        """
        with self._errors_in_summary(context):
            return self._execute(context)

    def _execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_firstpromoter.calls import CALLS
        from airflow_provider_firstpromoter.database import CallQuery
        from airflow_provider_firstpromoter.ledger import Ledger
        from airflow_provider_firstpromoter.reconcile import Period, Reconciliation
        from airflow_provider_firstpromoter.sync import report_mismatches

        period = Period.of(self.created_from, self.created_to)
        call = CALLS[self.call]
        hook, task = self._start(context)
        query = (
            CallQuery.from_connection(self.sql_conn_id, self.sql, self.parameters, call=call)
            if self.sql and self.sql_conn_id
            else None
        )
        ledger = Ledger.required(
            hook.account, self.ledger_conn_id, self.ledger_table, call=call, cancelled=hook.cancelled
        )
        with ledger:
            report = Reconciliation(
                hook,
                ledger,
                period,
                adopt=self.adopt,
                query=query,
                pending_after=self.pending_after,
                max_sale_lookups=self.max_sale_lookups,
                **task,
            ).run()
        report_mismatches(self.firstpromoter_conn_id, report.mismatches)
        value = self._push(context, report, report.to_json())
        if self.do_xcom_push:
            context["ti"].xcom_push(key="no_longer_selected", value=report.unselected)
        report.raise_if_more_than(self.max_mismatches)
        return value


class ReconcileRefundsOperator(ReconcileOperator):
    """
    Compare the ledger of refunds with FirstPromoter's negative commissions, and bring the ledger up to date.

    .. code-block:: python

        ReconcileRefundsOperator(
            task_id="reconcile",
            created_from=timedelta(days=35),
        )

    The parameters are those of :class:`ReconcileOperator`.
    """

    call = "refund"


class ReconcileSalesOperator(ReconcileOperator):
    """
    Compare the ledger of sales with FirstPromoter's positive commissions, and bring the ledger up to date.

    A sale names no other event: ``still_pending`` and ``sale_not_found`` are not looked for. Two sales of one customer
    and amount are ``recorded_twice`` only within three days of each other, because a subscription is paid every month.
    The parameters are those of :class:`ReconcileOperator`.
    """

    call = "sale"
