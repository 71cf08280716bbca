"""The sensors that wait for events that FirstPromoter does not have yet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_firstpromoter.operators.base import FirstPromoterOperator, SqlFile
from airflow_provider_firstpromoter.parameters import CallName, Incremental, check_times, checked_window

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger


class UnrecordedSensor(SqlFile, BaseSensorOperator):
    """
    Wait until the query has events that are not settled in the ledger, and pass them downstream.

    Use :class:`UnrecordedRefundSensor` or :class:`UnrecordedSaleSensor`.

    It reads the warehouse and the ledger and writes neither. XCom: the pending rows, ready for
    ``TrackRefundOperator`` or ``TrackSaleOperator``. Rejected rows that have not changed neither end the wait nor use
    up its limit; rows that need attention (recorded with another amount, no event_id) do not end it, but are passed on
    with others. A row that is pending because of ``recheck_unreferred`` or ``retry_rejected`` says so, so that the
    operator downstream sends it whatever its own parameters are.

    :param sql: a query, or the path of a ``.sql`` file; its columns carry the call's field names
    :param sql_conn_id: the SQL connection to run it on
    :param parameters: bound by the database driver, in its own style
    :param limit: how many events are passed on at most, each with its rows: six different ones at most, which are more
        than can be one event
    :param firstpromoter_conn_id: the connection of type ``firstpromoter``: which account's ledger
    :param ledger_conn_id: the SQL connection of the ledger; by default what the FirstPromoter connection's extra says
    :param ledger_table: its table; by default likewise
    :param recheck_unreferred: for how long an event without a referral is pending again, 20 hours after it was last
        sent; counted as by the operators, more than 20 hours and at most ten years
    :param retry_rejected: rejected events are pending again although their rows have not changed, 20 hours after they
        were last sent
    :param incremental_column: a column of the query that never decreases for a row that changes. Each look then reads
        only what is new since the last complete run of ``SqlToFirstPromoterOperator`` with the same ``sql``,
        ``sql_conn_id``, ``parameters`` and column, and everything where there is none: see *Reading less* on the page
        *Warehouses*
    :param lookback: as of that operator
    :param full_scan_every: as of that operator; a look writes nothing, and so is no complete run itself
    :param full_scan: True reads everything; may be a template
    :param deferrable: wait in the triggerer, without a worker slot; by default what ``[operators]
        default_deferrable`` says

    ``soft_fail=True`` skips the task when ``timeout`` is over, and for nothing else: an error fails it.
    """

    #: What the rows are.
    call: CallName = "refund"
    template_fields: Sequence[str] = (
        "sql",
        "parameters",
        "sql_conn_id",
        "full_scan",
        *FirstPromoterOperator.template_fields,
    )
    template_fields_renderers = {"sql": "sql", "parameters": "json"}
    ui_color = "#e8f3d6"

    def __init__(
        self,
        *,
        sql: str,
        sql_conn_id: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        limit: int = 1000,
        firstpromoter_conn_id: str = "firstpromoter_default",
        ledger_conn_id: str | None = None,
        ledger_table: str | None = None,
        recheck_unreferred: timedelta | None = None,
        retry_rejected: bool = False,
        incremental_column: str | None = None,
        lookback: timedelta = Incremental.lookback,
        full_scan_every: timedelta = Incremental.full_scan_every,
        full_scan: bool | str = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit!r}")
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        self.parameters = parameters
        self.limit = limit
        self.firstpromoter_conn_id = firstpromoter_conn_id
        self.ledger_conn_id = ledger_conn_id
        self.ledger_table = ledger_table
        self.recheck_unreferred = checked_window(recheck_unreferred)
        self.retry_rejected = retry_rejected
        check_times(lookback=lookback, full_scan_every=full_scan_every)
        self.incremental_column = incremental_column
        self.lookback = lookback
        self.full_scan_every = full_scan_every
        self.full_scan = full_scan
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Wait on the worker, poke by poke, or in the triggerer."""
        if self.deferrable:
            return self._push_or_defer(context, end_time=time.time() + self.timeout)
        with self._skipped_for_time_alone():
            return super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the wait in the triggerer, whether or not the trigger has fired."""
        with self._skipped_for_time_alone():
            return super().resume_execution(next_method, next_kwargs, context)

    @contextmanager
    def _skipped_for_time_alone(self) -> Iterator[None]:
        """Raise the error for which Airflow skips a task with ``soft_fail``: some while poking, all after a wait."""
        try:
            yield
        except AirflowSkipException as skipped:
            if self.soft_fail and skipped.__cause__ is not None:
                raise skipped.__cause__ from None
            raise

    def poke(self, context: Context) -> PokeReturnValue:
        """
        Look for pending events once.

        :raises InputError: if the query lacks a column
        :raises ConnectionSettingsError: if no ledger is named anywhere
        """
        from airflow_provider_firstpromoter.pending import PendingEvents

        pending = PendingEvents(**self._lookup_parameters()).find(self.limit)
        events = len({row.event_id or row.position for row in pending})
        self.log.info("Pending %ss: %s%s", self.call, events, " (limit)" if events == self.limit else "")
        return PokeReturnValue(is_done=bool(pending), xcom_value=[row.portable() for row in pending])

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """
        Continue when the trigger fires: its event says that some are pending, and the rows are read here.

        :raises AirflowSensorTimeout: if the trigger's time ran out
        :raises AirflowException: if the trigger failed, or its event is not one that the provider's trigger sends
        """
        match event:
            case {"status": "pending", "end_time": float(end_time)}:
                return self._push_or_defer(context, end_time)
            case {"status": "timeout"}:
                self._time_out()
            case {"status": "error", "message": str(message)}:
                raise AirflowException(f"The trigger failed: {message}")
        raise AirflowException(f"The trigger sent something unexpected: {type(event).__name__}")

    def _push_or_defer(self, context: Context, end_time: float) -> Any:
        """
        Return the pending rows, or wait again in the triggerer if another run has sent them meanwhile.

        :param end_time: seconds since the epoch
        """
        found = self.poke(context)
        if found.is_done:
            return found.xcom_value
        if time.time() >= end_time:
            self._time_out()
        trigger = self._trigger(end_time)
        return self.defer(trigger=trigger, method_name="execute_complete")

    def _trigger(self, end_time: float) -> BaseTrigger:
        from airflow_provider_firstpromoter.triggers.unrecorded import UnrecordedTrigger

        return UnrecordedTrigger(**self._lookup_parameters(), poke_interval=self.poke_interval, end_time=end_time)

    def _time_out(self) -> NoReturn:
        message = f"No {self.call} was pending for {self.timeout:.0f} seconds"
        if self.soft_fail:
            raise AirflowSkipException(message)
        raise AirflowSensorTimeout(message)

    def _lookup_parameters(self) -> dict[str, Any]:
        """Return the parameters that the sensor, the trigger and the lookup share."""
        return {
            "call": self.call,
            "sql": self.sql,
            "sql_conn_id": self.sql_conn_id,
            "parameters": self.parameters,
            "firstpromoter_conn_id": self.firstpromoter_conn_id,
            "ledger_conn_id": self.ledger_conn_id,
            "ledger_table": self.ledger_table,
            "recheck_unreferred": self.recheck_unreferred,
            "retry_rejected": self.retry_rejected,
            "incremental_column": self.incremental_column,
            "lookback": self.lookback,
            "full_scan_every": self.full_scan_every,
            "full_scan": self.full_scan,
        }


class UnrecordedRefundSensor(UnrecordedSensor):
    """
    Wait until the query has refunds that are not settled in the ledger, and pass them downstream.

    .. code-block:: python

        find = UnrecordedRefundSensor(
            task_id="find",
            sql="SELECT event_id, amount, currency, uid FROM refunds WHERE status = 'succeeded'",
            sql_conn_id="warehouse",
            mode="reschedule",
        )
        TrackRefundOperator(task_id="track", refunds=find.output)

    The parameters are those of :class:`UnrecordedSensor`.
    """

    call = "refund"


class UnrecordedSaleSensor(UnrecordedSensor):
    """
    Wait until the query has sales that are not settled in the ledger, and pass them downstream.

    .. code-block:: python

        find = UnrecordedSaleSensor(
            task_id="find",
            sql="SELECT event_id, amount, currency, uid, sold_at FROM sales WHERE status = 'succeeded'",
            sql_conn_id="warehouse",
            mode="reschedule",
        )
        TrackSaleOperator(task_id="track", sales=find.output)

    The parameters are those of :class:`UnrecordedSensor`.
    """

    call = "sale"
