"""The operators that revert a mistaken batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_firstpromoter.operators.reconcile import LedgerOperator
from airflow_provider_firstpromoter.parameters import check_times

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class RevertOperator(LedgerOperator):
    """
    Deny the negative commissions that a mistaken batch of refunds made.

    Use :class:`RevertRefundsOperator` or :class:`RevertSalesOperator`: what is said here of a refund and its negative
    commissions holds for a sale and its positive ones.

    Select the refunds in one way: by ``event_ids``, by ``dag_id`` and ``run_id`` of the run that sent them first, or by
    the time at which they were first sent. By default the task only reports what it would deny.

    Each commission is read from FirstPromoter before it is denied. Only negative commissions are denied that have the
    event_id of a refund which the ledger has as sent and recorded. Refunds with a paid commission are left alone. All
    tiers and splits of a refund are denied together. Commissions that differ from the ledger are denied as well: the
    report names them. Then the commissions are read again, and the refunds whose commissions are denied become
    ``reverted`` in the ledger. A reverted refund is settled: its event_id stays used, and no sync sends it again.

    Refunds that were sent and of which the ledger does not know whether FirstPromoter recorded them, because a response
    was lost, are left alone, and counted and named as ``unresolved``: run :class:`ReconcileRefundsOperator` first, and
    then revert again.

    What became recorded since the selected run began, and of which a kill hid the sender, is listed as
    ``sender_unknown`` and left alone: revert it by ``event_ids``. So are refunds with a commission that FirstPromoter
    does not plainly show as unpaid (``unclear``).

    A task that fails or is killed can be run again: it reverts the rest. FirstPromoter documents the call, but not its
    effect on balances and notifications: revert one refund first, and look at the promoter in FirstPromoter.

    XCom: ``return_value`` has the counts, the sums by unit, and up to a thousand refunds that are to be reverted, with
    their commissions; ``summary`` has the first twenty. Both are pushed also if the task then fails.

    :param event_ids: the refunds to revert: a list, or the XComArg that holds it
    :param dag_id: with ``run_id``: the DAG whose run made the mistake
    :param run_id: with ``dag_id``: that run
    :param sent_from: revert the refunds that were first sent at this time or later: a time, a date or its ISO 8601
        text, in UTC if it has no zone
    :param sent_to: with ``sent_from``: and before this time
    :param preview: report, and deny nothing
    :param max_reverted: the number of refunds above which nothing is denied; required without ``preview``
    :param firstpromoter_conn_id: the connection of type ``firstpromoter``
    :param ledger_conn_id: the SQL connection of the ledger; by default the one in the FirstPromoter connection's extra
    :param ledger_table: the ledger's table, ``table`` or ``schema.table``; by default likewise
    """

    template_fields: Sequence[str] = (
        "event_ids",
        "of_dag_id",
        "of_run_id",
        "sent_from",
        "sent_to",
        "preview",
        "max_reverted",
        *LedgerOperator.template_fields,
    )
    kind = "revert"
    ui_color = "#f7e1d9"

    def __init__(
        self,
        *,
        event_ids: Any = None,
        dag_id: str | None = None,
        run_id: str | None = None,
        sent_from: datetime | date | str | None = None,
        sent_to: datetime | date | str | None = None,
        preview: bool | str = True,
        max_reverted: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if all(one is None for one in (event_ids, dag_id, run_id, sent_from, sent_to)):
            raise ValueError(
                "Select refunds by event_ids, by dag_id and run_id, or by sent_from: never all are reverted"
            )
        if preview is False and max_reverted is None:
            raise ValueError("preview=False needs max_reverted: the number that the preview reported")
        check_times(sent_from=sent_from, sent_to=sent_to)
        self.event_ids = event_ids
        # Not dag_id and run_id: an operator has a dag_id of its own.
        self.of_dag_id = dag_id
        self.of_run_id = run_id
        self.sent_from = sent_from
        self.sent_to = sent_to
        self.preview = preview
        self.max_reverted = max_reverted

    def render_template(self, content: Any, context: Context, *args: Any, **kwargs: Any) -> Any:
        """Render the fields as usual, except a list of event_ids: its texts are data."""
        if content is self.event_ids and isinstance(content, list | tuple):
            return content
        return super().render_template(content, context, *args, **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Revert, or report what would be reverted.

        :returns: the report as plain JSON
        :raises ValueError: if the parameters select nothing, or ``preview=False`` comes without ``max_reverted``
        :raises RunRefusedError: if more refunds would be reverted than ``max_reverted`` allows; nothing is denied
        :raises EventsFailedError: if some commissions could not be denied; a retry denies them
        :raises ConnectionSettingsError: if neither the operator nor the connection names a ledger
        :raises ReadError: if the commissions cannot be read
        :raises AccessRefusedError: if FirstPromoter answers 401 or 403
        :raises LedgerError: if the ledger's database refuses
        :raises SyncInterruptedError: if the task is killed
        """
        with self._errors_in_summary(context):
            return self._execute(context)

    def _execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_firstpromoter.calls import CALLS
        from airflow_provider_firstpromoter.exceptions import RunRefusedError
        from airflow_provider_firstpromoter.ledger import Ledger
        from airflow_provider_firstpromoter.reconcile import MOST_TO_REVERT, Revert, RevertSelection

        preview, max_reverted = _flag(self.preview), _number(self.max_reverted)
        if not preview and max_reverted is None:
            raise ValueError("preview=False needs max_reverted: the number that the preview reported")
        selection = RevertSelection.of(self.event_ids, self.of_dag_id, self.of_run_id, self.sent_from, self.sent_to)
        hook, task = self._start(context)
        call = CALLS[self.call]
        ledger = Ledger.required(
            hook.account, self.ledger_conn_id, self.ledger_table, call=call, cancelled=hook.cancelled
        )
        with ledger:
            revert = Revert(hook, ledger, selection, preview=preview, max_reverted=max_reverted or 0, **task)
            try:
                report = revert.run()
            except RunRefusedError as refused:
                self._push(context, revert.report, revert.report.to_json(MOST_TO_REVERT), refused)
                raise
        value = self._push(context, report, report.to_json(MOST_TO_REVERT))
        report.raise_if_failed()
        return value


class RevertRefundsOperator(RevertOperator):
    """
    Deny the negative commissions that a mistaken batch of refunds made.

    .. code-block:: python

        RevertRefundsOperator(
            task_id="revert",
            dag_id="refund_sync",
            run_id="scheduled__2026-01-31T00:00:00+00:00",
            preview=False,
            max_reverted=2000,
        )

    The parameters are those of :class:`RevertOperator`.
    """

    call = "refund"


class RevertSalesOperator(RevertOperator):
    """
    Deny the positive commissions that a mistaken batch of sales made.

    The refunds of these sales keep their negative commissions: revert them as well.
    The parameters are those of :class:`RevertOperator`.
    """

    call = "sale"


def _flag(value: Any) -> bool:
    """Return a flag that can be the text of a rendered template."""
    text = str(value).strip().lower()
    if text not in ("true", "false"):
        raise ValueError(f"preview must be True or False, not {value!r}")
    return text == "true"


def _number(value: Any) -> int | None:
    """Return a number that can be the text of a rendered template; an empty text is None."""
    if value is None or (isinstance(value, str) and value.strip() in ("", "None")):
        return None
    if isinstance(value, bool) or not str(value).strip().isdecimal():
        raise ValueError(f"max_reverted must be a whole number, not {value!r}")
    return int(value)
