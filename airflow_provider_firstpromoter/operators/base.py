"""What the operators share: their parameters, the path of a query, and the XComs and asset events of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from airflow_provider_firstpromoter.exceptions import FirstPromoterError
from airflow_provider_firstpromoter.parameters import CallName, checked_window

if TYPE_CHECKING:
    import logging

    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_firstpromoter.calls import AmountUnit, Identity
    from airflow_provider_firstpromoter.sync import FailOn, Sync


class FirstPromoterLink(BaseOperatorLink):
    """
    Opens the page "FirstPromoter" at the run of this task instance.

    The link is relative, as Airflow's pages resolve it below their own base path: the worker that writes it need not
    know under which URL people reach Airflow.
    """

    name = "FirstPromoter"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """
        Return the page's address with the task instance in its query.

        :param ti_key: names the task instance; Airflow 3 passes the running task instance itself
        """
        query = {
            "dag_id": ti_key.dag_id,
            "run_id": ti_key.run_id,
            "task_id": ti_key.task_id,
            "map_index": -1 if ti_key.map_index is None else ti_key.map_index,
        }
        return f"plugin/firstpromoter?{urlencode(query)}"


class SqlFile:
    """
    A mixin, to be named before Airflow's base class: ``sql`` may be the path of a ``.sql`` file.

    Airflow's own ``template_ext`` would take a parameter that ends in ``.sql`` for a file, too.
    """

    template_ext: Sequence[str] = ()
    sql: Any

    def render_template(self, content: Any, context: Context, jinja_env: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Render a field's content; of ``sql`` the file's, if it is the path of one."""
        jinja_env = jinja_env or self.get_template_env()  # type: ignore[attr-defined]
        if content is self.sql and isinstance(content, str) and content.endswith(".sql"):
            content, *_ = jinja_env.loader.get_source(jinja_env, content)
        return super().render_template(content, context, jinja_env, *args, **kwargs)  # type: ignore[misc]


class FirstPromoterOperator(BaseOperator):
    """
    Base class of all operators: they need an account and its ledger.

    :param firstpromoter_conn_id: the connection of type ``firstpromoter``
    :param ledger_conn_id: the SQL connection of the ledger; by default what the FirstPromoter connection's extra says
    :param ledger_table: its table, ``schema.table`` if need be; by default likewise, or
        ``firstpromoter_sales`` for sales, in the same schema
    """

    #: What the rows are.
    call: CallName = "refund"
    template_fields: Sequence[str] = ("firstpromoter_conn_id", "ledger_conn_id", "ledger_table")
    template_ext: Sequence[str] = ()
    ui_color = "#d9eaf7"
    #: Before Airflow 3.1 there is no such page.
    operator_extra_links = (FirstPromoterLink(),) if AIRFLOW_V_3_1_PLUS else ()

    def __init__(
        self,
        *,
        firstpromoter_conn_id: str = "firstpromoter_default",
        ledger_conn_id: str | None = None,
        ledger_table: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.firstpromoter_conn_id = firstpromoter_conn_id
        self.ledger_conn_id = ledger_conn_id
        self.ledger_table = ledger_table
        self._has_summary = False

    def _known(self) -> dict[str, Any]:
        """Return what is known of a run that ended early, as its summary has it."""
        raise NotImplementedError

    def _push_summary(self, context: Context, summary: dict[str, Any]) -> None:
        context["ti"].xcom_push(key="summary", value=summary)
        self._has_summary = True

    @contextmanager
    def _errors_in_summary(self, context: Context) -> Iterator[None]:
        """Push the error of a run that ends before it has pushed its summary: the page names it then."""
        self._has_summary = False
        try:
            yield
        except BaseException as error:
            if self.do_xcom_push and not self._has_summary:
                try:
                    self._push_summary(context, {**self._known(), "error": f"{type(error).__name__}: {error}"})
                except Exception as failure:  # the error itself says more
                    self.log.warning("Airflow's page does not show this run: %s", type(failure).__name__)
            raise

    def _task(self, context: Context) -> dict[str, Any]:
        """Return what every run is told about its task."""
        from airflow_provider_firstpromoter.ledger import RunKey

        ti = context["ti"]
        return {
            "run": RunKey(ti.dag_id, ti.run_id, ti.task_id, ti.map_index),
            "try_number": ti.try_number,
            "log": cast("logging.Logger", self.log),
        }


class TrackingOperator(FirstPromoterOperator):
    """
    Base class of every operator that sends events, refunds or sales; these parameters are common to all of them.

    :param firstpromoter_conn_id: the connection of type ``firstpromoter``
    :param ledger_conn_id: the SQL connection of the ledger; by default what the FirstPromoter connection's extra says
    :param ledger_table: its table, ``schema.table`` if need be; by default likewise, or
        ``firstpromoter_sales`` for sales, in the same schema
    :param amount_unit: ``minor`` (1999) or ``major`` (19.99, which needs a currency)
    :param identify_by: which of ``uid`` and ``email`` identify the customer, in the order in which they are tried
    :param skip_email_notification: for rows that do not say it: True keeps FirstPromoter from sending the promoter an
        e-mail
    :param max_in_flight: requests under way at once; the rate limit is kept whatever it is
    :param max_rejected: how many of the rejected and changed events that ``fail_on`` counts are tolerated; more fail
        the task when all others were sent. None never fails it
    :param fail_on: ``new`` counts the rejected and changed events that no earlier run has reported; ``any`` counts all
    :param recheck_unreferred: for how long an event without a referral is sent again, every 20 hours, because the sale
        may reach FirstPromoter after the refund, or the lead after the sale. It counts from when the event happened
        (the query's ``refunded_at`` or ``sold_at``) or, where that is not known, was first sent; more than 20 hours, at
        most ten years
    :param retry_rejected: send rejected events again although their rows have not changed
    :param preview: validate and report what would be sent; nothing is sent or written
    :param recover_rewards: look up the reward of an event that FirstPromoter already had: one more request for each.
        None looks it up in a retry only, where an earlier try of the task may have made it

    ``outlets`` may name assets (Airflow 2: datasets): their events carry the summary's counts and sums. An
    ``AssetAlias`` gets an event only when an event was recorded.
    """

    def __init__(
        self,
        *,
        amount_unit: AmountUnit = "minor",
        identify_by: Sequence[Identity] = ("uid", "email"),
        skip_email_notification: bool | None = None,
        max_in_flight: int = 8,
        max_rejected: int | None = 0,
        fail_on: FailOn = "new",
        recheck_unreferred: timedelta | None = None,
        retry_rejected: bool = False,
        preview: bool = False,
        recover_rewards: bool | None = None,
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
        if fail_on not in ("new", "any"):
            raise ValueError(f"fail_on must be 'new' or 'any', not {fail_on!r}")
        self.amount_unit: AmountUnit = amount_unit
        self.skip_email_notification = skip_email_notification
        self.max_in_flight = max_in_flight
        self.max_rejected = max_rejected
        self.fail_on = fail_on
        self.recheck_unreferred = checked_window(recheck_unreferred)
        self.retry_rejected = retry_rejected
        self.preview = preview
        self.recover_rewards = recover_rewards
        self._sync: Sync | None = None

    def on_kill(self) -> None:
        """End every wait; what is known by then is written to the ledger."""
        if self._sync is not None:
            self._sync.cancel()

    def _make_sync(self, context: Context, *, ledger_required: bool = False, **options: Any) -> Sync:
        """
        Return the run of this task instance. Reads the connections, so it is called on the main thread.

        :param options: further fields of :class:`SyncOptions`
        """
        from airflow_provider_firstpromoter.calls import CALLS
        from airflow_provider_firstpromoter.hooks import FirstPromoterHook
        from airflow_provider_firstpromoter.ledger import Ledger
        from airflow_provider_firstpromoter.sync import Sync, SyncOptions

        hook, call = FirstPromoterHook(self.firstpromoter_conn_id), CALLS[self.call]
        find_ledger = Ledger.required if ledger_required else Ledger.of
        self._sync = Sync(
            hook,
            find_ledger(hook.account, self.ledger_conn_id, self.ledger_table, call=call),
            SyncOptions(
                call=call,
                amount_unit=self.amount_unit,
                identify_by=self.identify_by,
                skip_email_notification=self.skip_email_notification,
                max_in_flight=self.max_in_flight,
                max_rejected=self.max_rejected,
                fail_on=self.fail_on,
                recheck_unreferred=self.recheck_unreferred,
                retry_rejected=self.retry_rejected,
                preview=self.preview,
                recover_rewards=self.recover_rewards,
                **options,
            ),
            kind="query" if ledger_required else "list",
            **self._task(context),
        )
        return self._sync

    def _known(self) -> dict[str, Any]:
        if self._sync is None:
            return {"kind": f"{self.call}s"}
        known = self._sync.summary.to_json()
        if self._sync.killed.is_set():  # there is no time to ask the database
            return known
        try:
            return {**known, "history": self._sync.history()}
        except FirstPromoterError:
            return known

    def _push_results(self, context: Context, sync: Sync, return_value: Any, **more: Any) -> Any:
        """
        Log the summary, push the results to XCom, and only then fail the task if the run calls for it.

        So the results of a failed task can be read.

        :param more: further XComs, by key
        :returns: ``return_value``
        """
        from airflow_provider_firstpromoter.assets.firstpromoter import attach_asset_events
        from airflow_provider_firstpromoter.sync import log_text

        summary = sync.total()
        self.log.info("%s", log_text.table(summary))
        if self.do_xcom_push:
            self._push_summary(context, {**summary.to_json(), "history": sync.history()})
            for key, value in {**more, "return_value": return_value}.items():
                context["ti"].xcom_push(key=key, value=value)
        sync.raise_for_summary()
        attach_asset_events(self.outlets, context, summary.to_json(), sync.since_last_event)
        return return_value

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the lineage of the run, for Airflow's OpenLineage provider; after a failed task too."""
        from airflow_provider_firstpromoter.assets.firstpromoter import lineage_of_run

        return lineage_of_run(
            self._sync.total().to_json() if self._sync is not None else None,
            sql=getattr(self, "sql", None),
            sql_conn_id=getattr(self, "sql_conn_id", None),
        )
