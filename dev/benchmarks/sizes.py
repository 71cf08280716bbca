"""The amounts of work that are measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _size(default: int, description: str) -> Any:
    return field(default=default, metadata={"help": f"{description} (default {default:,})"})


@dataclass(frozen=True)
class Sizes:
    """The targets are for the defaults; smaller sizes are for trying the benchmark itself."""

    mapped: int = _size(300, "refunds of the row 'dag'")
    slow: int = _size(2000, "refunds of the row 'latency'")
    windows: int = _size(5, "windows of the row 'rate'")
    recorded: int = _size(1_000_000, "refunds in the ledger, in the rows 'settled' and 'elsewhere'")
    new: int = _size(100, "new refunds, in the same rows")
    adopted: int = _size(2000, "refunds of the row 'adoption'")
    pending: int = _size(1_000_000, "refunds of the row 'memory'")
    cpu: int = _size(1000, "refunds in each round of the row 'cpu'")
    repeats: int = _size(5, "how often short measurements are repeated")
