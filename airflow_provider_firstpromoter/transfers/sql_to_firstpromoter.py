"""The operator that sends the events of a query of any size, without passing them through XCom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_firstpromoter.operators.base import FirstPromoterOperator, SqlFile, TrackingOperator
from airflow_provider_firstpromoter.parameters import CALL_NAMES, CallName, Incremental, check_times

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class SqlToFirstPromoterOperator(SqlFile, TrackingOperator):
    """
    Send each refund, or each sale, of a query that is not settled in the ledger, once.

    .. code-block:: python

        SqlToFirstPromoterOperator(
            task_id="sync_refunds",
            sql="SELECT id AS event_id, amount, currency, customer_id AS uid FROM refunds WHERE status = 'succeeded'",
            sql_conn_id="warehouse",
        )

    The rows are read at once into a private file, and the cursor is closed before the first request. With the ledger
    in the same database, settled events never leave it. Killed at any point and run again, it finishes the rest.

    Events that were never sent come first, then those that failed before, and rechecks last.

    XCom: ``return_value`` and ``summary`` are the summary of the task run, earlier tries included; ``rewards`` are
    the results that have a reward, a thousand at most (all of them are in the ledger). All are pushed also when the
    task then fails.

    :param sql: a query, or the path of a ``.sql`` file; its columns have the call's field names. An optional column
        ``refunded_at`` (of a sale: ``sold_at``) goes into the ledger, for reports; other columns are ignored
    :param call: ``refund`` or ``sale``: what the rows are
    :param sql_conn_id: the SQL connection to run it on
    :param parameters: bound by the database driver, in its own style
    :param limit: events to send at most; the rest stays pending and is counted. Which ones come first among those
        never sent is the database's choice: an ``ORDER BY`` of the query is lost in the join with the ledger
    :param max_pending: more pending events than this fail the task before the first request; None allows any number,
        for an intended backfill. The summary of a preview, or the XComArg that holds it, allows what that preview
        found: no more events, and no larger sum of any currency
    :param max_age: only for sales, and only where the query has ``sold_at``: an older sale that was never sent fails
        the task before the first request, because a sale counts on the day on which it is sent; None allows any age
    :param incremental_column: a column of the query that never decreases for a row that changes, such as the time at
        which a row was loaded: a timestamp, a date or ISO 8601 text. A run then reads only what is new since the last
        complete run: see *Reading less* on the page *Warehouses*. None reads everything in every run
    :param lookback: by how much the bound of such a run lies before the start of that run: longer than a row can take
        to reach the query, and longer than the clocks differ
    :param full_scan_every: when the last complete run that read everything is so long ago, a run reads everything
    :param full_scan: True reads everything; may be a template
    """

    template_fields: Sequence[str] = (
        "sql",
        "parameters",
        "sql_conn_id",
        "full_scan",
        "max_pending",
        *FirstPromoterOperator.template_fields,
    )
    template_fields_renderers = {"sql": "sql", "parameters": "json"}

    def __init__(
        self,
        *,
        sql: str,
        sql_conn_id: str,
        call: CallName = "refund",
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        limit: int | None = None,
        max_pending: Any = 10_000,
        max_age: timedelta | None = timedelta(days=7),
        incremental_column: str | None = None,
        lookback: timedelta = Incremental.lookback,
        full_scan_every: timedelta = Incremental.full_scan_every,
        full_scan: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if call not in CALL_NAMES:
            raise ValueError(f"call must be 'refund' or 'sale', not {call!r}")
        self.call = call
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, or None, not {limit!r}")
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        self.parameters = parameters
        self.limit = limit
        self.max_pending = max_pending
        self.max_age = max_age
        check_times(lookback=lookback, full_scan_every=full_scan_every)
        self.incremental_column = incremental_column
        self.lookback = lookback
        self.full_scan_every = full_scan_every
        self.full_scan = full_scan

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Send what is pending.

        :returns: the summary, as plain JSON
        :raises ConnectionSettingsError: if no ledger is named anywhere
        :raises RunRefusedError: if more is pending than ``max_pending``, or older than ``max_age``
        :raises EventsFailedError: if some could not be sent; a retry sends them again
        :raises EventsRejectedError: if more were rejected or changed than ``max_rejected`` allows
        """
        with self._errors_in_summary(context):
            return self._execute(context)

    def _execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_firstpromoter.calls import CALLS
        from airflow_provider_firstpromoter.database import CallQuery

        most = int(self.max_pending) if isinstance(self.max_pending, str) else self.max_pending  # as Jinja renders it
        options: dict[str, Any] = {"limit": self.limit, "max_pending": most, "max_age": self.max_age}
        options["incremental"] = Incremental.of(
            self.incremental_column, self.lookback, self.full_scan_every, self.full_scan
        )
        with self._make_sync(context, ledger_required=True, **options) as sync:
            query = CallQuery.from_connection(self.sql_conn_id, self.sql, self.parameters, call=CALLS[self.call])
            sync.run_query(query)
            rewards = [] if self.preview else sync.rewards()
            summary: dict[str, Any] = self._push_results(context, sync, sync.total().to_json(), rewards=rewards)
            return summary
