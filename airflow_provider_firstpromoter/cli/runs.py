"""The commands that speak to FirstPromoter: ``check``, ``preview``, ``reconcile`` and ``revert``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import and_, select

from airflow_provider_firstpromoter.cli.console import ATTENTION, LOG, command, opened, print_report, print_rows
from airflow_provider_firstpromoter.database import CallQuery, ManagedTable, errors_as
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, FirstPromoterError, LedgerError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, RunKey, ledger_table, now
from airflow_provider_firstpromoter.reconcile import MOST_TO_REVERT, Period, Reconciliation, Revert, RevertSelection
from airflow_provider_firstpromoter.sync import Sync, SyncOptions, log_text, report_mismatches

#: Characters of one to four bytes, which a database that is not Unicode cannot hold.
ANY_TEXT = "check é 日 😀"


@command
def check(args: Namespace) -> int:
    """Check connection, ledger and query, each whatever became of the one before."""
    hook = FirstPromoterHook(args.conn_id)
    account = hook.account  # an unusable connection leaves nothing else to check

    def connection() -> str:
        works, text = hook.test_connection()
        if not works:
            raise ConnectionSettingsError(text)
        return text

    def ledger() -> str:
        with Ledger.required(account, args.ledger_conn_id, args.ledger_table, args.call) as ledger:
            return _check_ledger(ledger)

    checks: dict[str, Callable[[], str]] = {"connection": connection, "ledger": ledger}
    if args.sql or args.sql_conn_id:
        checks["query"] = lambda: _check_query(args)
    rows = []
    for name, one in checks.items():
        try:
            rows.append({"check": name, "result": "ok", "detail": one()})
        except FirstPromoterError as error:
            rows.append({"check": name, "result": "failed", "detail": str(error)})
    print_rows(args, rows)
    return ATTENTION if any(row["result"] == "failed" for row in rows) else 0


def _check_ledger(ledger: Ledger) -> str:
    """Write a row, read it, and roll it back: in the ledger or, where there is none yet, in a table of this check."""
    if ledger.exists():
        _write_and_read(ledger, ledger.account)
        return f"{ledger} can be read and written"
    probe = ManagedTable(ledger.engine, ledger_table(f"{ledger.table.fullname}_check", ledger.call), ledger.name)
    probe.ensure()
    try:
        _write_and_read(probe, ledger.account)
    finally:
        probe.table.drop(ledger.engine)
    return f"{ledger} does not exist yet: the first run creates it"


def _write_and_read(table: ManagedTable, account: str) -> None:
    c = table.table.c
    row = {"account": account, "event_id": ANY_TEXT, "outcome": "failed", "message": ANY_TEXT, "judged_at": now()}
    with errors_as(LedgerError, f"{table} cannot be written"), table.engine.connect() as connection:
        for _ in range(2):  # an insert, and an update
            table.upsert(connection, [row], update=("message", "judged_at"))
        written = select(c.message).where(and_(c.account == account, c.event_id == ANY_TEXT))
        stored = [message for (message,) in connection.execute(written)]
        connection.rollback()
    if stored != [ANY_TEXT]:
        raise LedgerError(f"{table} cannot hold every text: its database needs a Unicode encoding")


def _check_query(args: Namespace) -> str:
    query = _query(args)
    names = query.column_names()
    if names is None:  # a database that cannot name them without running the query
        with closing(query.batches(args.identify_by)) as batches:
            names = list(next(batches).names)
    query.check_columns(names, args.identify_by)
    return f"The query has the columns {', '.join(names)}"


def _query(args: Namespace) -> CallQuery:
    if not args.sql or not args.sql_conn_id:
        raise ValueError("A query needs --sql and --sql-conn-id")
    sql = Path(args.sql).read_text() if args.sql.endswith(".sql") else args.sql
    return CallQuery.from_connection(args.sql_conn_id, sql, args.parameters, call=args.call)


@command
def preview(args: Namespace) -> int:
    """Report what a query would send."""
    query = _query(args)
    options = SyncOptions(
        call=args.call,
        amount_unit=args.amount_unit,
        identify_by=args.identify_by,
        recheck_unreferred=args.recheck_unreferred,
        retry_rejected=args.retry_rejected,
        preview=True,
    )
    with opened(args) as (hook, ledger), Sync(hook, ledger, options, log=LOG, kind="query") as sync:
        sync.run_query(query)
        summary = sync.total()
        print_report(args, log_text.table(summary), summary.to_json())
    return ATTENTION if any(outcome.is_problem and count for outcome, count in summary.outcomes.items()) else 0


@command
def reconcile(args: Namespace) -> None:
    """Compare the ledger with FirstPromoter's commissions."""
    period = Period.of(args.created_from, args.created_to)
    with opened(args) as (hook, ledger):
        query = _query(args) if args.sql or args.sql_conn_id else None
        run = Reconciliation(hook, ledger, period, adopt=args.adopt, query=query, run=_run_key("reconcile"), log=LOG)
        report = run.run()
    report_mismatches(args.conn_id, report.mismatches)
    print_report(args, report.text(), report.to_json())
    report.raise_if_more_than(args.max_mismatches)


@command
def revert(args: Namespace) -> None:
    """Preview a revert and, with ``--max-reverted``, deny the commissions."""
    selection = RevertSelection.of(args.event_id, args.dag_id, args.run_id, args.sent_from, args.sent_to)
    with opened(args) as (hook, ledger):

        def run(**options: Any) -> Any:
            revert = Revert(hook, ledger, selection, run=_run_key("revert"), log=LOG, **options)
            report = revert.run()
            print_report(args, report.text(), report.to_json(MOST_TO_REVERT))
            return report

        if args.max_reverted is None:
            report = run(preview=True)
            LOG.info("To deny them, run this again with --max-reverted %s", report.to_revert)
            return
        if not args.yes and not _confirmed(run(preview=True), args):
            raise ValueError("Nothing was denied")
        run(preview=False, max_reverted=args.max_reverted).raise_if_failed()


def _confirmed(report: Any, args: Namespace) -> bool:
    if not report.to_revert:
        return True  # what is denied already is still to be written to the ledger
    report.raise_if_more_than(args.max_reverted)
    LOG.warning(
        "The commissions of %s %s are denied in FirstPromoter. Go on? (y/n)", report.to_revert, args.call.plural
    )
    return input().strip().lower() in ("y", "yes")


def _run_key(task_id: str) -> RunKey:
    """Return what the ledger and the run history name as the run."""
    return RunKey("airflow firstpromoter", f"cli__{now().isoformat()}", task_id, -1)
