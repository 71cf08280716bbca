"""How much work is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _size(default: int, told: str) -> Any:
    return field(default=default, metadata={"help": f"{told} (default {default:,})"})


@dataclass(frozen=True)
class Sizes:
    """The defaults are those that the targets speak of; smaller ones are for trying the benchmark itself."""

    mapped: int = _size(300, "refunds of the row 'dag'")
    slow: int = _size(2000, "refunds of the row 'latency'")
    windows: int = _size(5, "windows of the row 'rate'")
    recorded: int = _size(1_000_000, "refunds that the ledger knows, in the rows 'settled' and 'elsewhere'")
    new: int = _size(100, "refunds that it does not know, in the same rows")
    adopted: int = _size(2000, "refunds of the row 'adoption'")
    pending: int = _size(1_000_000, "refunds of the row 'memory'")
    cpu: int = _size(1000, "refunds a round of the row 'cpu'")
    repeats: int = _size(5, "how often short measurements are repeated, side by side")
