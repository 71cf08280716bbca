"""
The errors that a DAG author can meet.

Errors that a retry cannot fix are subclasses of ``AirflowFailException``: Airflow fails the task at once.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException


class ConnectionSettingsError(AirflowFailException):
    """A field of the Airflow connection is missing or unusable; names the connection and the field."""


class AccessRefusedError(AirflowFailException):
    """
    FirstPromoter answered 401 or 403: the API key or the Account ID is wrong, or the key lacks the permission.

    ``lost`` and ``unmatched`` say of the refund that was under way what :class:`SyncInterruptedError` does.
    """

    lost = False
    unmatched = False


class RefundInputError(AirflowFailException):
    """The input does not hold refunds: it is a text, lacks or repeats a column, or is a statement without rows."""


class RefundsRejectedError(AirflowFailException):
    """More refunds were rejected or changed than ``max_rejected`` allows; all others were sent."""


class ReconciliationMismatchError(AirflowFailException):
    """The ledger and FirstPromoter's commissions differ in more refunds than ``max_mismatches`` allows."""


class RunRefusedError(AirflowFailException):
    """
    The run was refused before it changed anything: more refunds are pending than ``max_pending`` allows, or would be
    reverted than ``max_reverted`` allows.
    """


class RefundsFailedError(AirflowException):
    """Some refunds could not be sent or reverted, or the run stopped early; a retry does the rest."""


class SyncInterruptedError(AirflowException):
    """
    The task was killed; what was known by then is in the ledger, and a retry sends the rest.

    ``lost`` says whether a request was under way whose response is not known, and ``unmatched`` whether one of the
    refund's own requests got a 204 or 404.
    """

    lost = False
    unmatched = False


class ReadError(AirflowException):
    """FirstPromoter's commissions could not be read."""


class LedgerError(AirflowException):
    """The ledger's database returned an error, or a table lacks columns; the message says what to do."""


class SourceError(AirflowException):
    """The warehouse refused the query; the message quotes its error, without values."""


class SpoolError(AirflowException):
    """The rows of the run could not be stored on the worker's disk."""
