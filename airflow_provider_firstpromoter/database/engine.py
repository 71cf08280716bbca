"""Any Airflow SQL connection as a SQLAlchemy engine, and its errors in words that leak nothing."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, BaseHook
from airflow.providers.common.sql.hooks.sql import DbApiHook

from airflow_provider_firstpromoter.refunds import masked

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

#: At DEBUG SQLAlchemy logs every row that it reads, e-mails and all; its statements, without values, may be seen.
LOGGING_NAME = "firstpromoter"
logging.getLogger(f"sqlalchemy.engine.Engine.{LOGGING_NAME}").addFilter(lambda record: record.levelno > logging.DEBUG)

#: How databases name a value that they could not take. Greedy, because they do not escape quotes in it; names of
#: tables and columns follow other words.
_VALUE = re.compile(r"""(: |\b(?:value|string|entry|literal|input|text) )(["']).*\2|(\bvalue: ).*""", re.IGNORECASE)


def engine_for(conn_id: str) -> Engine:
    """
    An engine for an Airflow SQL connection.

    :param conn_id: any connection whose hook is a ``DbApiHook``
    :raises AirflowException: if it is of another kind
    """
    hook: Any = BaseHook.get_connection(conn_id).get_hook()  # type: ignore[no-untyped-call]
    if not isinstance(hook, DbApiHook):
        raise AirflowException(
            f"Connection {conn_id!r} is not a SQL database: its hook, {type(hook).__name__}, is no DbApiHook"
        )
    # Without "hide_parameters" database errors would print the values that were bound;
    # without "creator" the connection's extras (sslmode, options) would be lost.
    options = {"hide_parameters": True, "future": True, "logging_name": LOGGING_NAME, "creator": hook.get_conn}
    if hook.conn_type == "duckdb":
        # It has no such extras, and its SQLAlchemy driver works with connections of its own only.
        del options["creator"]
    engine: Engine = hook.get_sqlalchemy_engine(options)
    return engine


def first_line(error: Exception) -> str:
    """What a database said, in one bounded line without statement, values or e-mails."""
    said = str(getattr(error, "orig", None) or error)
    line = _VALUE.sub(r"\1\3***", said.strip().splitlines()[0]) if said.strip() else None
    return masked(line) or type(error).__name__
