"""Decides when a run has to stop early, because going on would do more harm than good."""

from __future__ import annotations

from collections import Counter

from airflow_provider_firstpromoter.calls import Outcome, Result

#: The number of results with the same outcome in a row at which the run stops.
IN_A_ROW = {Outcome.REJECTED: 20, Outcome.FAILED: 10}
#: The number of refunds sent, none of which matches a referral, that is suspicious.
SENT_WITHOUT_A_MATCH = 100


class Brakes:
    """Counts the results of refunds in the order in which they come, and says when the run has to stop."""

    def __init__(self) -> None:
        self._in_a_row: Counter[Outcome] = Counter()
        self._sent = 0
        self._matched = 0

    def reset(self) -> None:
        """Reset the counts of results in a row: refunds that failed before say little about the others."""
        self._in_a_row.clear()

    def reason_to_stop(self, result: Result) -> str | None:
        """
        Count one result.

        A 429 says nothing about the refund or the API: another client of the account has used up the limit.

        :returns: why no more refunds of this kind may be sent; None if the run may go on
        """
        self._sent += 1
        self._matched += result.outcome.on_record
        if result.http_status == 429:
            return None
        for outcome, most in IN_A_ROW.items():
            self._in_a_row[outcome] = self._in_a_row[outcome] + 1 if result.outcome is outcome else 0
            if self._in_a_row[outcome] >= most:
                return f"{most} refunds {outcome} in a row, the last one because: {result.message}"
        return None

    def warnings(self) -> list[str]:
        """Return what the user should check when the run is over."""
        if self._matched or self._sent < SENT_WITHOUT_A_MATCH:
            return []
        return [
            f"{self._sent} refunds were sent and none belongs to a referral. Check that the id column holds the ids "
            "that FirstPromoter knows, and that the account is the right one. Correct the query and run the task "
            "again: a refund whose id column has changed is sent again"
        ]
