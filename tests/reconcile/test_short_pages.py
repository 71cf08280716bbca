"""Pages of commissions that are shorter than asked do not end the reading: only an empty one does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.reconcile.account import AccountWithLedger, nonzero_kinds, refund
from tests.reconcile.test_lookups import commission

Served = Callable[..., AccountWithLedger]
COUNT, SHORT = 180, 50


def in_short_pages(held: list[dict[str, Any]]) -> Callable[[dict[str, str]], Any]:
    def answer(query: dict[str, str]) -> Any:
        page = int(query["page"])
        chosen = [one for one in held if one["event_id"].startswith(query.get("q", ""))]
        return chosen[(page - 1) * SHORT : page * SHORT]

    return answer


def test_adoption_reads_all_pages_although_each_is_short(served_account: Served, account: AccountWithLedger) -> None:
    account.track(refund(0))
    served = served_account(in_short_pages([commission(n) for n in range(COUNT)]), paged=True)

    report = served.reconcile(adopt=True)

    assert (report["adopted"], report["commissions"], report["mismatches"]) == (COUNT - 1, COUNT, 0)
    assert len(account.ledger()) == COUNT


def test_mismatches_on_later_short_pages_stay_open(served_account: Served, account: AccountWithLedger) -> None:
    account.track(refund(0))
    held = [commission(n) for n in range(COUNT)]
    served = served_account(in_short_pages(held), paged=True)
    for _ in range(2):
        assert nonzero_kinds(served.reconcile()) == {"missing_in_ledger": COUNT - 1}
        assert len(account.mismatches()) == COUNT - 1

    del held[100:]

    served.reconcile()
    assert len(account.mismatches()) == 99
