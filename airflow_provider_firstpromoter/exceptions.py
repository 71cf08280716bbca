"""The few errors that a DAG author can meet. Those that no retry can mend fail the task at once."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException


class ConnectionSettingsError(AirflowFailException):
    """The Airflow connection lacks something or holds something unusable; names it and the field."""


class AccessRefusedError(AirflowFailException):
    """FirstPromoter answered 401 or 403: the key or the Account ID is wrong, or the key may not do this."""


class RefundInputError(AirflowFailException):
    """What was given is not refunds: a text, a column missing, a query that returns no rows at all."""


class RefundsRejectedError(AirflowFailException):
    """More refunds were rejected or changed than ``max_rejected`` allows; all others have been sent."""


class ReconciliationMismatchError(AirflowFailException):
    """The ledger and FirstPromoter's books differ in more refunds than ``max_mismatches`` allows."""


class RunRefusedError(AirflowFailException):
    """A brake held the run before its first request: more is pending than ``max_pending`` allows."""


class RefundsFailedError(AirflowException):
    """Some refunds could not be sent, or the run stopped early; a retry takes up what is left."""


class SyncInterruptedError(AirflowException):
    """The task was killed; what was known by then is in the ledger, a retry takes up the rest."""


class ReadError(AirflowException):
    """FirstPromoter's books could not be read."""


class LedgerError(AirflowException):
    """The ledger's database refused, or its table is not what it should be; says what to do."""


class SourceError(AirflowException):
    """The warehouse refused the query; in its own words, without values."""
