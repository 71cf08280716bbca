"""Reads the ledger as an analyst would: with plain SQL, from a plain table in the warehouse."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

QUERY = """
SELECT event_id, outcome, run_id
FROM firstpromoter_refunds
ORDER BY event_id
"""


@dataclass(frozen=True)
class LedgerRow:
    """The outcome of one refund, and the id of the DAG run that wrote it."""

    event_id: str
    outcome: str
    run_id: str

    @property
    def is_nameless(self) -> bool:
        """Whether the refund has no usable event_id: the ledger has it under a hash of its content."""
        return self.event_id.startswith("(no event_id) ")


def read(warehouse: Path) -> list[LedgerRow]:
    """Return every row of the ledger, which does not exist before the first run."""
    with closing(sqlite3.connect(warehouse)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'firstpromoter_refunds'").fetchone():
            return []
        return [LedgerRow(*row) for row in database.execute(QUERY)]
