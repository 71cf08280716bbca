"""Reads and checks an Airflow connection of type ``firstpromoter``: the account, its key, and how fast to send."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow import __version__ as airflow_version
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from airflow_provider_firstpromoter.calls import REFUND, Call
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError

PUBLIC_HOST = "api.firstpromoter.com"
DEFAULT_PATH = "/api/v2"

_DEFAULT_PORTS = {"https": 443, "http": 80}

#: A form, a URI and an environment variable give an empty field as ''.
_empty_is_absent = BeforeValidator(lambda value: None if value == "" else value)


def _reject_bool(value: Any) -> Any:
    """Reject true, which pydantic would accept as 1."""
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not true or false")
    return value


_no_bool = BeforeValidator(_reject_bool)


class Extra(BaseModel):
    """
    The extra fields of the connection.

    :param ledger_conn_id: the Airflow connection of the database that holds the ledger
    :param ledger_table: the name of the table of the refunds' ledger, with its schema if it needs one; that of the
        sales is ``firstpromoter_sales`` in the same schema
    :param currency: the account's currency, used for rows in major units that have no currency
    :param requests_per_minute: how many requests this process may send in a minute; the account's limit is shared by
        all its clients
    :param timeout: seconds to wait for a connection, and again for the whole response
    :param max_attempts: how often one request is sent at most; a 429 does not count
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    ledger_conn_id: Annotated[str | None, _empty_is_absent] = None
    ledger_table: Annotated[str, Field(min_length=1)] = REFUND.ledger_table
    currency: Annotated[str | None, _empty_is_absent, Field(pattern=r"^[A-Za-z]{3}$")] = None
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000), _no_bool] = 400
    timeout: Annotated[float, Field(ge=0.1, le=600), _no_bool] = 30.0
    max_attempts: Annotated[int, Field(ge=1, le=20), _no_bool] = 6

    @field_validator("currency")
    @classmethod
    def _upper_case(cls, value: str | None) -> str | None:
        return value.upper() if value else None


class Account(BaseModel):
    """
    A FirstPromoter account, as an Airflow connection describes it.

    :param conn_id: the id of the Airflow connection
    :param account_id: the value of the ``Account-ID`` header
    :param api_key: the bearer token in the ``Authorization`` header
    :param base_url: the API's base URL, without a slash at its end
    :param extra: the extra fields of the connection
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    conn_id: str
    account_id: str
    api_key: SecretStr
    base_url: str
    extra: Extra

    @property
    def host(self) -> str:
        """The API's host with its port, as messages name it."""
        url = urlsplit(self.base_url)
        return url.netloc if url.port else f"{url.netloc}:{_DEFAULT_PORTS[url.scheme]}"

    @property
    def key(self) -> str:
        """
        The ledger's name for the account: its ID, with host, port and path where they are not the public API's.

        Another base URL is another account, so that what a staging gateway has settled is still sent to production.
        """
        url = urlsplit(self.base_url)
        port = "" if url.port in (None, _DEFAULT_PORTS[url.scheme]) else f":{url.port}"
        path = "" if url.path == DEFAULT_PATH else url.path
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        where = f"{host}{port}{path}"
        return self.account_id if where == PUBLIC_HOST else f"{self.account_id}@{where}"

    def ledger_table(self, call: Call) -> str:
        """Return the name of a call's ledger: the refunds' is in the extra, and the others are beside it."""
        name = self.extra.ledger_table
        return name if call == REFUND else f"{name[: name.rfind('.') + 1]}{call.ledger_table}"

    def command_line(
        self,
        command: str,
        *arguments: str,
        ledger_conn_id: str | None = None,
        ledger_table: str | None = None,
        call: Call = REFUND,
    ) -> str:
        """
        Return a command of this provider, ready to paste into a shell.

        :param arguments: event_ids; quoted where the shell needs it
        :param ledger_conn_id: named where it is not the one in the connection's extra
        :param ledger_table: likewise
        """
        words = ["airflow", "firstpromoter"]
        if tuple(map(int, airflow_version.split(".")[:2])) < (3, 2):  # its own command knows none of providers
            words = ["python", "-m", "airflow_provider_firstpromoter"]
        words.append(command)
        if call != REFUND:
            words += ["--call", call.name]
        # Options first: argparse refuses event_ids that an option parts from the connection.
        if ledger_conn_id not in (None, self.extra.ledger_conn_id):
            words += ["--ledger-conn-id", str(ledger_conn_id)]
        if ledger_table not in (None, self.ledger_table(call)):
            words += ["--ledger-table", str(ledger_table)]
        words.append(self.conn_id)
        if any(one.startswith("-") for one in arguments):
            words.append("--")
        return shlex.join([*words, *arguments])

    @classmethod
    def from_connection(cls, connection: Any) -> Account:
        """
        Read an Airflow connection, whether it was made by the form, JSON or a URI.

        :param connection: its login is the Account ID, its password the API key, its host the API's base URL or empty
        :raises ConnectionSettingsError: if a field is unusable; the error names the connection and the field
        """
        conn_id = connection.conn_id or "(unsaved)"
        return cls(
            conn_id=conn_id,
            account_id=_header_value(conn_id, "login (Account ID)", connection.login),
            api_key=SecretStr(_header_value(conn_id, "password (API key)", connection.password)),
            base_url=_base_url(conn_id, connection.host, connection.port, connection.schema),
            extra=_extra(conn_id, connection),
        )


def _header_value(conn_id: str, field: str, value: str | None) -> str:
    """Check that a value can be used in a header: a line break could inject another header."""
    if not value:
        raise ConnectionSettingsError(
            f"Connection {conn_id!r}: {field} is empty; FirstPromoter shows it under Settings > Integrations"
        )
    value = str(value)  # JSON has numbers, and an Account ID may look like one
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ConnectionSettingsError(
            f"Connection {conn_id!r}: {field} holds white space or a character that is not ASCII"
        )
    return value


def _base_url(conn_id: str, host: str | None, port: int | None, path: str | None) -> str:
    def wrong(what: str) -> ConnectionSettingsError:
        return ConnectionSettingsError(f"Connection {conn_id!r}: host (API base URL) {what}")

    if (path or "").lower() in ("http", "https"):
        raise ConnectionSettingsError(
            f"Connection {conn_id!r}: schema is the URL's path here; write the scheme in front of the host"
        )
    host = host or PUBLIC_HOST
    if "://" not in host and host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"  # an IPv6 address that a URI gave without its brackets
    try:
        url = urlsplit(host if "://" in host else f"https://{host}")
        hostname, own_port = (url.hostname or "").rstrip("."), url.port
    except ValueError:
        raise wrong("is not a URL") from None
    if url.scheme not in ("http", "https"):
        raise wrong("must begin with https:// (or http:// for a host of this machine)")
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", hostname):
        raise wrong("has no usable host name")
    if url.username or url.password or url.query or url.fragment:
        raise wrong("must be scheme, host, port and path only")
    if url.scheme == "http" and not _is_loopback(hostname):
        raise wrong("must use https: over plain http the API key could be read on the way")
    path = (url.path.strip("/") or (path or "").strip("/")) or DEFAULT_PATH.strip("/")
    if not re.fullmatch(r"[A-Za-z0-9._~/-]+", path):
        raise wrong("has an unusable path")
    shown = f"[{hostname}]" if ":" in hostname else hostname
    port = own_port if own_port is not None else port
    if port is not None and not (isinstance(port, int) and 0 < port < 2**16):
        raise ConnectionSettingsError(f"Connection {conn_id!r}: port must be between 1 and 65535, not {port}")
    return f"{url.scheme}://{shown}{f':{port}' if port else ''}/{path}"


def _is_loopback(hostname: str) -> bool:
    if hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False


def _extra(conn_id: str, connection: Any) -> Extra:
    extra = connection.extra_dejson
    # Airflow 2.11 reads an extra that is not JSON as an empty one; the ledger would silently not be found.
    if not isinstance(extra, Mapping) or (not extra and (connection.extra or "").strip(" {}\n\r\t")):
        raise ConnectionSettingsError(f"Connection {conn_id!r}: extra is not a JSON object")
    given = {name: value for name in Extra.model_fields if (value := extra.get(name)) not in (None, "")}
    try:
        return Extra.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise ConnectionSettingsError(
            f"Connection {conn_id!r}: extra field {field!r} is unusable: {first['msg']}"
        ) from None
