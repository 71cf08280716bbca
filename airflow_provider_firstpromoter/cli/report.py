"""The command ``report``: it prints the views, to a terminal in few columns, everywhere else with all of them."""

from __future__ import annotations

import csv
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice, zip_longest
from textwrap import wrap
from typing import Any

from sqlalchemy import select

from airflow_provider_firstpromoter.calls import REFUND, Call, Outcome, money_text, reward_text
from airflow_provider_firstpromoter.cli.console import command, console, opened, printing
from airflow_provider_firstpromoter.database import errors_as
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger import Ledger, commissions_table, ledger_table
from airflow_provider_firstpromoter.ledger.runs import runs_table
from airflow_provider_firstpromoter.ledger.views import Tables, View
from airflow_provider_firstpromoter.ledger.views import views as views_of
from airflow_provider_firstpromoter.reconcile import MismatchTable, mismatch_table
from airflow_provider_firstpromoter.reconcile.mismatch_table import SUFFIX as MISMATCHES

Row = dict[str, Any]

#: Rows that are laid out at once.
CHUNK = 1000
#: Columns of a table are not wider, except the last one: as long as the longest ids of billing services.
WIDEST = 30
#: Rows of each view in a report of all of them.
FIRST_ROWS = 20
#: What is first in a view that has no time.
ORDER = {"open": ("since",), **dict.fromkeys(("reversed", "earned", "net"), ("year", "month"))}


@command
def report(args: Namespace) -> None:
    """Print the first rows of three views, or all rows of one."""
    with opened(args) as (hook, ledger):
        if not ledger.exists():
            raise LedgerError(f"{ledger} does not exist yet: the first run creates it")
        tables = tables_of(ledger.table.fullname, ledger.call)
        if not MismatchTable(ledger).exists():
            tables = tables._replace(mismatches=None)
        currency = hook.account.extra.currency
        refunds = ledger.beside(hook.account.ledger_table(REFUND), REFUND)
        over_both = tables_of(refunds.table.fullname, REFUND) if refunds.exists() else None
        chosen = {view.name: view for view in views_of(tables, args.call, over_both)}
        if args.view not in (None, *chosen):
            raise ValueError(f"This ledger has no view {args.view!r}; it has {', '.join(chosen)}")
        if args.view:
            with _rows(args, ledger, chosen[args.view]) as rows, printing(args):
                print_stream(args, chosen[args.view], rows, currency)
            return
        del chosen["status"]
        args.limit = args.limit or FIRST_ROWS
        heads = []
        for view in chosen.values():
            with _rows(args, ledger, view) as rows:
                heads.append((view, list(rows)))
        with printing(args):
            print_head(args, heads, currency)


@contextmanager
def _rows(args: Namespace, ledger: Ledger, view: View) -> Iterator[Iterator[dict[str, Any]]]:
    """Open a view's rows of the account, the newest first, as a stream."""
    shown = view.query.subquery()
    query: Any = select(shown).where(shown.c.account == ledger.account)
    if args.since is not None and view.time is not None:
        query = query.where(shown.c[view.time] >= args.since)
    query = query.order_by(*(shown.c[name].desc() for name in ORDER.get(view.name, (view.time,))))
    if args.limit:
        query = query.limit(args.limit)
    with (
        errors_as(LedgerError, f"The tables of ledger {ledger.table.fullname!r} cannot be read"),
        ledger.engine.connect().execution_options(stream_results=True) as connection,
    ):
        result = connection.execute(query)
        names = [str(name) for name in result.keys()]  # noqa: SIM118 - a Result is no mapping
        yield (dict(zip(names, map(_plain, row), strict=True)) for part in result.partitions(1000) for row in part)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else str(value)


def tables_of(name: str, call: Call) -> Tables:
    """Return the tables of a ledger."""
    ledger = ledger_table(call, name)
    return Tables(ledger, commissions_table(ledger), runs_table(ledger), mismatch_table(name + MISMATCHES))


#: Columns with sums of commissions, in the unit of the column ``reward_unit``.
SUMS = ("earned", "reversed", "net", "paid", "unpaid")


def print_head(args: Namespace, views: Sequence[tuple[View, list[Row]]], currency: str | None) -> None:
    """
    Print the first rows of some views.

    :param currency: the account's, for amounts without one; None if its connection does not name it
    """
    if args.output in ("json", "yaml") and not args.csv:
        getattr(console(), f"print_as_{args.output}")({view.name: rows for view, rows in views})
        return
    for view, rows in views:
        print(f"{'# ' if args.csv or args.output == 'plain' else ''}{view.question}")
        if len(rows) == args.limit:
            print(f"(the first {args.limit}; all: --view {view.name})", file=sys.stderr)
        print_stream(args, view, rows, currency)
        print()


def print_stream(args: Namespace, view: View, rows: Iterable[Row], currency: str | None) -> None:
    """Print a view's rows as they come, in memory that does not grow with them."""
    if args.csv:
        _print_csv(view, rows)
    elif args.output == "json":
        before = "["
        for row in rows:
            print(before, json.dumps(row), sep="", end="")
            before = ",\n"
        print("]" if before != "[" else "[]")
    elif args.output == "yaml":
        is_empty = True
        for chunk in _chunks(rows):
            console().print_as_yaml(chunk)
            is_empty = False
        if is_empty:
            print("[]")
    else:
        short = SHORTENED.get(view.name, _without_account)
        _print_table(args.output, ({**short(row, currency)} for row in rows))


def _print_csv(view: View, rows: Iterable[Row]) -> None:
    writer = csv.writer(sys.stdout)
    first = True
    for row in rows:
        if first:
            writer.writerow(row)
        writer.writerow("" if cell is None else cell for cell in row.values())
        first = False
    if first:
        writer.writerow(column.name for column in view.query.subquery().c)


def _print_table(output: str, rows: Iterator[Row]) -> None:
    """Print rows in columns as wide as the first of them need; Airflow's printer takes a minute for 50,000."""
    widths: list[int] = []
    for chunk in _chunks(rows):
        lines = [[str(cell) for cell in row.values()] for row in chunk]
        if output == "plain":
            print("\n".join("  ".join(line) for line in ([list(chunk[0])] if not widths else []) + lines))
            widths = [1]
            continue
        if not widths:
            names = list(chunk[0])
            widths = [min(max(map(len, column)), WIDEST) for column in zip(names, *lines, strict=True)]
            widths[-1] = max(console().width - sum(widths[:-1]) - 3 * (len(widths) - 1), len(names[-1]))
            print(_line(names, widths))
            print("=+=".join("=" * width for width in widths))
        for line in lines:
            wrapped = [
                [cell] if len(cell) <= width else wrap(cell, width) for cell, width in zip(line, widths, strict=True)
            ]
            for parts in zip_longest(*wrapped, fillvalue=""):
                print(_line(parts, widths))
    if not widths:
        print("None")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    for row in iterator:
        yield list(chain([row], islice(iterator, CHUNK - 1)))


# --- few columns ---


def _problem(row: Row, _: str | None) -> Row:
    name = row["event_id"] or f"commission {row['commission_id']}"
    return {"event_id": name, "since": _to_the_minute(row), "problem": _joined(": ", row["problem"], row["reason"])}


def _event(row: Row, currency: str | None) -> Row:
    return {
        "event_id": row["event_id"],
        "sent": "" if row["sent_amount"] is None else money_text(row["sent_amount"], row["sent_currency"] or currency),
        "reward": ""
        if row["reward_amount"] is None
        else reward_text(row["reward_amount"], row["reward_unit"], currency),
        "status": _joined(": ", row["status"], row["message"]),
    }


def _run(row: Row, currency: str | None) -> Row:
    def found(outcomes: Iterable[Outcome]) -> list[str]:
        return [f"{row[one.value]} {one.value}" for one in outcomes if row[one.value]]

    results = found(one for one in Outcome if not one.needs_attention)
    if problems := found(one for one in Outcome if one.needs_attention):
        before = f" ({row['still_open']} reported before)" if row["still_open"] else ""
        results.append(" and ".join(problems) + before)
    if row["mismatches"]:
        results.append(_counted(row["mismatches"], "mismatch", "mismatches"))
    results += [reward_text(amount, unit, currency) for unit, amount in json.loads(row["rewards"] or "{}").items()]
    results.append(_counted(row["requests"] or 0, "request", "requests"))
    error = row["stopped_because"] or row["error"] or ("" if row["ended_at"] else "running, or killed")
    return {
        "started_at": _to_the_minute(row, "started_at"),
        "task": _joined(" ", row["dag_id"], row["task_id"]),
        "result": ", ".join([*results, *([error] if error else [])]),
    }


def _without_account(row: Row, currency: str | None) -> Row:
    shown = {name: "" if cell is None else cell for name, cell in row.items() if name != "account"}
    if row.get("sent_amount") is not None:
        shown["sent_amount"] = money_text(row["sent_amount"], shown.pop("sent_currency") or currency)
    if currency and row.get("reward_unit") == "cash":
        shown |= {name: money_text(int(row[name]), currency) for name in SUMS if row.get(name) is not None}
    return shown


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _to_the_minute(row: Row, column: str = "since") -> str:
    return (row[column] or "")[: len("2026-11-25 17:23")]


def _joined(by: str, *texts: Any) -> str:
    return by.join(str(text) for text in texts if text not in (None, ""))


SHORTENED: Mapping[str, Callable[[Row, str | None], Row]] = {"open": _problem, "status": _event, "last_runs": _run}
