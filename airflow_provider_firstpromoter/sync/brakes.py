"""What stops a run that does more harm than good by going on."""

from __future__ import annotations

from collections import Counter

from airflow_provider_firstpromoter.refunds import Outcome, Result

#: So many results of the kind in a row, and the run stops.
IN_A_ROW = {Outcome.REJECTED: 20, Outcome.FAILED: 10}
#: So many sent without one referral matched is suspicious.
SENT_WITHOUT_A_MATCH = 100


class Brakes:
    """Counts what FirstPromoter answered, in the order in which it did."""

    def __init__(self) -> None:
        self._in_a_row: Counter[Outcome] = Counter()
        self._sent = 0
        self._matched = 0

    def reason_to_stop(self, result: Result) -> str | None:
        """
        Count one result.

        :returns: why the run must end; None if it may go on
        """
        self._sent += 1
        self._matched += result.outcome.on_record
        for outcome, most in IN_A_ROW.items():
            self._in_a_row[outcome] = self._in_a_row[outcome] + 1 if result.outcome is outcome else 0
            if self._in_a_row[outcome] >= most:
                return f"{most} refunds {outcome} in a row, the last one because: {result.message}"
        return None

    def warnings(self) -> list[str]:
        """What a person should be told when the run is over."""
        if self._matched or self._sent < SENT_WITHOUT_A_MATCH:
            return []
        return [
            f"{self._sent} refunds sent and not one belongs to a referral: "
            "is it the right id column, and the right account?"
        ]
