"""The SQLite database of the sandbox: promoters, leads, events, commissions and requests of every account."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]
#: The commissions that count towards a balance. FirstPromoter documents neither this nor what a pending one counts.
COUNTED = "status <> 'denied'"
#: Selects commissions with ``email`` and ``uid`` of the lead and ``ref_id`` of the promoter.
COMMISSIONS_SQL = """
    SELECT c.*, l.email, l.uid, p.ref_id FROM commissions c
    JOIN promoters p ON p.id = c.promoter_id LEFT JOIN leads l ON l.id = c.lead_id
"""
#: The version of ``store.sql``; a file of another version is refused.
SCHEMA_VERSION = 2


def timestamp(moment: datetime | None = None) -> str:
    """Return a moment (default: now) in FirstPromoter's format: in UTC, with milliseconds."""
    moment = moment or datetime.now(UTC)
    moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """
    All data of the sandbox in one SQLite database.

    The server and the tests in the same process share one connection; a lock gives it to one thread at a time.

    :param path: the database file, whose data survive a restart and a kill; None stores the data in memory
    :raises sqlite3.Error: if the file cannot be used, or another version of the sandbox wrote it
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.RLock()
        #: The number of times that :meth:`reset` has deleted all data.
        self.reset_count = 0
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._db.row_factory = lambda cursor, row: dict(
            zip((column[0] for column in cursor.description), row, strict=True)
        )
        # Committed data must survive the end of the process but not of the machine, so that no sync to disk is needed.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        if self._db.execute("SELECT 1 FROM sqlite_master").fetchone() is not None:
            version = self.fetch_one("PRAGMA user_version")
            if version != {"user_version": SCHEMA_VERSION}:
                raise sqlite3.DatabaseError("another version of the sandbox wrote this file; delete it")
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._db.executescript(Path(__file__).with_name("store.sql").read_text("utf-8"))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the block's changes, or roll them back on an error; other threads wait until the block ends."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def execute(self, sql: str, parameters: Mapping[str, Any] | Iterable[Any] = ()) -> list[Row]:
        """Execute a statement and return its rows, if any, as dictionaries by column name."""
        with self._lock:
            return self._db.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def fetch_one(self, sql: str, parameters: Mapping[str, Any] | Iterable[Any] = ()) -> Row | None:
        """Execute a statement and return its first row; None if it has no rows."""
        rows = self.execute(sql, parameters)
        return rows[0] if rows else None

    def execute_many(self, sql: str, rows: Iterable[Any]) -> None:
        """Execute a statement once for each row of parameters, in one transaction."""
        with self.transaction():
            self._db.executemany(sql, rows)

    def insert(self, table: str, **values: Any) -> int:
        """
        Insert a row.

        :param table: the name of a table in ``store.sql``
        :param values: the values by column name
        :return: the id of the new row
        """
        columns, placeholders = ", ".join(values), ", ".join("?" * len(values))
        with self._lock:
            cursor = self._db.execute(
                f"INSERT INTO {table} ({columns}) VALUES ({placeholders})", tuple(values.values())
            )
        return int(cursor.lastrowid or 0)

    def get_or_create_promoter(self, account: str, ref_id: str, unit: str = "cash") -> Row:
        """Return the promoter with that referral id, created first if there is none yet."""
        with self.transaction():
            sql = "SELECT * FROM promoters WHERE account = ? AND ref_id = ?"
            found = self.fetch_one(sql, (account, ref_id))
            if found is None:
                self.insert("promoters", account=account, ref_id=ref_id, unit=unit, created_at=timestamp())
                found = self.fetch_one(sql, (account, ref_id))
        assert found
        return found

    def find_lead(self, account: str, *, email: str | None = None, uid: str | None = None) -> Row | None:
        """
        Find a lead by its uid or, if no lead has that uid, by its e-mail address.

        :return: the lead with the ``ref_id`` of its promoter; None if there is no such lead or the promoter is banned
        """
        for column, value in (("uid", uid), ("email", email)):
            if value:
                collation = " COLLATE NOCASE" if column == "email" else ""
                found = self.fetch_one(
                    "SELECT leads.*, ref_id FROM leads JOIN promoters ON promoters.id = promoter_id "
                    f"WHERE leads.account = ? AND {column} = ?{collation} AND promoters.status <> 'banned' "
                    "ORDER BY leads.id",
                    (account, value),
                )
                if found:
                    return found
        return None

    def fetch_commissions(self, condition: str, *parameters: Any) -> list[Row]:
        """Return the commissions, as :data:`COMMISSIONS_SQL` selects them, that satisfy a condition."""
        return self.execute(f"{COMMISSIONS_SQL} WHERE {condition} ORDER BY c.id", parameters)

    def insert_commission(self, commission: Row) -> int:
        """Insert a row of the table ``commissions``, add its amount to the promoter's balance, and return its id."""
        number = self.insert("commissions", **commission)
        self._add_to_balance(commission["promoter_id"], counted_amount(commission))
        return number

    def insert_commission_later(self, commission: Row, seconds: float, requests: int) -> None:
        """Keep a commission for :meth:`insert_due_commissions` until time and requests have passed."""
        self.insert(
            "later_commissions",
            due_at=time.time() + seconds,
            due_request=self.latest_request() + (requests + 1 if requests else 0),
            commission=json.dumps(commission),
        )

    def insert_due_commissions(self) -> None:
        """Insert the commissions whose time has come."""
        if self.fetch_one("SELECT 1 FROM later_commissions LIMIT 1") is None:
            return
        with self.transaction():
            due = self.execute(
                "DELETE FROM later_commissions WHERE due_at <= ? AND due_request <= ? RETURNING commission",
                (time.time(), self.latest_request()),
            )
            now = {"created_at": timestamp(), "status_updated_at": timestamp(), "after_request": self.latest_request()}
            for row in due:
                self.insert_commission(json.loads(row["commission"]) | now)

    def update_commission(self, commission: Row, **change: Any) -> None:
        """
        Change a commission, and the balance of its promoter if it now counts and did not before, or the reverse.

        :param commission: the row as it is stored
        :param change: the new values by column; none leaves the commission untouched
        """
        change = {column: value for column, value in change.items() if commission[column] != value}
        if not change:
            return
        with self.transaction():
            columns = ", ".join(f"{column} = ?" for column in change)
            self.execute(
                f"UPDATE commissions SET {columns}, status_updated_at = ? WHERE id = ?",
                (*change.values(), timestamp(), commission["id"]),
            )
            difference = counted_amount(commission | change) - counted_amount(commission)
            self._add_to_balance(commission["promoter_id"], difference)

    def _add_to_balance(self, promoter_id: int, amount: int) -> None:
        if amount:
            self.execute("UPDATE promoters SET balance = balance + ? WHERE id = ?", (amount, promoter_id))

    def reserve_event_id(self, account: str, kind: str, event_id: str) -> None:
        """Mark an event_id as used, unless it is used already."""
        self.execute(
            "INSERT OR IGNORE INTO events (account, kind, event_id) VALUES (?, ?, ?)", (account, kind, event_id)
        )

    def has_event_id(self, account: str, kind: str, event_id: str) -> bool:
        """Return whether an event of this kind (``sale`` or ``refund``) with that event_id exists."""
        sql = "SELECT 1 FROM events WHERE account = ? AND kind = ? AND event_id = ?"
        return self.fetch_one(sql, (account, kind, event_id)) is not None

    def latest_request(self) -> int:
        """Return the id of the request that arrived last; 0 if there is none."""
        return int(self.execute("SELECT coalesce(max(id), 0) AS id FROM requests")[0]["id"])

    def reset(self) -> None:
        """Delete all data."""
        with self.transaction():
            for table in ("promoters", "leads", "events", "commissions", "later_commissions", "batches", "requests"):
                self._db.execute(f"DELETE FROM {table}")
        self.reset_count += 1

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()


def counted_amount(commission: Row) -> int:
    """Return what a commission adds to the cash balance of its promoter, in cents."""
    counts = commission["unit"] == "cash" and commission["status"] != "denied"
    return int(commission["amount"]) if counts else 0
