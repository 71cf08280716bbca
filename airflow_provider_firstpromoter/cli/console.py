"""What every command does: it finds the connections that Airflow's own commands find, and prints errors in one line."""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException
from airflow.providers_manager import ProvidersManager

from airflow_provider_firstpromoter.calls import masked
from airflow_provider_firstpromoter.database import first_line
from airflow_provider_firstpromoter.exceptions import EventsRejectedError, ReconciliationMismatchError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger

PACKAGE = "airflow_provider_firstpromoter"
LOG = logging.getLogger(f"{PACKAGE}.cli")

ERROR, ATTENTION = 1, 3

Command = Callable[[Namespace], int | None]


def command(function: Command) -> Callable[[Namespace], None]:
    """
    Make a function a command: what it returns is the exit code, and an error ends it with one line.

    Meanwhile standard output is standard error, lest what Airflow logs gets between the rows: :func:`printing` is the
    way to the former.
    """

    @wraps(function)
    def run(args: Namespace) -> None:
        args.out = sys.stdout
        with redirect_stdout(sys.stderr), _as_server(), _logging(verbose=args.verbose):
            ProvidersManager().initialize_providers_configuration()  # type: ignore[no-untyped-call]
            try:
                code = function(args)
            except KeyboardInterrupt:
                sys.exit("Interrupted. What was done by then is in the ledger; run it again for the rest")
            except BrokenPipeError:  # `| head` has enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), args.out.fileno())
                sys.exit(ERROR)
            except Exception as error:
                LOG.debug("The command failed", exc_info=True)
                print(_message(error), file=sys.stderr)
                sys.exit(ATTENTION if isinstance(error, EventsRejectedError | ReconciliationMismatchError) else ERROR)
        if code:
            sys.exit(code)

    return run


def _message(error: Exception) -> str:
    """Return an error as one line; statements that it advises to run are further ones."""
    if isinstance(error, AirflowException):
        return str(error)
    if isinstance(error, ValueError | OSError):
        return str(masked(str(error).split("\n", 1)[0]))
    return f"{type(error).__name__}: {first_line(error)}"


@contextmanager
def _as_server() -> Iterator[None]:
    """Let the Task SDK read connections from Airflow's database too, as Airflow's own commands do."""
    name = "_AIRFLOW_PROCESS_CONTEXT"
    before = os.environ.get(name)
    os.environ[name] = "server"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


class _WithoutTraceback(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage()


@contextmanager
def _logging(*, verbose: bool) -> Iterator[None]:
    """Log to standard error: what this provider does, and warnings of everything else."""
    root, ours = logging.getLogger(), logging.getLogger(PACKAGE)
    handlers, level = root.handlers, ours.level
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(
        lambda record: verbose or record.levelno >= (logging.INFO if record.name.startswith(PACKAGE) else logging.ERROR)
    )
    if not verbose:  # Airflow 2 logs a traceback where its database cannot be read
        handler.setFormatter(_WithoutTraceback())
    root.handlers = [handler]
    ours.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        root.handlers = handlers
        ours.setLevel(level)


@contextmanager
def opened(args: Namespace) -> Iterator[tuple[FirstPromoterHook, Ledger]]:
    """Open the account and the ledger that the arguments name."""
    hook = FirstPromoterHook(args.conn_id)
    with Ledger.required(hook.account, args.ledger_conn_id, args.ledger_table, call=args.call) as ledger:
        yield hook, ledger


def printing(args: Namespace) -> redirect_stdout[Any]:
    """Print to standard output in this block."""
    return redirect_stdout(args.out)


def print_rows(args: Namespace, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as Airflow's own commands do."""
    with printing(args):
        console().print_as(rows, args.output)


def print_report(args: Namespace, text: str, values: dict[str, Any]) -> None:
    """Print what a run did: as its log says it, or all of its values."""
    with printing(args):
        if args.output in ("json", "yaml"):
            getattr(console(), f"print_as_{args.output}")(values)
        else:
            print(text)


def console() -> Any:
    """Return Airflow's own printer."""
    from airflow.cli.simple_table import AirflowConsole

    return AirflowConsole(markup=False, emoji=False, highlight=False)  # ids and reasons are text
