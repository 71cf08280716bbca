"""The parser of the commands. Airflow imports it with every command of its own, so that it imports nothing else."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from airflow.cli.cli_config import (
    ARG_OUTPUT,
    ARG_VERBOSE,
    ARG_YES,
    ActionCommand,
    Arg,
    GroupCommand,
)

#: Airflow's class for one argument; it has no annotations.
argument: Any = Arg

PROGRAM = "python -m airflow_provider_firstpromoter"

EXIT_CODES = """
exit codes:
  0  done
  1  an error: it is printed in one line; --verbose prints where it was raised
  2  the arguments cannot be used
  3  done, and something needs attention: a check that failed, a row that would be rejected, a mismatch
"""


def _day(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-11-01") from None


def _day_or_age(text: str) -> datetime | timedelta:
    return _days(text[:-1]) if text[-1:] == "d" else _day(text)


def _days(text: str) -> timedelta:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days")
    return timedelta(days=int(text))


def _parameters(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON") from None


def _call(text: str) -> Any:
    from airflow_provider_firstpromoter.calls import CALLS  # only once a command runs: it imports pydantic

    try:
        return CALLS[text]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither refund nor sale") from None


def _number_or_any(text: str) -> int | None:
    return None if text == "any" else _number(text)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


IDENTITIES = ("uid", "email")
CONN_ID = argument(("conn_id",), metavar="CONN_ID", help="the Airflow connection of type firstpromoter")
LEDGER_CONN_ID = argument(
    ("--ledger-conn-id",), metavar="CONN_ID", help="the ledger's connection; default: the extra's"
)
LEDGER_TABLE = argument(("--ledger-table",), metavar="TABLE", help="the ledger's table; default: the extra's")
CALL = argument(("--call",), type=_call, default="refund", metavar="CALL", help="refund (the default) or sale")
LEDGER = (CONN_ID, CALL, LEDGER_CONN_ID, LEDGER_TABLE)
#: For statements alone, which need no connection.
TABLES = (
    argument(("conn_id",), metavar="CONN_ID", nargs="?", help="the Airflow connection of type firstpromoter"),
    argument(
        ("--dialect",),
        metavar="NAME",
        help="without a connection, for this database: postgresql, mysql, sqlite, duckdb, snowflake",
    ),
    CALL,
    LEDGER_CONN_ID,
    LEDGER_TABLE,
)
SQL = (
    argument(("--sql",), help="the query, or the path of a .sql file"),
    argument(("--sql-conn-id",), metavar="CONN_ID", help="the SQL connection to run it on"),
    argument(("--parameters",), type=_parameters, metavar="JSON", help="its parameters, in the driver's own style"),
)
QUERY = (
    *SQL,
    argument(
        ("--identify-by",), nargs="+", choices=("uid", "email"), default=("uid", "email"), help="as in the operator"
    ),
)


@dataclass(frozen=True)
class _Command:
    """A command before it is handed to Airflow: every one has ``--verbose``, and examples that can be pasted."""

    name: str
    help: str
    function: str
    args: Sequence[Arg]
    examples: str
    description: str = ""

    def run(self, args: argparse.Namespace) -> None:
        """Import the command and run it; Airflow 3.0 logs to standard output while it is imported."""
        module, _, name = self.function.rpartition(".")
        with redirect_stdout(sys.stderr):
            function = getattr(import_module(f"airflow_provider_firstpromoter.cli.{module}"), name)
        function(args)

    def action(self) -> ActionCommand:
        examples = "".join(f"\n  airflow firstpromoter {one}" for one in self.examples.strip().splitlines())
        return ActionCommand(
            name=self.name,
            help=self.help,
            description=f"{self.help}. {self.description}".strip(),
            func=self.run,
            args=(*self.args, ARG_VERBOSE),
            epilog=f"examples:{examples}\n{EXIT_CODES}",
        )


COMMANDS = (
    _Command(
        "check",
        "Check the connection, the ledger and a query",
        "commands.check",
        (*LEDGER, *QUERY, ARG_OUTPUT),
        """
check firstpromoter_default
check firstpromoter_default --sql-conn-id warehouse --sql refunds.sql
""",
        "It reads one promoter and one page of commissions from FirstPromoter, and writes a row to the ledger that it "
        "rolls back.",
    ),
    _Command(
        "preview",
        "Show what a query would send",
        "commands.preview",
        (
            *LEDGER,
            *QUERY,
            argument(("--amount-unit",), choices=("minor", "major"), default="minor", help="as in the operator"),
            argument(("--recheck-unreferred",), type=_days, metavar="DAYS", help="as in the operator, in days"),
            argument(("--retry-rejected",), action="store_true", help="as in the operator"),
            ARG_OUTPUT,
        ),
        "preview firstpromoter_default --sql-conn-id warehouse --sql refunds.sql",
        "Nothing is sent or written.",
    ),
    _Command(
        "report",
        "Show what needs attention, the sums by month and promoter, and the last runs",
        "report.report",
        (
            *LEDGER,
            argument(
                ("--view",),
                choices=("open", "status", "reversed", "earned", "net", "refunds_without_sale", "last_runs"),
                help="only this one, with all its rows: open problems, every event, sums (sales: earned, net), or runs",
            ),
            argument(("--since",), type=_day, metavar="2026-11-01", help="leave out what is older"),
            argument(("--limit",), type=_number, metavar="ROWS", help="of each view; default: 20, or all of --view"),
            ARG_OUTPUT,
            argument(("--csv",), action="store_true", help="as CSV, with all columns"),
        ),
        """
report firstpromoter_default
report firstpromoter_default --view open --output json
report firstpromoter_default --view status --since 2026-11-01 --csv
""",
    ),
    _Command(
        "accept",
        "Accept a changed amount, or a mismatch, as it is",
        "commands.accept",
        (
            *LEDGER,
            argument(("event_ids",), metavar="EVENT_ID", nargs="*", help="accept what is open of this event"),
            argument(
                ("--commission",),
                type=_number,
                action="append",
                default=[],
                metavar="ID",
                help="accept the open mismatches of this commission",
            ),
        ),
        """
accept firstpromoter_default re_1 re_2
accept firstpromoter_default --commission 1234
""",
        "Nothing is sent to FirstPromoter. It is reported again if it changes once more.",
    ),
    _Command(
        "reconcile",
        "Compare the ledger with FirstPromoter's commissions and, with --sql, a query",
        "commands.reconcile",
        (
            *LEDGER,
            argument(
                ("--created-from",),
                type=_day_or_age,
                metavar="DAY",
                help="the first day, or a number of days back such as 35d; default: no beginning",
            ),
            argument(("--created-to",), type=_day, metavar="DAY", help="the last day; default: no end"),
            *SQL,
            argument(("--adopt",), action="store_true", help="write what only FirstPromoter has into the ledger"),
            argument(
                ("--max-mismatches",),
                type=_number_or_any,
                default=0,
                metavar="N",
                help="more than these exit with 3; default: 0; any: never",
            ),
            ARG_OUTPUT,
        ),
        """
reconcile firstpromoter_default --created-from 35d
reconcile firstpromoter_default --created-from 2026-11-01 --created-to 2026-11-30 --output json
reconcile firstpromoter_default --created-from 35d --sql-conn-id warehouse --sql refunds.sql
""",
    ),
    _Command(
        "revert",
        "Deny the commissions that a wrong run made",
        "commands.revert",
        (
            *LEDGER,
            argument(("--event-id",), action="append", metavar="EVENT_ID", help="this event; may be repeated"),
            argument(("--dag-id",), help="with --run-id: what this DAG run sent"),
            argument(("--run-id",), help="with --dag-id"),
            argument(("--sent-from",), metavar="TIME", help="what was first sent at this time or later"),
            argument(("--sent-to",), metavar="TIME", help="with --sent-from: and before this time"),
            argument(
                ("--max-reverted",),
                type=_number,
                metavar="N",
                help="deny, unless there are more; without it nothing is denied, and a preview is printed",
            ),
            ARG_YES,
            ARG_OUTPUT,
        ),
        """
revert firstpromoter_default --dag-id refunds --run-id scheduled__2026-11-25T00:00:00+00:00
revert firstpromoter_default --event-id re_1 --max-reverted 1
""",
        "Pause the DAG, and reconcile first.",
    ),
    _Command(
        "ddl",
        "Print the statements that create the ledger's tables",
        "commands.ddl",
        TABLES,
        """
ddl firstpromoter_default
ddl --dialect postgresql --ledger-table finance.firstpromoter_refunds
""",
    ),
    _Command(
        "views",
        "Print, or run, the statements that create views of the ledger",
        "commands.views",
        (*TABLES, argument(("--apply",), action="store_true", help="run them through the ledger's connection")),
        """
views firstpromoter_default --apply
views --dialect snowflake --ledger-table finance.firstpromoter_refunds
""",
        "They can be run again: an existing view is replaced.",
    ),
)


def get_firstpromoter_cli_commands() -> list[GroupCommand]:
    """Return the commands for Airflow's own parser (Airflow 3.2 and later)."""
    return [
        GroupCommand(
            name="firstpromoter",
            help="Report on refunds and sales, and correct them",
            subcommands=[command.action() for command in COMMANDS],
        )
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, on every version of Airflow."""
    (group,) = get_firstpromoter_cli_commands()
    parser = argparse.ArgumentParser(prog=PROGRAM, description=group.help)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in group.subcommands:
        subparser = commands.add_parser(
            command.name,
            help=command.help,
            description=command.description,
            epilog=command.epilog.replace("airflow firstpromoter", PROGRAM),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for arg in command.args:
            arg.add_to_parser(subparser)
        subparser.set_defaults(func=command.func)
    options = parser.parse_args(arguments)
    options.func(options)
