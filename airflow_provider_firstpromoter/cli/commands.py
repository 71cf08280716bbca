"""The commands, without ``report``: each does what an operator does, or changes the ledger's tables."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.calls import REFUND, Outcome
from airflow_provider_firstpromoter.cli.console import (
    ATTENTION,
    LOG,
    command,
    opened,
    print_report,
    print_rows,
    printing,
)
from airflow_provider_firstpromoter.cli.report import tables_of
from airflow_provider_firstpromoter.database import CallQuery, ManagedTable, ddl_text, errors_as, first_line
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, FirstPromoterError, LedgerError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import COMMANDS, Ledger, RunHistory, RunKey, ledger_table, now, salt_table
from airflow_provider_firstpromoter.ledger.views import Tables
from airflow_provider_firstpromoter.ledger.views import views as views_of
from airflow_provider_firstpromoter.reconcile import (
    MOST_TO_REVERT,
    MismatchTable,
    Period,
    Reconciliation,
    Revert,
    RevertSelection,
)
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

    def commissions() -> str:
        next(iter(hook.iter_commissions()), None)
        return "FirstPromoter's commissions can be read, as reconciliations, reverts and look-ups do"

    checks: dict[str, Callable[[], str]] = {"connection": connection, "commissions": commissions}
    checks["ledger"] = lambda: _check_ledger(args, account)
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


def _check_ledger(args: Namespace, account: Account) -> str:
    """Write a row, read it, and roll it back: in the ledger or, where there is none yet, in a table of this check."""
    with Ledger.required(account, args.ledger_conn_id, args.ledger_table, call=args.call) as ledger:
        if ledger.exists():
            _write_and_read(ledger, ledger.account)
            return f"{ledger} can be read and written"
        probe = ManagedTable(ledger.engine, ledger_table(ledger.call, f"{ledger.table.fullname}_check"), ledger.name)
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
    with _query(args) as query:
        names = query.column_names()
        if names is None:  # a database that cannot name them without running the query
            with closing(query.batches(args.identify_by)) as batches:
                names = list(next(batches).names)
        query.check_columns(names, args.identify_by)
    return f"The query has the columns {', '.join(names)}"


def _query(args: Namespace) -> CallQuery:
    if missing := [name for name in ("--sql", "--sql-conn-id") if not getattr(args, name[2:].replace("-", "_"))]:
        raise ValueError(f"A query needs --sql and --sql-conn-id; missing: {', '.join(missing)}")
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
        "The commissions of %s will be denied in FirstPromoter. Go on? (y/n)", args.call.counted(report.to_revert)
    )
    return input().strip().lower() in ("y", "yes")


def _run_key(task_id: str) -> RunKey:
    """Return what the ledger and the run history name as the run."""
    return RunKey(COMMANDS, f"cli__{now().isoformat()}", task_id, -1)


@command
def accept(args: Namespace) -> None:
    """Accept changed amounts and mismatches as they are: they are not reported any more until they change."""
    if not args.event_ids and not args.commission:
        raise ValueError("Name an event_id, or a commission with --commission")
    with opened(args) as (_, ledger), printing(args):
        records = ledger.find(args.event_ids)
        changed = [event_id for event_id, record in records.items() if record.is_changed or record.lead_differs]
        ledger.mark(changed, accepted_at=now())
        for event_id in changed:
            record = records[event_id]
            what = "recorded by its e-mail, and the lead has another uid than the row"
            if record.is_changed:
                is_now = record.changed_amount or "no amount"
                what = f"recorded with amount {record.row_amount}, and the row says {is_now}"
            print(f"{event_id}: {what}: accepted")
        accepted = MismatchTable(ledger).accept(args.event_ids, args.commission)
        for one in accepted:
            name = one.event_id or f"commission {one.commission_id}"
            print(f"{name}: mismatch {one.kind} accepted")
    done: set[Any] = {*changed, *(one.event_id for one in accepted), *(one.commission_id for one in accepted)}
    if missing := [one for one in (*args.event_ids, *args.commission) if one not in done]:
        names = ", ".join(map(str, missing))
        text = f"Nothing to accept for {names}: neither changed nor an open mismatch in this ledger"
        rejected = [one for one in missing if one in records and records[one].outcome is Outcome.REJECTED]
        if rejected:
            text += f". A rejected row has to be corrected in the source: {', '.join(rejected)}"
        raise LedgerError(text)


@command
def ddl(args: Namespace) -> None:
    """Print the statements that create the tables."""
    with _place(args) as (_, tables, _refunds, dialect), printing(args):
        made = (*tables, salt_table(tables.ledger))
        print("\n".join(ddl_text(table, dialect) for table in made if table is not None))


@command
def views(args: Namespace) -> None:
    """Print the statements that create the views, or run them."""
    with _place(args) as (ledger, tables, refunds, dialect), printing(args):
        if args.apply:
            if ledger is None:
                raise ValueError("--apply needs the connection CONN_ID")
            _apply(tables, refunds, ledger)
            return
        scripts = [view.script(tables.ledger, dialect) for view in views_of(tables, args.call, refunds)]
        # The ledger and its run history are there after the first run; this one only after a reconciliation.
        assert tables.mismatches is not None
        print(f"{str(CreateTable(tables.mismatches, if_not_exists=True).compile(dialect=dialect)).strip()};")
        print("\n".join(scripts))


def _apply(tables: Tables, refunds: Tables, ledger: Ledger) -> None:
    beside = ledger.beside(refunds.ledger.fullname, REFUND)
    for table in (ledger, beside, RunHistory(ledger, RunKey()), MismatchTable(ledger)):
        table.ensure()
    dialect = ledger.engine.dialect
    for view in views_of(tables, ledger.call, refunds):
        name = f"{tables.ledger.fullname}_{view.name}"
        create = view.create(tables.ledger, dialect, replace=False)
        ways = {
            "created": (create,),
            "replaced, with the rights that it had": (view.create(tables.ledger, dialect),),
            # It has other columns, or this database cannot replace one.
            "dropped and created again; grant rights on it once more": (view.drop(tables.ledger, dialect), create),
        }
        with errors_as(LedgerError, f"The view {name} cannot be created"):
            print(f"{name}: {_first_that_works(ledger, ways)}")


def _first_that_works(ledger: Ledger, ways: Mapping[str, Sequence[str]]) -> str:
    """Run the statements of each way in a transaction of its own until one succeeds, and return that way's name."""
    *_, last = ways
    for way, statements in ways.items():
        try:
            with ledger.engine.begin() as connection:
                for statement in statements:
                    connection.exec_driver_sql(statement)
            return way
        except SQLAlchemyError as error:
            if way == last:
                raise
            LOG.debug("%s", first_line(error))
    raise AssertionError("there is no way")


@contextmanager
def _place(args: Namespace) -> Iterator[tuple[Ledger | None, Tables, Tables, Dialect]]:
    """Open where the tables are, with those of the refunds: a ledger, or just a dialect."""
    if bool(args.conn_id) == bool(args.dialect):
        raise ValueError("Name either a connection or --dialect")
    if args.conn_id:
        with opened(args) as (hook, ledger):
            refunds = tables_of(hook.account.ledger_table(REFUND), REFUND)
            yield ledger, tables_of(ledger.table.fullname, ledger.call), refunds, ledger.engine.dialect
        return
    try:
        dialect: Dialect = make_url(f"{args.dialect}://").get_dialect()()
    except (SQLAlchemyError, ImportError, AttributeError) as error:
        raise ValueError(f"SQLAlchemy has no dialect {args.dialect!r} here: {error}") from None
    name = args.ledger_table or args.call.ledger_table
    refunds = tables_of(f"{name[: name.rfind('.') + 1]}{REFUND.ledger_table}", REFUND)
    yield None, tables_of(name, args.call), refunds, dialect
