"""An amount that changes around a kill: what FirstPromoter recorded is not known, until a reconciliation says it."""

from __future__ import annotations

from tests.reconcile.account import AccountWithLedger, nonzero_kinds, refund
from tests.support import BOTH_SHAPES, nonzero_outcomes

AMOUNTS = "outcome, row_amount, sent_amount, recorded_amount"


@BOTH_SHAPES
def test_amount_that_changed_around_a_kill_is_found_by_the_reconciliation(account: AccountWithLedger) -> None:
    account.track(refund(1, amount=1000))
    for table in ("firstpromoter_refunds", "firstpromoter_refunds_commissions"):  # killed before it was written
        account.database.run(f"DELETE FROM {table}")
    account.database.fill([refund(1, amount=500)])

    assert nonzero_outcomes(account.sync()) == {"already_recorded": 1}
    assert account.ledger(AMOUNTS) == {"re_0001": ("already_recorded", None, None, None)}

    assert nonzero_kinds(account.reconcile()) == {}
    assert account.ledger(AMOUNTS) == {"re_0001": ("already_recorded", None, None, -1000)}

    assert account.sync(max_rejected=None)["outcomes"]["changed"] == 1
    assert account.ledger("changed_amount") == {"re_0001": "500"}


def test_amount_that_is_the_same_after_a_kill_is_settled_by_the_reconciliation(account: AccountWithLedger) -> None:
    account.track(refund(1, amount=1000))
    account.database.run("DELETE FROM firstpromoter_refunds")
    account.database.fill([refund(1, amount=1000)])
    account.sync()

    account.reconcile()

    assert account.sync()["outcomes"]["changed"] == 0
    assert account.ledger("row_amount") == {"re_0001": "1000"}
