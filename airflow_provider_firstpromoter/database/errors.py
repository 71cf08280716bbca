"""Turns errors of databases, drivers and hooks into the provider's own: one line, without statements or values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowException
from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_firstpromoter.calls import masked

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


__all__ = ["SQLAlchemyError", "errors_as", "first_line"]
