"""The command line of the sandbox: ``python -m airflow_provider_firstpromoter.sandbox``."""

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
        raise argparse.ArgumentTypeError(f"{text!r} has no API key")
    try:
        return Account(account_id, *rest)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_settings(arguments: list[str]) -> Settings:
    """
    Parse the command line.

    :param arguments: the arguments of the command line
    :return: the settings that they describe
    :raises SystemExit: if an argument is invalid, after printing the reason, or if the user asks for help
    """
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_firstpromoter.sandbox",
        description="A FirstPromoter server to develop and test against.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on")
    add("--port", type=int, default=8765, help="the port to listen on; 0 selects a free port")
    add("--allow-remote", action="store_true", help="allow a --host that other machines can reach")
    add("--account-id", default=Account.id, help="the id of the first account")
    add("--api-key", default=Account.api_key, help="the API key of the first account")
    add("--currency", default=Account.currency, help="the currency of the first account")
    add(
        "--account",
        type=_parse_account,
        action="append",
        default=[],
        metavar="ID:KEY[:CURRENCY]",
        help="another account; can be repeated",
    )
    add("--state", default="memory", metavar="FILE", help="store the data in this SQLite file")
    add("--requests-per-minute", type=int, default=400, help="the requests per account and window; 0 is no limit")
    add("--window-seconds", type=float, default=60.0, help="the length of the sliding window of the rate limit")
    choices = ["none", "seconds", "date"]
    add("--retry-after", choices=choices, default="none", help="the form of a 429's Retry-After header")
    add(
        "--consume-event-id-on-204",
        action="store_true",
        help="mark the event_id as used when a lead without a sale is answered with 204",
    )
    add(
        "--lead-first",
        action="store_true",
        help="look for the lead of a refund before its event_id, and answer 404 or 204 where others answer 409",
    )
    add(
        "--shape",
        choices=["older", "newer"],
        default="older",
        help="the shape of a refund's 200: one reward with lead and promoter, or a list of commissions",
    )
    add(
        "--listing-lag-seconds",
        type=float,
        default=0.0,
        help="the seconds for which the list of commissions omits a new commission",
    )
    add(
        "--listing-lag-requests",
        type=int,
        default=0,
        help="the number of requests for the list of commissions that omit a new commission",
    )
    add("--batch-seconds", type=float, default=0.5, help="the seconds that a batch of more than 5 commissions takes")
    add(
        "--batch-polls",
        type=int,
        default=0,
        help="complete a batch after this number of requests for it, and not by time; 0 is by time",
    )
    add("--commission-percent", type=int, default=20, help="the percentage of a sale that its promoter earns")
    add("--seed", type=int, default=0, help="the seed of random faults; the same seed repeats the same faults")
    options = parser.parse_args(arguments)
    if not _is_loopback(options.host) and not options.allow_remote:
        parser.error(f"{options.host} can be reached from other machines; add --allow-remote to allow this")
    try:
        return Settings(
            accounts=(Account(options.account_id, options.api_key, options.currency), *options.account),
            requests_per_minute=options.requests_per_minute,
            window_seconds=options.window_seconds,
            retry_after=options.retry_after,
            consume_event_id_on_204=options.consume_event_id_on_204,
            lead_first=options.lead_first,
            shape=options.shape,
            listing_lag_seconds=options.listing_lag_seconds,
            listing_lag_requests=options.listing_lag_requests,
            batch_seconds=options.batch_seconds,
            batch_polls=options.batch_polls,
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
    """Print the URL of the sandbox and the credentials of its first account."""
    console = Console(highlight=False, soft_wrap=True)
    if not _is_loopback(sandbox.settings.host):
        console.print("[bold red]WARNING: anyone who can reach this machine can use and control this sandbox.[/]")
    console.print(
        f"FirstPromoter sandbox at [bold]{sandbox.base_url}[/]"
        f" (Account-ID {sandbox.account_id}, API key {sandbox.api_key}); press Ctrl-C to stop it"
    )


def main() -> None:
    """Serve the API until a signal stops the process."""
    settings = parse_settings(sys.argv[1:])
    try:
        sandbox, server, listener = prepare_server(settings)
    except OSError as error:
        sys.exit(f"The sandbox cannot listen on {settings.host}:{settings.port}: {error.strerror}")
    except sqlite3.Error as error:
        sys.exit(f"The sandbox cannot store its data in {settings.state}: {error}")
    announce(sandbox)
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn handles both signals while it serves and raises them again afterwards, which would end in an error.
        signal.signal(signal_number, signal.SIG_IGN)
    server.run([listener])
    sandbox.store.close()


if __name__ == "__main__":
    main()
