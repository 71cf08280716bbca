"""Changes to a commission, which keep the balance of its promoter right."""

from __future__ import annotations

from typing import Any

from airflow_provider_firstpromoter.sandbox.store import Row, Store, timestamp

#: The commissions that count towards a balance. FirstPromoter documents neither this nor what a pending one counts.
COUNTED = "status <> 'denied' AND destroyed_at IS NULL"


def update_commission(store: Store, commission: Row, **change: Any) -> None:
    """
    Change a commission, and the balance of its promoter if it now counts and did not before, or the reverse.

    :param commission: the row as it is stored
    :param change: the new values by column; none leaves the commission untouched
    """
    change = {column: value for column, value in change.items() if commission[column] != value}
    if not change:
        return
    with store.transaction():
        columns = ", ".join(f"{column} = ?" for column in change)
        store.execute(
            f"UPDATE commissions SET {columns}, status_updated_at = ? WHERE id = ?",
            (*change.values(), timestamp(), commission["id"]),
        )
        difference = counted_amount(commission | change) - counted_amount(commission)
        if difference:
            store.execute(
                "UPDATE promoters SET balance = balance + ? WHERE id = ?", (difference, commission["promoter_id"])
            )


def counted_amount(commission: Row) -> int:
    """Return what a commission adds to the cash balance of its promoter, in cents."""
    counts = (
        commission["unit"] == "cash" and commission["status"] != "denied" and commission.get("destroyed_at") is None
    )
    return int(commission["amount"]) if counts else 0
