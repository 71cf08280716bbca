"""
The provider's errors: all that its operators, sensors, hook and command line raise on purpose.

.. code-block:: text

    FirstPromoterError                  an AirflowException: Airflow retries the task
    ├── EventsFailedError
    ├── SyncInterruptedError
    ├── ReadError
    │   └── UnreadableCommissionError
    ├── LedgerError
    ├── SourceError
    ├── SpoolError
    └── PermanentError                  an AirflowFailException: no retry can help, Airflow fails the task at once
        ├── ConnectionSettingsError
        ├── AccessRefusedError
        ├── InputError
        ├── InvalidRowError             a ValueError as well
        ├── EventsRejectedError
        ├── ReconciliationMismatchError
        └── RunRefusedError
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException


class FirstPromoterError(AirflowException):
    """The root of the provider's errors."""


class EventsFailedError(FirstPromoterError):
    """Some events could not be sent or reverted, or the run stopped early; a retry does the rest."""


class SyncInterruptedError(FirstPromoterError):
    """
    The task was killed; what was known by then is in the ledger, and a retry sends the rest.

    :cvar lost: whether a request was under way whose response is not known
    :cvar unmatched: whether one of the event's own requests got a 204 or 404
    """

    lost = False
    unmatched = False


class ReadError(FirstPromoterError):
    """FirstPromoter's commissions could not be read."""


class UnreadableCommissionError(ReadError):
    """A commission with the event_id that is looked up exists, but it is malformed."""


class LedgerError(FirstPromoterError):
    """The ledger's database returned an error, or a table lacks columns; the message says what to do."""


class SourceError(FirstPromoterError):
    """The warehouse refused the query; the message quotes its error, without values."""


class SpoolError(FirstPromoterError):
    """The rows of the run could not be stored on the worker's disk."""


class PermanentError(FirstPromoterError, AirflowFailException):
    """No retry can help: the connection, the parameters or the data have to be corrected first."""


class ConnectionSettingsError(PermanentError):
    """A field of the Airflow connection is missing or unusable; names the connection and the field."""


class AccessRefusedError(PermanentError):
    """
    FirstPromoter answered 401 or 403: the API key or the Account ID is wrong, or the key lacks the permission.

    ``lost`` and ``unmatched`` say of the event that was under way what those of :class:`SyncInterruptedError` do.
    """

    lost = False
    unmatched = False


class InputError(PermanentError):
    """The input does not hold rows of the call: a text, a missing or repeated column, a statement without rows."""


class InvalidRowError(PermanentError, ValueError):
    """
    A row that cannot be sent as it is.

    :param event_id: the row's event_id, or None where it has no usable one
    :param reason: what is wrong, by column; carries no value of the row
    :param call: the call's name
    :param has_id: False for the calls whose rows have no event_id
    """

    def __init__(self, event_id: str | None, reason: str, call: str = "event", *, has_id: bool = True) -> None:
        name = f" {event_id!r}" if event_id else " without event_id" if has_id else ""
        super().__init__(f"{call}{name}: {reason}")
        self.event_id = event_id
        self.reason = reason


class EventsRejectedError(PermanentError):
    """More events were rejected or changed than ``max_rejected`` allows; all others were sent."""


class ReconciliationMismatchError(PermanentError):
    """The ledger and FirstPromoter's commissions differ in more events than ``max_mismatches`` allows."""


class RunRefusedError(PermanentError):
    """
    The run was refused before it changed anything: more events are pending than ``max_pending`` allows, or would be
    reverted than ``max_reverted`` allows.
    """
