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
    slow: int = _size(250, "refunds of the row 'latency'")
    windows: int = _size(2, "windows of the row 'rate'")
    window: int = _size(60, "seconds of a window, in the rows 'rate' and 'accounts'")
    accounts: int = _size(32, "accounts of the row 'accounts'")
    account_windows: int = _size(1, "windows of the row 'accounts'")
    ledger: int = _size(1_000_000, "refunds in the ledger, in the rows 'new', 'elsewhere' and 'growth'")
    largest: int = _size(5_000_000, "refunds in the largest ledger of the row 'nothing'")
    adopted: int = _size(1000, "refunds of the row 'adoption'")
    pending: int = _size(100_000, "refunds of the row 'memory'")
    written: int = _size(3000, "refunds of each round of the row 'growth'")
    cpu: int = _size(2000, "refunds in each round of the row 'cpu', and a tenth of that with latency")
    sales: int = _size(10_000, "sales of the row 'sales', and a tenth of that in refunds")
    repeats: int = _size(2, "rounds of each of the two measurements of a row, where that is cheap")
