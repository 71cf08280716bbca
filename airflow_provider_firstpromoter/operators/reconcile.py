"""The operator that compares the ledger with FirstPromoter's commissions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_firstpromoter.operators.links import REFUND_RUNS_LINKS

if TYPE_CHECKING:
    import logging
    from datetime import date, timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_firstpromoter.account import Account
    from airflow_provider_firstpromoter.hooks import FirstPromoterHook


class ReconcileRefundsOperator(BaseOperator):
    """
    Compare the ledger with FirstPromoter's commissions, and bring the ledger up to date.

    .. code-block:: python

        ReconcileRefundsOperator(
            task_id="reconcile",
            created_from=timedelta(days=35),
        )

    There are six kinds of mismatch:

    - ``missing_in_firstpromoter``: the ledger has the refund as recorded, and FirstPromoter has no commission for it
    - ``missing_in_ledger``: FirstPromoter has a negative commission that the ledger does not know
    - ``reversed_twice``: FirstPromoter has a negative commission of the same lead and amount as a refund that was sent,
      under an event_id that was not sent, as from a billing integration that tracks refunds too
    - ``reverted_not_denied``: the ledger has the refund as reverted, and its commission is not denied
    - ``amount_differs``: FirstPromoter recorded another amount than was sent
    - ``reward_changed``: the reward was denied or paid, or its amount changed, since the last reconciliation; it does
      not count against ``max_mismatches``, and the ledger has the new reward now

    All mismatches are written to a table beside the ledger, whose name is the ledger's followed by ``_mismatches``.
    One that a later run over the same days no longer finds gets a ``resolved_at``. One that an operator accepts, by
    ``python -m airflow_provider_firstpromoter accept CONN_ID EVENT_ID``, no longer counts until it changes.

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
    :param firstpromoter_conn_id: the connection of type ``firstpromoter``
    :param ledger_conn_id: the SQL connection of the ledger; by default the one in the FirstPromoter connection's extra
    :param ledger_table: the ledger's table, ``table`` or ``schema.table``; by default likewise
    """

    template_fields: Sequence[str] = (
        "created_from",
        "created_to",
        "firstpromoter_conn_id",
        "ledger_conn_id",
        "ledger_table",
    )
    ui_color = "#d9eaf7"
    operator_extra_links = REFUND_RUNS_LINKS

    def __init__(
        self,
        *,
        created_from: date | timedelta | str | None = None,
        created_to: date | str | None = None,
        adopt: bool = False,
        max_mismatches: int | None = 0,
        firstpromoter_conn_id: str = "firstpromoter_default",
        ledger_conn_id: str | None = None,
        ledger_table: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.created_from = created_from
        self.created_to = created_to
        self.adopt = adopt
        self.max_mismatches = max_mismatches
        self.firstpromoter_conn_id = firstpromoter_conn_id
        self.ledger_conn_id = ledger_conn_id
        self.ledger_table = ledger_table
        self._hook: FirstPromoterHook | None = None

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
        from airflow_provider_firstpromoter.hooks import FirstPromoterHook
        from airflow_provider_firstpromoter.ledger import RefundLedger, RunKey
        from airflow_provider_firstpromoter.reconcile import Period, Reconciliation
        from airflow_provider_firstpromoter.sync import report_mismatches

        started_at = datetime.now(UTC)
        period = Period.of(self.created_from, self.created_to)
        self._hook = hook = FirstPromoterHook(self.firstpromoter_conn_id)
        ti = context["ti"]
        run = RunKey(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        log = cast("logging.Logger", self.log)
        with RefundLedger.required(hook.account, self.ledger_conn_id, self.ledger_table) as ledger:
            report = Reconciliation(
                hook, ledger, period, adopt=self.adopt, run=run, try_number=ti.try_number, log=log
            ).run()
        report_mismatches(self.firstpromoter_conn_id, report.mismatches)
        self.log.info("%s", report.text())
        value = report.to_json()
        if self.do_xcom_push:
            ti.xcom_push(key="return_value", value=value)
            ti.xcom_push(key="summary", value={**_run_details(hook.account, started_at), **value})
        report.raise_if_more_than(self.max_mismatches)
        return value

    def on_kill(self) -> None:
        """End every wait, including the wait for a response; what was compared is written."""
        if self._hook is not None:
            self._hook.cancelled.set()


def _run_details(account: Account, started_at: datetime) -> dict[str, str]:
    """Return what the summary of every task has, for the page "Refund runs"."""
    return {
        "kind": "reconcile",
        "account": account.key,
        "host": account.host,
        "started_at": started_at.isoformat(timespec="seconds"),
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
