"""Holds the ledger against FirstPromoter's books."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_firstpromoter.operators.links import REFUND_RUNS_LINKS

if TYPE_CHECKING:
    import logging
    from datetime import date, timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook


class ReconcileRefundsOperator(BaseOperator):
    """
    Compare the ledger with FirstPromoter's books, refund by refund, and take over what the books know better.

    .. code-block:: python

        ReconcileRefundsOperator(
            task_id="reconcile",
            created_from=timedelta(days=35),
        )

    What differs is of one of five kinds:

    - ``missing_in_firstpromoter``: the ledger says it is recorded, and no commission was taken back
    - ``missing_in_ledger``: a commission was taken back, and the ledger does not know of it
    - ``reversed_twice``: the same referral and amount as a refund that was sent, under an event_id that was not: a
      billing integration that tracks refunds too
    - ``amount_differs``: another amount there than the one that was sent
    - ``reward_changed``: the reward was denied or paid, or its amount changed, since the ledger last heard of it; it
      knows now, and this does not count against ``max_mismatches``

    All of them are written to a table beside the ledger, named as it is with ``_mismatches`` behind; what a later run
    over the same days finds no more gets a ``resolved_at``. The rewards of recorded refunds are brought up to date in
    the ledger: those that it lacks, and the status (``pending``, ``approved``, ``denied``, ``paid``) of the others.

    It reads a hundred commissions a request. Run it in the pool of the tasks that send: it shares their rate, and a
    refund that is just on its way is no mismatch.

    XCom: ``return_value`` are the counts, the first twenty cases of each kind and the table's name, pushed also when
    the task then fails.

    :param created_from: the first day, UTC: a date, its text, or a timedelta back from now; None is from the
        beginning
    :param created_to: the last day, itself included; None is until now
    :param adopt: write refunds that only FirstPromoter knows into the ledger as ``already_recorded``, so that they
        are not sent; for an account whose refunds were tracked by other means before, or a ledger that was lost
    :param max_mismatches: more than this fail the task, when everything is written; None never does
    :param firstpromoter_conn_id: the connection of type ``firstpromoter``
    :param ledger_conn_id: the SQL connection of the ledger; by default what the FirstPromoter connection's extra says
    :param ledger_table: its table, ``schema.table`` if need be; by default likewise
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
        Compare, and bring the ledger up to date.

        :returns: what was found, as plain JSON
        :raises ReconciliationMismatchError: if there are more mismatches than ``max_mismatches`` allows
        :raises ConnectionSettingsError: if no ledger is named anywhere
        :raises ReadError: if the books cannot be read; a retry begins anew
        :raises LedgerError: if the ledger's database refuses
        :raises ValueError: if a day is none
        """
        from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
        from airflow_provider_firstpromoter.ledger import RefundLedger, RunKey
        from airflow_provider_firstpromoter.reconcile import Period, Reconciliation
        from airflow_provider_firstpromoter.sync import report_mismatches

        period = Period.of(self.created_from, self.created_to)
        self._hook = hook = FirstPromoterHook(self.firstpromoter_conn_id)
        ledger = RefundLedger.required(hook.account, self.ledger_conn_id, self.ledger_table)
        ti = context["ti"]
        run = RunKey(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        log = cast("logging.Logger", self.log)
        report = Reconciliation(hook, ledger, period, adopt=self.adopt, run=run, log=log).run()
        report_mismatches(self.firstpromoter_conn_id, report.mismatches)
        self.log.info("%s", report.text())
        told = report.to_json()
        if self.do_xcom_push:
            ti.xcom_push(key="return_value", value=told)
        report.raise_if_more_than(self.max_mismatches)
        return told

    def on_kill(self) -> None:
        """End every wait; what was compared by then is written."""
        if self._hook is not None:
            self._hook.cancelled.set()
