"""Waiting for refunds that FirstPromoter does not know yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseSensorOperator, PokeReturnValue

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_firstpromoter.rows import Row


class UnrecordedRefundSensor(BaseSensorOperator):
    """
    Wait until the query has refunds that are not settled in the ledger, and hand them on.

    .. code-block:: python

        find = UnrecordedRefundSensor(
            task_id="find",
            sql="SELECT event_id, amount, currency, uid FROM refunds WHERE status = 'succeeded'",
            sql_conn_id="warehouse",
            mode="reschedule",
        )
        TrackRefundOperator(task_id="track", refunds=find.output)

    It reads the warehouse and the ledger and writes neither. XCom: the pending rows, ready for
    ``TrackRefundOperator``. Rejected rows that have not changed neither wake it nor use up its limit; rows that need
    a person (settled with another amount, no event_id) don't wake it, but are handed on with others.

    :param sql: a query, or the path of a ``.sql`` file; its columns carry the refund call's field names
    :param sql_conn_id: the SQL connection to run it on
    :param parameters: bound by the database driver, in its own style
    :param limit: how many rows are handed on at most
    :param firstpromoter_conn_id: the connection of type ``firstpromoter``: which account's ledger
    :param ledger_conn_id: the SQL connection of the ledger; by default what the FirstPromoter connection's extra says
    :param ledger_table: its table; by default likewise
    :param recheck_unreferred: for how long after it was first sent a refund that matched nobody is pending again, a
        day after it was last asked
    """

    template_fields: Sequence[str] = (
        "sql",
        "parameters",
        "sql_conn_id",
        "firstpromoter_conn_id",
        "ledger_conn_id",
        "ledger_table",
    )
    template_ext: Sequence[str] = (".sql",)
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
        self.recheck_unreferred = recheck_unreferred

    def poke(self, context: Context) -> PokeReturnValue:
        """
        Look once.

        :raises RefundInputError: if the query lacks a column
        :raises ConnectionSettingsError: if no ledger is named anywhere
        """
        from airflow_provider_firstpromoter.refunds import portable

        pending = self._pending()
        self.log.info("%s refunds are pending%s", len(pending), " (limit)" if len(pending) == self.limit else "")
        return PokeReturnValue(is_done=bool(pending), xcom_value=[portable(row.values) for row in pending])

    def _pending(self) -> list[Row]:
        from airflow_provider_firstpromoter.antijoin import unsettled_rows
        from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
        from airflow_provider_firstpromoter.ledger import RefundLedger
        from airflow_provider_firstpromoter.rows import numbered
        from airflow_provider_firstpromoter.source import RefundQuery
        from airflow_provider_firstpromoter.triage import find_pending

        account = FirstPromoterHook(self.firstpromoter_conn_id).account
        ledger = RefundLedger.required(account, self.ledger_conn_id, self.ledger_table)
        query = RefundQuery.from_connection(self.sql_conn_id, self.sql, self.parameters)
        with closing(unsettled_rows(query, ledger, self.recheck_unreferred)) as rows:
            return find_pending(
                numbered(rows),
                ledger,
                key=account.fingerprint_key,
                limit=self.limit,
                recheck_unreferred=self.recheck_unreferred,
            )
