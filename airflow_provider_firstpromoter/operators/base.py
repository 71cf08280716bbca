"""What the operators that send refunds have in common: their parameters, and how a run is handed on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from airflow.providers.common.compat.sdk import Asset, AssetAlias, BaseOperator

from airflow_provider_firstpromoter.operators.links import REFUND_RUNS_LINKS

if TYPE_CHECKING:
    import logging

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_firstpromoter.refunds import AmountUnit, Identity
    from airflow_provider_firstpromoter.sync import RefundSync


class RefundOperator(BaseOperator):
    """
    Parameters of every operator that sends refunds.

    :param firstpromoter_conn_id: the connection of type ``firstpromoter``
    :param ledger_conn_id: the SQL connection of the ledger; by default what the FirstPromoter connection's extra says
    :param ledger_table: its table, ``schema.table`` if need be; by default likewise
    :param amount_unit: ``minor`` (1999) or ``major`` (19.99, which needs a currency)
    :param identify_by: which of ``uid`` and ``email`` name the customer, in the order to be asked
    :param skip_email_notification: for rows that don't say: True keeps FirstPromoter from mailing the promoter
    :param max_in_flight: requests under way at once; the account's rate is kept whatever it is
    :param max_rejected: more rejected or changed refunds than this fail the task, when all others have been sent;
        None never does
    :param recheck_unreferred: for how long after it was first sent a refund that matched nobody is asked again, once
        a day, because its sale can be late
    :param retry_rejected: send rejected refunds again though their rows have not changed
    :param preview: validate and report what would be sent; nothing is sent or written
    :param recover_rewards: look up what a refund took back that FirstPromoter already had: a request more for each

    ``outlets`` may name assets (Airflow 2: datasets): their events carry the summary. An ``AssetAlias`` gets an event
    only when a commission was taken back.
    """

    ui_color = "#d9eaf7"
    operator_extra_links = REFUND_RUNS_LINKS

    def __init__(
        self,
        *,
        firstpromoter_conn_id: str = "firstpromoter_default",
        ledger_conn_id: str | None = None,
        ledger_table: str | None = None,
        amount_unit: AmountUnit = "minor",
        identify_by: Sequence[Identity] = ("uid", "email"),
        skip_email_notification: bool | None = None,
        max_in_flight: int = 8,
        max_rejected: int | None = 0,
        recheck_unreferred: timedelta | None = None,
        retry_rejected: bool = False,
        preview: bool = False,
        recover_rewards: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if amount_unit not in ("minor", "major"):
            raise ValueError(f"amount_unit must be 'minor' or 'major', not {amount_unit!r}")
        names = (identify_by,) if isinstance(identify_by, str) else identify_by
        self.identify_by = cast("tuple[Identity, ...]", tuple(names))
        if not self.identify_by or set(self.identify_by) - {"uid", "email"}:
            raise ValueError(f"identify_by takes 'uid' and 'email', not {identify_by!r}")
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, not {max_in_flight!r}")
        self.firstpromoter_conn_id = firstpromoter_conn_id
        self.ledger_conn_id = ledger_conn_id
        self.ledger_table = ledger_table
        self.amount_unit: AmountUnit = amount_unit
        self.skip_email_notification = skip_email_notification
        self.max_in_flight = max_in_flight
        self.max_rejected = max_rejected
        self.recheck_unreferred = recheck_unreferred
        self.retry_rejected = retry_rejected
        self.preview = preview
        self.recover_rewards = recover_rewards
        self._sync: RefundSync | None = None

    def on_kill(self) -> None:
        """End every wait; what is known by then is written to the ledger."""
        if self._sync is not None:
            self._sync.cancel()

    def _make_sync(self, context: Context, *, limit: int | None = None, ledger_required: bool = False) -> RefundSync:
        """The run of this task instance; reads the connections, so it belongs on the main thread."""
        from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
        from airflow_provider_firstpromoter.ledger import RefundLedger, RunKey
        from airflow_provider_firstpromoter.sync import RefundSync, SyncOptions

        hook = FirstPromoterHook(self.firstpromoter_conn_id)
        find_ledger = RefundLedger.required if ledger_required else RefundLedger.of
        ti = context["ti"]
        self._sync = RefundSync(
            hook,
            find_ledger(hook.account, self.ledger_conn_id, self.ledger_table),
            SyncOptions(
                amount_unit=self.amount_unit,
                identify_by=self.identify_by,
                skip_email_notification=self.skip_email_notification,
                max_in_flight=self.max_in_flight,
                max_rejected=self.max_rejected,
                recheck_unreferred=self.recheck_unreferred,
                retry_rejected=self.retry_rejected,
                preview=self.preview,
                limit=limit,
                recover_rewards=self.recover_rewards,
            ),
            RunKey(ti.dag_id, ti.run_id, ti.task_id, ti.map_index),
            log=cast("logging.Logger", self.log),
        )
        return self._sync

    def _push_results(self, context: Context, sync: RefundSync, return_value: Any, **more: Any) -> Any:
        """
        Log and push what came of the run, then fail if it calls for that: so a failed task's results can be read.

        :param more: further XComs, by key
        :returns: ``return_value``
        """
        from airflow_provider_firstpromoter.sync import log_text

        self.log.info("%s", log_text.table(sync.summary))
        if self.do_xcom_push:
            for key, value in {"summary": sync.summary.to_json(), **more, "return_value": return_value}.items():
                context["ti"].xcom_push(key=key, value=value)
        sync.raise_for_summary()
        self._attach_asset_events(context, sync)
        return return_value

    def _attach_asset_events(self, context: Context, sync: RefundSync) -> None:
        """
        Attach the summary to the events of the ``outlets``.

        An asset gets an event with every run that succeeds, and Airflow makes it. An alias gets one only if a
        commission was taken back: a DAG scheduled by it runs when there is something to read.
        """
        from airflow_provider_firstpromoter.refunds import Outcome

        summary = sync.summary
        # A second try may send nothing more, and is the first to succeed.
        news = summary.outcomes[Outcome.RECORDED] and (summary.sent or context["ti"].try_number > 1)
        for outlet in self.outlets or ():
            if isinstance(outlet, AssetAlias):
                if news and not summary.preview:
                    # Quoted, because of the @ before another host: Airflow 2 would take the account for a login.
                    account = Asset(f"firstpromoter://{quote(sync.hook.account.key, safe='')}/refunds")
                    context["outlet_events"][outlet].add(account, extra=_hashable(summary.to_json()))
            elif isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = summary.to_json()


class _HashableDict(dict[str, Any]):
    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))


def _hashable(value: Any) -> Any:
    """The same JSON, but fit for a set: Airflow 2 puts the extras of an alias's events into one."""
    if isinstance(value, dict):
        return _HashableDict({name: _hashable(one) for name, one in value.items()})
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return value
