"""The operators that send refunds or sales from XCom: one, or a list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_firstpromoter.operators.base import FirstPromoterOperator, TrackingOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_firstpromoter.calls import Call, Result, Row
    from airflow_provider_firstpromoter.sync import Sync


class TrackEventsOperator(TrackingOperator):
    """
    Base class of the operators that send events from XCom; the attribute that holds them has the call's plural.
    """

    def __init__(self, *, recover_rewards: bool | None = True, **kwargs: Any) -> None:
        super().__init__(recover_rewards=recover_rewards, **kwargs)

    @property
    def _given(self) -> Any:
        return getattr(self, f"{self.call}s", None)

    def render_template(self, content: Any, context: Context, *args: Any, **kwargs: Any) -> Any:
        """Render the other fields as usual; in the events only resolve XComArgs, because their text is data."""
        if content is self._given:
            return _resolved(content, context)
        return super().render_template(content, context, *args, **kwargs)

    def execute(self, context: Context) -> Any:
        """
        Send the events.

        :returns: one result or a list of results, as plain JSON
        :raises InputError: if the input is not a list of them
        :raises EventsFailedError: if some could not be sent; a retry sends them again
        :raises EventsRejectedError: if more were rejected or changed than ``max_rejected`` allows
        """
        with self._errors_in_summary(context):
            return self._execute(context)

    def _execute(self, context: Context) -> Any:
        from airflow_provider_firstpromoter.calls import CALLS, numbered

        call = CALLS[self.call]
        rows = list(numbered(_mappings(call, self._given, self.identify_by), call))
        results: dict[int, Result] = {}
        with self._make_sync(context) as sync:
            if sync.ledger is None:
                self.log.warning(
                    "No ledger is named: only FirstPromoter's 409 keeps a %s from being recorded twice. "
                    "Set ledger_conn_id here or in the extra of connection %r.",
                    self.call,
                    self.firstpromoter_conn_id,
                )
            sync.run(rows, on_result=lambda row, result: results.update({row.position: result}), report_settled=True)
            payload = [_payload(result, sync) for result in _in_order(rows, results)]
            return self._push_results(context, sync, payload[0] if isinstance(self._given, Mapping) else payload)


class TrackRefundOperator(TrackEventsOperator):
    """
    Send a refund, or a list of them, to FirstPromoter, and pass the result of each downstream.

    .. code-block:: python

        find = UnrecordedRefundSensor(task_id="find", sql="SELECT event_id, amount, uid FROM refunds", ...)
        track = TrackRefundOperator(task_id="track", refunds=find.output)
        add_up(track.output)

    Refunds that the ledger has as settled are not sent: their stored results are returned, so that running the task
    again passes the same rewards downstream. If another task run reports the commissions, ``reported_by`` names that
    run, and ``commissions`` and ``rewards`` are empty here.

    The refunds are data: an XComArg is resolved, but no text in it is rendered as a template. For many refunds use
    ``SqlToFirstPromoterOperator``, which keeps them out of XCom.

    XCom: ``return_value`` is one result (if a mapping was given) or a list of them in the order given; ``summary`` has
    the counts and sums. Both are pushed also when the task then fails.

    :param refunds: a mapping with the refund call's field names (``event_id``, ``amount``, ``uid`` or ``email``, and
        optionally ``currency``, ``quantity``, ``sale_event_id``, ``skip_email_notification``), a list of them, or
        the XComArg that holds either
    """

    template_fields: Sequence[str] = ("refunds", *FirstPromoterOperator.template_fields)
    template_fields_renderers = {"refunds": "json"}

    def __init__(self, *, refunds: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.refunds = refunds


class TrackSaleOperator(TrackEventsOperator):
    """
    Send a sale, or a list of them, to FirstPromoter, and pass the result of each downstream.

    .. code-block:: python

        find = UnrecordedSaleSensor(task_id="find", sql="SELECT event_id, amount, uid FROM sales", ...)
        track = TrackSaleOperator(task_id="track", sales=find.output)

    It does with sales what :class:`TrackRefundOperator` does with refunds; their ledger is ``firstpromoter_sales``. A
    sale that is sent today counts today: the call has no date.

    :param sales: a mapping with the sale call's field names (``event_id``, ``amount``, ``uid`` or ``email``, and
        optionally ``currency``, ``quantity``, ``plan``, ``mrr``, ``promo_code``, ``tid``, ``ref_id``,
        ``skip_email_notification``), a list of them, or the XComArg that holds either. A sale with ``tid`` or
        ``ref_id`` creates its lead
    """

    call = "sale"
    template_fields: Sequence[str] = ("sales", *FirstPromoterOperator.template_fields)
    template_fields_renderers = {"sales": "json"}

    def __init__(self, *, sales: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sales = sales


def _resolved(content: Any, context: Context) -> Any:
    """Replace XComArgs by their values, however deeply they are nested; render nothing."""
    if hasattr(content, "resolve"):
        return content.resolve(context)
    if isinstance(content, dict):
        return {name: _resolved(value, context) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_resolved(value, context) for value in content]
    return content


def _mappings(call: Call, given: Any, identify_by: Sequence[Any]) -> list[Mapping[str, Any]]:
    """
    Return the input as a list of mappings.

    :raises InputError: if it is something else, a column is missing everywhere, or one occurs twice
    """
    from airflow_provider_firstpromoter.exceptions import InputError

    name = call.plural
    if isinstance(given, str | bytes):
        raise InputError(f"{name} is a text. Pass the task's output itself, {name}=find_{name}.output, not a template")
    if given is None:
        raise InputError(f"{name} is None: the upstream task pushed nothing to XCom")
    if not isinstance(given, Mapping | Sequence):
        raise InputError(f"{name} must be a mapping or a list of mappings, not {type(given).__name__}")
    rows = [given] if isinstance(given, Mapping) else list(given)
    for position, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"{name}[{position}] must be a mapping, not {type(row).__name__}")
        if repeated := call.repeated_columns(row):
            raise InputError(
                f"{name}[{position}] has {' and '.join(repeated)} more than once, in different case; "
                "which one is meant cannot be known"
            )
    missing = call.missing_columns({column for row in rows for column in row}, identify_by)
    if rows and missing:
        raise InputError(f"{name} lack {', '.join(missing)}")
    return rows


def _payload(result: Result, sync: Sync) -> dict[str, Any]:
    """Return a result as plain JSON, without commissions that another task run reports: sums would count twice."""
    if result.reported_by is not None and result.reported_by != sync.run_key._asdict():
        result = result.model_copy(update={"commissions": ()})
    return result.to_json()


def _in_order(rows: Sequence[Row], results: Mapping[int, Result]) -> list[Result]:
    """
    Return a result for each row, in their order.

    The result of a repeated row says that it is one, and has no commissions: otherwise sums would count them twice.
    """
    from airflow_provider_firstpromoter.calls import Outcome, Result

    of_event = {row.event_id: results[row.position] for row in reversed(rows) if row.position in results}
    again = {"sent": False, "commissions": (), "message": "the same event_id as another row"}
    return [
        results.get(row.position)
        or of_event.get(row.event_id, Result(event_id=row.event_id, outcome=Outcome.PENDING)).model_copy(update=again)
        for row in rows
    ]
