"""Two measurements of the same, of which the worse one is reported."""

from __future__ import annotations

import statistics
from typing import NamedTuple


class Compared(NamedTuple):
    """
    The worse one of two measurements.

    :param ours: the provider's median
    :param against: the other side's median
    :param ratio: the one divided by the other
    :param other_ratio: of the better measurement
    """

    ours: float
    against: float
    ratio: float
    other_ratio: float

    @property
    def both(self) -> str:
        """Both ratios, for a note."""
        return f"the worse one of two measurements, {self.ratio:.2f} and {self.other_ratio:.2f}"


def worse_of_two(ours: list[float], against: list[float]) -> Compared:
    """
    Take the first and the second half of the rounds as a measurement each; less is better.

    :param ours: of each round, the provider's figure
    :param against: of the same rounds, the other side's
    """
    middle = len(ours) // 2
    halves = [(ours[:middle], against[:middle]), (ours[middle:], against[middle:])]
    medians = [(statistics.median(one), statistics.median(other)) for one, other in halves]
    better, worse = sorted(medians, key=lambda pair: pair[0] / pair[1])
    return Compared(*worse, worse[0] / worse[1], better[0] / better[1])
