"""Refunds from XCom to FirstPromoter: one, or a list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_firstpromoter.operators.base import RefundOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_firstpromoter.refunds import Result, Row


class TrackRefundOperator(RefundOperator):
    """
    Tell FirstPromoter of a refund, or of a list of them, and hand on what became of each.

    .. code-block:: python

        find = UnrecordedRefundSensor(task_id="find", sql="SELECT event_id, amount, uid FROM refunds", ...)
        track = TrackRefundOperator(task_id="track", refunds=find.output)
        add_up(track.output)

    Refunds that the ledger knows as settled are not sent: their stored results come back, so that running the task
    again hands the very same rewards to the tasks behind it.

    What stands in the refunds is data: an XComArg is resolved, but no text in it is ever rendered as a template.
    For large amounts of refunds ``SqlToFirstPromoterOperator`` keeps them out of XCom.

    XCom: ``return_value`` is one result (a mapping was given) or a list of them in the order given; ``summary`` is
    what they add up to. Both are pushed also when the task then fails.

    :param refunds: a mapping with the refund call's field names (``event_id``, ``amount``, ``uid`` or ``email``, and
        optionally ``currency``, ``quantity``, ``sale_event_id``, ``skip_email_notification``), a list of them, or
        the XComArg that holds either
    """

    template_fields: Sequence[str] = ("refunds", "firstpromoter_conn_id", "ledger_conn_id", "ledger_table")
    template_ext: Sequence[str] = ()
    template_fields_renderers = {"refunds": "json"}

    def __init__(self, *, refunds: Any, recover_rewards: bool = True, **kwargs: Any) -> None:
        super().__init__(recover_rewards=recover_rewards, **kwargs)
        self.refunds = refunds

    def render_template(self, content: Any, context: Context, *args: Any, **kwargs: Any) -> Any:
        """Render the other fields as usual; of the refunds only resolve the XComArgs, for their text is data."""
        if content is self.refunds:
            return _resolved(content, context)
        return super().render_template(content, context, *args, **kwargs)

    def execute(self, context: Context) -> Any:
        """
        Send them.

        :returns: one result or a list of results, as plain JSON
        :raises RefundInputError: if they are no refunds at all
        :raises RefundsFailedError: if some could not be sent; a retry takes them up
        :raises RefundsRejectedError: if more were rejected or changed than ``max_rejected`` allows
        """
        from airflow_provider_firstpromoter.refunds import marking_repeats, numbered

        given = _mappings(self.refunds, self.identify_by)
        rows = list(marking_repeats(numbered(given)))
        sync = self._make_sync(context)
        if sync.ledger is None:
            self.log.warning(
                "No ledger: FirstPromoter's 409 alone keeps a refund from being sent twice. "
                "Name one in ledger_conn_id, here or in the extra of connection %r.",
                self.firstpromoter_conn_id,
            )
        results: dict[int, Result] = {}
        sync.run(rows, on_result=lambda row, result: results.update({row.position: result}), total=len(rows))
        answers = [result.to_json() for result in _in_order(rows, results)]
        return self._push_results(context, sync, answers[0] if isinstance(self.refunds, Mapping) else answers)


def _resolved(content: Any, context: Context) -> Any:
    """XComArgs in it, however deep, become what they stand for; nothing is rendered."""
    if hasattr(content, "resolve"):
        return content.resolve(context)
    if isinstance(content, dict):
        return {name: _resolved(value, context) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_resolved(value, context) for value in content]
    return content


def _mappings(refunds: Any, identify_by: Sequence[Any]) -> list[Mapping[str, Any]]:
    """
    What was given, as a list of mappings.

    :raises RefundInputError: if it is something else, or a column is missing everywhere
    """
    from airflow_provider_firstpromoter.exceptions import RefundInputError
    from airflow_provider_firstpromoter.refunds import missing_columns

    if isinstance(refunds, str | bytes):
        raise RefundInputError(
            "refunds is a text. Pass the task's output itself, refunds=find_refunds.output, not a template"
        )
    if refunds is None:
        raise RefundInputError("refunds is None: the task that should hand them on pushed nothing to XCom")
    if not isinstance(refunds, Mapping | Sequence):
        raise RefundInputError(f"refunds must be a mapping or a list of them, not {type(refunds).__name__}")
    given = [refunds] if isinstance(refunds, Mapping) else list(refunds)
    for position, refund in enumerate(given):
        if not isinstance(refund, Mapping):
            raise RefundInputError(f"refunds[{position}] must be a mapping, not {type(refund).__name__}")
    missing = missing_columns({name for refund in given for name in refund}, identify_by)
    if given and missing:
        raise RefundInputError(f"refunds lack {', '.join(missing)}")
    return given


def _in_order(rows: Sequence[Row], results: Mapping[int, Result]) -> list[Result]:
    """A result a row, as they were given. A repeated row says so and bears no reward: it would be added up twice."""
    from airflow_provider_firstpromoter.refunds import Outcome, Result

    of_event = {row.event_id: results[row.position] for row in rows if row.repeats is None}
    again = {"sent": False, "reward": None, "message": "the same event_id as an earlier row"}
    return [
        results.get(row.position)
        or of_event.get(row.event_id, Result(event_id=row.event_id, outcome=Outcome.PENDING)).model_copy(update=again)
        for row in rows
    ]
