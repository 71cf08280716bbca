"""The commands on the ledger's tables: ``report``, ``accept``, ``ddl`` and ``views``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

from airflow_provider_firstpromoter.calls import REFUND, Call
from airflow_provider_firstpromoter.cli.console import LOG, command, opened, printing
from airflow_provider_firstpromoter.cli.report import print_head, print_stream
from airflow_provider_firstpromoter.database import ddl_text, errors_as, first_line
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger import (
    Ledger,
    RunHistory,
    RunKey,
    commissions_table,
    ledger_table,
    now,
    salt_table,
)
from airflow_provider_firstpromoter.ledger.runs import SUFFIX as RUNS
from airflow_provider_firstpromoter.ledger.runs import runs_table
from airflow_provider_firstpromoter.ledger.views import Tables, View
from airflow_provider_firstpromoter.ledger.views import views as views_of
from airflow_provider_firstpromoter.reconcile import MismatchTable, mismatch_table
from airflow_provider_firstpromoter.reconcile.mismatches import SUFFIX as MISMATCHES

#: Rows of each view in a report of all of them.
FIRST_ROWS = 20
#: What is first in a view that has no time.
ORDER = {"open": ("since",), **dict.fromkeys(("reversed", "earned", "net"), ("year", "month"))}


# --- what is in them ---


@command
def report(args: Namespace) -> None:
    """Print the first rows of three views, or all rows of one."""
    with opened(args) as (hook, ledger):
        if not ledger.exists():
            raise LedgerError(f"{ledger} does not exist yet: the first run creates it")
        tables = _tables(ledger.table.fullname, ledger.call)
        if not MismatchTable(ledger).exists():
            tables = tables._replace(mismatches=None)
        currency = hook.account.extra.currency or "account"
        refunds = ledger.beside(hook.account.ledger_table(REFUND), REFUND)
        over_both = _tables(refunds.table.fullname, REFUND) if refunds.exists() else None
        chosen = {view.name: view for view in views_of(tables, args.call, over_both)}
        if args.view not in (None, *chosen):
            raise ValueError(f"This ledger has no view {args.view!r}; it has {', '.join(chosen)}")
        if args.view:
            with _rows(ledger, chosen[args.view], args) as rows, printing(args):
                print_stream(args, chosen[args.view], rows, currency)
            return
        del chosen["status"]
        args.limit = args.limit or FIRST_ROWS
        heads = []
        for view in chosen.values():
            with _rows(ledger, view, args) as rows:
                heads.append((view, list(rows)))
        with printing(args):
            print_head(args, heads, currency)


@contextmanager
def _rows(ledger: Ledger, view: View, args: Namespace) -> Iterator[Iterator[dict[str, Any]]]:
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


# --- changing it ---


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
            was, is_now = records[event_id].row_amount, records[event_id].changed_amount or "no amount"
            print(f"{event_id}: recorded with amount {was}, and the row says {is_now}: accepted")
        accepted = MismatchTable(ledger).accept(args.event_ids, args.commission)
        for one in accepted:
            name = one.event_id or f"commission {one.commission_id}"
            print(f"{name}: mismatch {one.kind} accepted")
    done: set[Any] = {*changed, *(one.event_id for one in accepted), *(one.commission_id for one in accepted)}
    if missing := [str(one) for one in (*args.event_ids, *args.commission) if one not in done]:
        raise LedgerError(
            f"Nothing to accept for {', '.join(missing)}: neither changed nor an open mismatch in this ledger"
        )


# --- the tables and views themselves ---


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
            _apply(ledger, tables, refunds)
            return
        scripts = [view.script(tables.ledger, dialect) for view in views_of(tables, args.call, refunds)]
        # The ledger and its run history are there after the first run; this one only after a reconciliation.
        assert tables.mismatches is not None
        print(f"{str(CreateTable(tables.mismatches, if_not_exists=True).compile(dialect=dialect)).strip()};")
        print("\n".join(scripts))


def _apply(ledger: Ledger, tables: Tables, refunds: Tables) -> None:
    beside = ledger.beside(refunds.ledger.fullname, REFUND)
    for table in (ledger, beside, RunHistory(ledger, RunKey()), MismatchTable(ledger)):
        table.ensure()
    dialect = ledger.engine.dialect
    for view in views_of(tables, ledger.call, refunds):
        name = f"{tables.ledger.fullname}_{view.name}"
        make = view.create(tables.ledger, dialect)
        try:
            with ledger.engine.begin() as connection:
                connection.exec_driver_sql(make)
            print(f"{name}: created, or replaced with the rights that it had")
        except SQLAlchemyError as error:  # it is there, and has other columns or cannot be replaced in this database
            LOG.debug("%s", first_line(error))
            with errors_as(LedgerError, f"The view {name} cannot be created"), ledger.engine.begin() as connection:
                connection.exec_driver_sql(view.drop(tables.ledger, dialect))
                connection.exec_driver_sql(make)
            print(f"{name}: dropped and created again; grant rights on it once more")


@contextmanager
def _place(args: Namespace) -> Iterator[tuple[Ledger | None, Tables, Tables, Dialect]]:
    """Open where the tables are, with those of the refunds: a ledger, or just a dialect."""
    if bool(args.conn_id) == bool(args.dialect):
        raise ValueError("Name either a connection or --dialect")
    if args.conn_id:
        with opened(args) as (hook, ledger):
            refunds = _tables(hook.account.ledger_table(REFUND), REFUND)
            yield ledger, _tables(ledger.table.fullname, ledger.call), refunds, ledger.engine.dialect
        return
    try:
        dialect: Dialect = make_url(f"{args.dialect}://").get_dialect()()
    except (SQLAlchemyError, ImportError, AttributeError) as error:
        raise ValueError(f"SQLAlchemy has no dialect {args.dialect!r} here: {error}") from None
    name = args.ledger_table or args.call.ledger_table
    refunds = _tables(f"{name[: name.rfind('.') + 1]}{REFUND.ledger_table}", REFUND)
    yield None, _tables(name, args.call), refunds, dialect


def _tables(name: str, call: Call) -> Tables:
    ledger = ledger_table(name, call)
    return Tables(ledger, commissions_table(ledger), runs_table(name + RUNS), mismatch_table(name + MISMATCHES))
