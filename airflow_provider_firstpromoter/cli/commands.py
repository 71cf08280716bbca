"""The commands: the ledger's tables and views, its report, and the acceptance of problems as they are."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_firstpromoter.ledger.runs import SUFFIX as RUNS
from airflow_provider_firstpromoter.ledger.runs import runs_table
from airflow_provider_firstpromoter.ledger.table import ledger_table
from airflow_provider_firstpromoter.ledger.views import Tables, View, create_table, create_view, views

if TYPE_CHECKING:
    from airflow_provider_firstpromoter.ledger.store import RefundLedger

PROGRAM = "python -m airflow_provider_firstpromoter"


def main(arguments: list[str] | None = None) -> None:
    """Run a command; ``DIALECT`` alone means ``ddl DIALECT``."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) in (1, 2) and given[0] not in (*COMMANDS, "-h", "--help"):
        given = ["ddl", *given]
    options = _parser().parse_args(given)
    COMMANDS[options.command](options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="The ledger: its tables, views and open problems.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("ddl", "print the statements that create the tables"), ("views", "print views of them")):
        command = commands.add_parser(name, help=text)
        command.add_argument("dialect", metavar="DIALECT", help="postgresql, mysql, sqlite, duckdb, snowflake")
        command.add_argument("table", metavar="TABLE", nargs="?", help="the ledger's table, with its schema if need be")
    report = commands.add_parser("report", help="print open problems, refunds, sums and runs")
    report.add_argument("--since", type=_day, metavar="2026-11-01", help="leave out what is older")
    report.add_argument("--view", choices=[view.name for view in views(_tables(None))], help="only this one")
    report.add_argument("--csv", action="store_true", help="as CSV instead of tables")
    accept = commands.add_parser("accept", help="accept a changed amount, or a mismatch, as it is")
    for command in (report, accept):
        command.add_argument("conn_id", metavar="CONN_ID", help="the Airflow connection of type firstpromoter")
        command.add_argument("--ledger-conn-id", help="the ledger's connection; by default the one in the extra")
        command.add_argument("--ledger-table", help="its table; by default likewise")
    accept.add_argument("event_ids", metavar="EVENT_ID", nargs="+")
    return parser


# --- the tables ---


def print_ddl(options: argparse.Namespace) -> None:
    """Print the statements that create the ledger, its run history and the table of mismatches."""
    dialect = _dialect(options.dialect)
    for table in _tables(options.table):
        if table is not None:
            print(create_table(table, dialect))


def print_views(options: argparse.Namespace) -> None:
    """Print the statements that create the views."""
    dialect, tables = _dialect(options.dialect), _tables(options.table)
    for view in views(tables):
        print(create_view(view, tables.ledger, dialect))


def _tables(name: str | None) -> Tables:
    from airflow_provider_firstpromoter.reconcile import mismatch_table
    from airflow_provider_firstpromoter.reconcile.mismatches import SUFFIX as MISMATCHES

    ledger = ledger_table(name) if name else ledger_table()
    full = ledger.fullname
    return Tables(ledger, runs_table(full + RUNS), mismatch_table(full + MISMATCHES))


def _dialect(name: str) -> Dialect:
    try:
        dialect: Dialect = make_url(f"{name}://").get_dialect()()
    except (SQLAlchemyError, ImportError, AttributeError) as error:
        sys.exit(f"SQLAlchemy has no dialect {name!r} here: {error}")
    return dialect


# --- what is in them ---


def print_report(options: argparse.Namespace) -> None:
    """Print what the views show, for the account of a connection."""
    with redirect_stdout(sys.stderr):  # Airflow 2.11 and 3.0 log to standard output
        answers = _answers(options)
    for view, names, rows in answers:
        (_print_csv if options.csv else _print_table)(view, names, rows)


def _answers(options: argparse.Namespace) -> list[tuple[View, list[str], list[list[str]]]]:
    """Return the views with the names of their columns and their rows."""
    from airflow_provider_firstpromoter.ledger.records import RunKey
    from airflow_provider_firstpromoter.reconcile import MismatchTable

    ledger = _ledger(options)
    tables = _tables(ledger.table.fullname)
    if not MismatchTable(ledger, RunKey()).exists():
        tables = tables._replace(mismatches=None)
    asked = [view for view in views(tables) if options.view in (None, view.name)]
    return [(view, *_read(ledger, view, options.since)) for view in asked]


def _read(ledger: RefundLedger, view: View, since: datetime | None) -> tuple[list[str], list[list[str]]]:
    from sqlalchemy import select

    shown = view.query.subquery()
    query: Any = select(shown).where(shown.c.account == ledger.account)
    if since is not None and view.time is not None:
        query = query.where(shown.c[view.time] >= since)
    if view.time is not None:
        query = query.order_by(shown.c[view.time].desc())
    try:
        with ledger.engine.connect() as connection:
            result = connection.execute(query)
            return list(result.keys()), [["" if cell is None else str(cell) for cell in row] for row in result]
    except SQLAlchemyError as error:
        from airflow_provider_firstpromoter.database import first_line

        sys.exit(f"The tables of ledger {ledger.table.fullname!r} cannot be read: {first_line(error)}")


def _print_csv(view: View, names: list[str], rows: list[list[str]]) -> None:
    print(f"# {view.question}")
    csv.writer(sys.stdout).writerows([names, *rows])


def _print_table(view: View, names: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console

    from airflow_provider_firstpromoter.cli.report_tables import table_of

    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200)
    if not rows:
        console.print(f"{view.question} None.")
        return
    console.print(view.question)
    console.print(table_of(view, [dict(zip(names, row, strict=True)) for row in rows]))


# --- changing it ---


def accept(options: argparse.Namespace) -> None:
    """Accept the changed amounts and mismatches of refunds as they are: they are not reported any more."""
    from airflow_provider_firstpromoter.ledger.records import RunKey
    from airflow_provider_firstpromoter.ledger.store import now
    from airflow_provider_firstpromoter.reconcile import MismatchTable

    ledger = _ledger(options)
    records = ledger.find(options.event_ids)
    changed = [
        event_id
        for event_id, record in records.items()
        if record.changed_amount is not None and record.accepted_at is None
    ]
    ledger.mark(changed, accepted_at=now())
    for event_id in changed:
        was, is_now = records[event_id].row_amount, records[event_id].changed_amount or "no amount"
        print(
            f"{event_id}: recorded with amount {was}, and the row says {is_now}: accepted, and "
            "not reported any more unless it changes again. Nothing was sent to FirstPromoter."
        )
    table = MismatchTable(ledger, RunKey())
    accepted = table.accept(options.event_ids) if table.exists() else []
    for mismatch in accepted:
        print(f"{mismatch.event_id}: mismatch {mismatch.kind} accepted. Nothing was sent to FirstPromoter.")
    known = {*changed, *(mismatch.event_id for mismatch in accepted)}
    if missing := [event_id for event_id in options.event_ids if event_id not in known]:
        sys.exit(f"Nothing to accept for {', '.join(missing)}: neither changed nor an open mismatch in this ledger.")


def _ledger(options: argparse.Namespace) -> RefundLedger:
    from airflow.providers.common.compat.sdk import AirflowException

    from airflow_provider_firstpromoter.hooks import FirstPromoterHook
    from airflow_provider_firstpromoter.ledger.store import RefundLedger

    try:
        account = FirstPromoterHook(options.conn_id).account
        return RefundLedger.required(account, options.ledger_conn_id, options.ledger_table)
    except AirflowException as error:
        sys.exit(str(error))


def _day(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-11-01") from None


COMMANDS = {"ddl": print_ddl, "views": print_views, "report": print_report, "accept": accept}
