"""Reads the ledger as an analyst would: plain SQL over a plain table in the warehouse."""

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
class Entry:
    """What became of one refund, and the DAG run that wrote it down."""

    event_id: str
    outcome: str
    run_id: str


def read(warehouse: Path) -> list[Entry]:
    """Every row of the ledger; none before the first run has made it."""
    with closing(sqlite3.connect(warehouse)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'firstpromoter_refunds'").fetchone():
            return []
        return [Entry(*row) for row in database.execute(QUERY)]
