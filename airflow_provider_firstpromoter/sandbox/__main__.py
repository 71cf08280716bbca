"""The command line of the sandbox: ``python -m airflow_provider_firstpromoter.sandbox``."""

from __future__ import annotations

import argparse
import ipaddress
import signal
import sqlite3
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from rich.console import Console

from airflow_provider_firstpromoter.sandbox.app import Sandbox
from airflow_provider_firstpromoter.sandbox.server import prepare_server
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings


def _parse_account(text: str) -> Account:
    account_id, _, key_and_currency = text.partition(":")
    api_key, _, currency = key_and_currency.partition(":")
    if not api_key:
        raise argparse.ArgumentTypeError(f"{text!r} has no API key")
    try:
        return Account(account_id, api_key, currency or Account.currency)
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
    add("--allow-remote", action="store_true", help="allow a --host that other machines can reach")
    described = [field for field in fields(Settings) if isinstance(field.default, FieldInfo)]
    for field in described:
        _add_setting(parser, field.name, field.default)
    parser.set_defaults(port=8765)
    options = parser.parse_args(arguments)
    if not _is_loopback(options.host) and not options.allow_remote:
        parser.error(f"{options.host} can be reached from other machines; add --allow-remote to allow this")
    try:
        return Settings(
            accounts=(Account(options.account_id, options.api_key, options.currency), *options.account),
            state=None if options.state == "memory" else Path(options.state),
            **{field.name: getattr(options, field.name) for field in described},
        )
    except ValidationError as error:
        parser.error("; ".join(f"{'.'.join(map(str, each['loc']))} {each['msg']}" for each in error.errors()))
    except ValueError as error:
        parser.error(str(error))


def _add_setting(parser: argparse.ArgumentParser, name: str, setting: Any) -> None:
    """Add the option of a field of :class:`Settings` that has a description."""
    option, default = f"--{name.replace('_', '-')}", setting.default
    if isinstance(default, bool):
        parser.add_argument(option, action="store_true", help=setting.description)
        return
    kind = get_type_hints(Settings)[name]
    choices = get_args(kind) if get_origin(kind) is Literal else None
    parser.add_argument(option, type=type(default), default=default, choices=choices, help=setting.description)


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
