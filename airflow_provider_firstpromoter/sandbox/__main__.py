"""``python -m airflow_provider_firstpromoter.sandbox``"""

from __future__ import annotations

import argparse
import ipaddress
import signal
import sqlite3
import sys
from pathlib import Path

from rich.console import Console

from airflow_provider_firstpromoter.sandbox.app import Sandbox
from airflow_provider_firstpromoter.sandbox.server import prepared
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings


def _account(text: str) -> Account:
    number, *rest = text.split(":", 2)
    if not rest:
        raise argparse.ArgumentTypeError(f"{text!r} has no key")
    try:
        return Account(number, *rest)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def settings_from(arguments: list[str]) -> Settings:
    """
    :param arguments: of the command line
    :raises SystemExit: they make no sense, and the user has been told so; or they ask for help
    """
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_firstpromoter.sandbox",
        description="A FirstPromoter to develop and test against.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on")
    add("--port", type=int, default=8765, help="the port to listen on; 0 takes a free one")
    add("--allow-remote", action="store_true", help="permit a --host that other machines can reach")
    add("--account-id", default=Account.id, help="of the first account")
    add("--api-key", default=Account.api_key, help="of the first account")
    add("--currency", default=Account.currency, help="of the first account's books")
    add(
        "--account",
        type=_account,
        action="append",
        default=[],
        metavar="ID:KEY[:CURRENCY]",
        help="a further account; may be repeated",
    )
    add("--state", default="memory", metavar="FILE", help="keep the books in this SQLite file")
    add("--requests-per-minute", type=int, default=400, help="the limit of an account in one window; 0 is none")
    add("--window-seconds", type=float, default=60.0, help="the length of the sliding window")
    add("--retry-after", choices=["none", "seconds", "date"], default="none", help="what a 429 carries")
    add(
        "--unbought-uses-event-id",
        action="store_true",
        help="let the 204 for a lead that never bought use up the event_id",
    )
    add("--commission-percent", type=int, default=20, help="the share of a sale that its promoter earns")
    add("--seed", type=int, default=0, help="makes random faults the same again")
    given = parser.parse_args(arguments)
    if not _loopback(given.host) and not given.allow_remote:
        parser.error(f"{given.host} can be reached from other machines: add --allow-remote if you mean it")
    try:
        return Settings(
            accounts=(Account(given.account_id, given.api_key, given.currency), *given.account),
            requests_per_minute=given.requests_per_minute,
            window_seconds=given.window_seconds,
            retry_after=given.retry_after,
            unbought_uses_event_id=given.unbought_uses_event_id,
            commission_percent=given.commission_percent,
            state=None if given.state == "memory" else Path(given.state),
            seed=given.seed,
            host=given.host,
            port=given.port,
        )
    except ValueError as error:
        parser.error(str(error))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def announce(sandbox: Sandbox) -> None:
    """Say where the sandbox is, and what it asks of callers."""
    console = Console(highlight=False, soft_wrap=True)
    if not _loopback(sandbox.settings.host):
        console.print("[bold red]WARNING: everybody who can reach this machine can reach and steer this sandbox.[/]")
    console.print(
        f"FirstPromoter sandbox at [bold]{sandbox.base_url}[/]"
        f" (Account-ID {sandbox.account_id}, key {sandbox.api_key}); Ctrl-C ends it"
    )


def main() -> None:
    """Serve until interrupted."""
    settings = settings_from(sys.argv[1:])
    try:
        sandbox, server, listener = prepared(settings)
    except OSError as error:
        sys.exit(f"The sandbox cannot listen on {settings.host}:{settings.port}: {error.strerror}")
    except sqlite3.Error as error:
        sys.exit(f"The sandbox cannot keep its books in {settings.state}: {error}")
    announce(sandbox)
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn handles both while it serves, and raises them again afterwards, where they would be a failure.
        signal.signal(number, signal.SIG_IGN)
    server.run([listener])
    sandbox.books.close()


if __name__ == "__main__":
    main()
