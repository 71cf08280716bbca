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
from airflow_provider_firstpromoter.sandbox.server import prepare_server
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings


def _parse_account(text: str) -> Account:
    account_id, *rest = text.split(":", 2)
    if not rest:
        raise argparse.ArgumentTypeError(f"{text!r} has no key")
    try:
        return Account(account_id, *rest)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_settings(arguments: list[str]) -> Settings:
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
        type=_parse_account,
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
        "--consume-event-id-on-204",
        action="store_true",
        help="let the 204 for a lead that never bought use up the event_id",
    )
    add("--commission-percent", type=int, default=20, help="the share of a sale that its promoter earns")
    add("--seed", type=int, default=0, help="makes random faults the same again")
    options = parser.parse_args(arguments)
    if not _is_loopback(options.host) and not options.allow_remote:
        parser.error(f"{options.host} can be reached from other machines: add --allow-remote if you mean it")
    try:
        return Settings(
            accounts=(Account(options.account_id, options.api_key, options.currency), *options.account),
            requests_per_minute=options.requests_per_minute,
            window_seconds=options.window_seconds,
            retry_after=options.retry_after,
            consume_event_id_on_204=options.consume_event_id_on_204,
            commission_percent=options.commission_percent,
            state=None if options.state == "memory" else Path(options.state),
            seed=options.seed,
            host=options.host,
            port=options.port,
        )
    except ValueError as error:
        parser.error(str(error))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def announce(sandbox: Sandbox) -> None:
    """Say where the sandbox is, and what it asks of callers."""
    console = Console(highlight=False, soft_wrap=True)
    if not _is_loopback(sandbox.settings.host):
        console.print("[bold red]WARNING: everybody who can reach this machine can reach and steer this sandbox.[/]")
    console.print(
        f"FirstPromoter sandbox at [bold]{sandbox.base_url}[/]"
        f" (Account-ID {sandbox.account_id}, key {sandbox.api_key}); Ctrl-C ends it"
    )


def main() -> None:
    """Serve until interrupted."""
    settings = parse_settings(sys.argv[1:])
    try:
        sandbox, server, listener = prepare_server(settings)
    except OSError as error:
        sys.exit(f"The sandbox cannot listen on {settings.host}:{settings.port}: {error.strerror}")
    except sqlite3.Error as error:
        sys.exit(f"The sandbox cannot keep its books in {settings.state}: {error}")
    announce(sandbox)
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn handles both while it serves, and raises them again afterwards, where they would be a failure.
        signal.signal(signal_number, signal.SIG_IGN)
    server.run([listener])
    sandbox.store.close()


if __name__ == "__main__":
    main()
