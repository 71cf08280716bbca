"""Opens the database of an Airflow connection: its hook, a SQLAlchemy engine, and its errors as the provider's own."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, BaseHook
from airflow.providers.common.sql.hooks.sql import DbApiHook
from sqlalchemy import __version__ as sqlalchemy_version
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, SQLAlchemyError

from airflow_provider_firstpromoter.calls import masked
from airflow_provider_firstpromoter.database.dialects import LEDGER_DATABASES, DatabaseKind, kind_of_connection
from airflow_provider_firstpromoter.database.drivers import run
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

#: At DEBUG SQLAlchemy logs every row that it reads, with e-mails; its statements, without values, may be logged.
LOGGING_NAME = "firstpromoter"
logging.getLogger(f"sqlalchemy.engine.Engine.{LOGGING_NAME}").addFilter(lambda record: record.levelno > logging.DEBUG)


#: How databases name a value that they could not take. Greedy, because they do not escape quotes in it; names of
#: tables and columns follow other words.
_VALUE = re.compile(r"""(: |\b(?:value|string|entry|literal|input|text) )(["']).*\2|(\bvalue: ).*""", re.IGNORECASE)
#: The login of a URL, which errors about connections may quote.
_LOGIN = re.compile(r"://[^/\s]*@")


def first_line(error: BaseException) -> str:
    """
    Return a database's, driver's or hook's error message as one short line without statements, values, e-mails or
    passwords.

    An exception that does not come from a database, such as a ``KeyError`` inside a driver, is named by its class.
    """
    cause = getattr(error, "orig", None) or error
    text = str(cause).strip()
    line = masked(_LOGIN.sub("://***@", _VALUE.sub(r"\1\3***", text.splitlines()[0]))) if text else None
    name = type(cause).__name__
    if line is None:
        return name
    return f"{name}: {line}" if isinstance(cause, _BUILT_IN) else line


#: Exceptions whose text alone does not say what they are.
_BUILT_IN = (LookupError, AttributeError, TypeError, ValueError, ImportError, NotImplementedError)


def may_refuse_a_value(error: BaseException, failed_checks: Collection[int]) -> bool:
    """
    Return whether a database may have refused a value, and not the connection, a lock or the statement.

    :param failed_checks: :attr:`LedgerSql.failed_checks` of the database
    """
    if not isinstance(error, DBAPIError):
        return isinstance(error, SQLAlchemyError | ValueError)  # a driver's UnicodeEncodeError is a ValueError
    if error.connection_invalidated:
        return False
    # Class 22 of SQL's own states is "data exception"; Snowflake's driver raises it as a ProgrammingError.
    if str(getattr(error.orig, "sqlstate", None) or "").startswith("22"):
        return True
    if isinstance(error, OperationalError):
        return bool(error.orig and error.orig.args and error.orig.args[0] in failed_checks)
    return not isinstance(error, ProgrammingError)


@contextmanager
def errors_as(error_class: type[AirflowException], problem: str) -> Iterator[None]:
    """
    Turn any error inside the block into an error of the provider; Airflow's and the provider's own pass unchanged.

    :param error_class: the class of the error that is raised
    :param problem: what failed, the beginning of its message; the database's own message follows
    """
    try:
        yield
    except AirflowException:
        raise
    except Exception as error:
        raise error_class(f"{problem}: {first_line(error)}") from None


def hook_for(conn_id: str) -> tuple[Any, DatabaseKind]:
    """
    Return the SQL hook of an Airflow connection, and the kind of its database.

    :raises ConnectionSettingsError: if no hook for SQL is installed for the connection's type
    """
    connection = BaseHook.get_connection(conn_id)
    conn_type = str(connection.conn_type)
    kind = kind_of_connection(conn_type)
    try:
        if kind.hook:
            module, _, name = kind.hook.rpartition(".")
            hook_class = getattr(import_module(module), name)
            hook = hook_class(**{hook_class.conn_name_attr: conn_id}, **kind.hook_options)
        else:
            hook = connection.get_hook()  # type: ignore[no-untyped-call]
    except (AirflowException, ImportError, AttributeError) as error:
        raise ConnectionSettingsError(
            f"Connection {conn_id!r} has the type {conn_type!r}, for which no SQL hook is installed "
            f"({first_line(error)}). Install the Airflow provider of this database"
        ) from None
    if not isinstance(hook, DbApiHook):
        raise ConnectionSettingsError(
            f"Connection {conn_id!r} is not a SQL database: its type {conn_type!r} leads to {type(hook).__name__}, "
            "which is not a DbApiHook. Name a connection to the database"
        )
    if not kind.conn_types:
        # A hook of the user's own may be a subclass of a known one.
        known = (kind_of_connection(str(getattr(base, "conn_type", ""))) for base in type(hook).__mro__)
        kind = next((one for one in known if one.conn_types), kind)
    return hook, kind


def engine_for(conn_id: str) -> Engine:
    """
    Return an engine for the tables that the provider keeps in the database of an Airflow connection.

    :raises ConnectionSettingsError: if the database cannot hold the ledger, or SQLAlchemy cannot be used with it
    """
    hook, kind = hook_for(conn_id)
    if kind.ledger is None:
        raise ConnectionSettingsError(
            f"Connection {conn_id!r} leads to {kind.title}, where the ledger cannot live. Set 'ledger_conn_id' to a "
            f"connection to one of: {LEDGER_DATABASES}"
        )
    return make_engine(conn_id, hook, kind)


def make_engine(conn_id: str, hook: Any, kind: DatabaseKind) -> Engine:
    """
    Return an engine that opens its connections as the hook does.

    :raises ConnectionSettingsError: if SQLAlchemy has no working dialect for the database
    """
    # Without "hide_parameters" database errors would print the values that were bound;
    # without "creator" the connection's extras (sslmode, options) would be lost.
    options: dict[str, Any] = {"hide_parameters": True, "future": True, "logging_name": LOGGING_NAME}
    options["pool_pre_ping"] = True  # a connection that was dropped between two batches is opened again
    connect = (kind.ledger and kind.ledger.connect) or kind.connect
    if connect is not None:
        options["creator"] = partial(connect, hook)
    try:
        engine: Engine = hook.get_sqlalchemy_engine(options)
    except Exception as error:
        # Dialects that are missing, or made for another SQLAlchemy, raise all kinds of errors.
        advice = f"; {kind.install}" if kind.install else ""
        raise ConnectionSettingsError(
            f"Connection {conn_id!r}: SQLAlchemy {sqlalchemy_version} cannot be used with {kind.title} "
            f"({first_line(error)}){advice}"
        ) from None
    if kind.ledger is not None:
        # Before SQLAlchemy's own look at the connection, which some encodings end with an error of their own.
        event.listen(engine, "connect", partial(_prepare, conn_id, kind), insert=True)
    return engine


def _prepare(conn_id: str, kind: DatabaseKind, connection: Any, _: Any) -> None:
    """Bound the waits of a new connection, and refuse a database that cannot store every text."""
    assert kind.ledger is not None
    if encoding := kind.ledger.narrow_encoding(connection):
        raise ConnectionSettingsError(
            f"Connection {conn_id!r}: the database has the encoding {encoding}, which cannot store every text. The "
            "ledger needs Unicode: set 'ledger_conn_id' to a connection to a database whose encoding is UTF8"
        )
    for statement in kind.ledger.session:
        run(connection, statement)
    if kind.ledger.session:
        connection.commit()
