"""What else keeps the machine busy while something is measured."""

from __future__ import annotations

import os

import psutil

#: Cores that others may keep busy, before and after a measurement.
FEW = 0.25
#: The share of the time in which the machine's host may let it wait.
LITTLE = 0.05
#: Seconds for which the machine is looked at while nothing is measured.
LOOK = 1.0


class Disturbance:
    """Looks at the machine before a measurement and after it, when the benchmark itself does nothing."""

    def __init__(self) -> None:
        self._before = _busy_cores()
        self._times = psutil.cpu_times()

    def found(self) -> str:
        """Return what disturbed the measurement that has just ended; an empty text if nothing did."""
        times = psutil.cpu_times()
        stolen = getattr(times, "steal", 0.0) - getattr(self._times, "steal", 0.0)
        share = stolen / max(sum(times) - sum(self._times), 0.01)
        busy = max(self._before, _busy_cores())
        found = []
        if busy > FEW:
            found.append(f"others kept {busy:.1f} of {os.cpu_count()} cores busy")
        if share > LITTLE:
            found.append(f"the host took {share:.0%} of the time")
        return " and ".join(found)


def _busy_cores() -> float:
    return psutil.cpu_percent(LOOK) / 100 * (os.cpu_count() or 1)
