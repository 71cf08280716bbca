"""Refunds that were sent, and that the ledger does not have as recorded although FirstPromoter has a commission."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND
from airflow_provider_firstpromoter.exceptions import EventsFailedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.reconcile import Period, Reconciliation
from tests.reconcile.account import AccountWithLedger, nonzero_kinds, refund

#: What a refund that was answered with 404 or 409 leaves in the ledger.
LOST = """
UPDATE firstpromoter_refunds SET outcome = '{}', http_status = 409, message = 'why', recorded_amount = NULL,
commissions_known = FALSE, lead_id = NULL WHERE event_id = '{}'
"""
KEPT = (
    "row_amount, sent_amount, sent_currency, sale_event_id, dag_id, run_id, task_id, map_index, first_sent_at, "
    "last_sent_at"
)


@contextmanager
def listing_behind(account: AccountWithLedger) -> Iterator[None]:
    """Keep the commissions out of FirstPromoter's listing for a while."""
    move = "UPDATE commissions SET account = ?"
    account.sandbox.store.execute(move, ("not listed yet",))
    yield
    account.sandbox.store.execute(move, (account.sandbox.account_id,))


@pytest.mark.parametrize("outcome", ["not_referred", "failed"])
def test_sent_refund_with_a_commission_is_recovered_without_adopt(account: AccountWithLedger, outcome: str) -> None:
    """At the time of the sync the listing was behind, and at the time of the reconciliation it is not."""
    account.track(refund(1), refund(2))
    kept, rewards = account.ledger(KEPT), account.ledger("reward_id, reward_amount, lead_id, promoter_id")
    account.database.run(LOST.format(outcome, "re_0001"))
    with listing_behind(account):
        assert account.reconcile()["recovered"] == 0
        assert account.ledger()["re_0001"] == outcome

    report = account.reconcile(max_mismatches=0)

    assert (report["recovered"], report["mismatches"], report["adopted"], report["matched"]) == (1, 0, 0, 1)
    assert account.ledger() == {"re_0001": "already_recorded", "re_0002": "recorded"}
    assert account.ledger(KEPT) == kept, "what was sent, when and by which task run is not overwritten"
    assert account.ledger("reward_id, reward_amount, lead_id, promoter_id") == rewards
    assert account.ledger("http_status")["re_0001"] is None
    account.database.fill([refund(1), refund(2)])
    assert account.sync()["sent"] == 0
    (result, _) = account.track(refund(1), refund(2))
    assert (result["sent"], result["outcome"]) == (False, "already_recorded")
    assert result["commissions"][0]["id"] == rewards["re_0001"][0], (
        "cleared, the task that sent it passes the reward on"
    )
    again = account.reconcile(max_mismatches=0)
    assert (again["recovered"], again["matched"]) == (0, 2)


def test_refund_that_was_not_referred_when_sent_is_recovered_later(account: AccountWithLedger) -> None:
    account.track(refund(5000))
    assert account.ledger() == {"re_5000": "not_referred"}
    account.commission("re_5000", "cus_5", 6000)

    assert account.reconcile()["recovered"] == 1
    assert account.ledger() == {"re_5000": "already_recorded"}


def test_recovered_refund_resolves_the_mismatch_that_it_was(account: AccountWithLedger) -> None:
    account.track(refund(1))
    account.database.run("UPDATE firstpromoter_refunds SET outcome = 'rejected'")
    assert nonzero_kinds(account.reconcile()) == {"missing_in_ledger": 1}, "FirstPromoter refused the data"
    account.database.run(LOST.format("not_referred", "re_0001"))

    assert account.reconcile()["recovered"] == 1

    assert account.mismatches() == []
    assert account.mismatches(where="resolved_at IS NOT NULL") == [("missing_in_ledger", "re_0001")]


@pytest.mark.parametrize("sent", [True, False])
def test_refund_that_was_rejected_or_not_sent_is_a_mismatch(account: AccountWithLedger, sent: bool) -> None:
    account.track(refund(1))
    change = "outcome = 'rejected'" if sent else "outcome = 'not_referred', last_sent_at = NULL"
    account.database.run(f"UPDATE firstpromoter_refunds SET {change}")

    report = account.reconcile()

    assert (report["recovered"], nonzero_kinds(report)) == (0, {"missing_in_ledger": 1})


def test_recovered_refund_with_another_amount_is_reported_until_it_is_corrected(account: AccountWithLedger) -> None:
    account.track(refund(1))
    account.database.run(LOST.format("not_referred", "re_0001"))
    account.sandbox.store.execute("UPDATE commissions SET sale_amount = -900, original_sale_amount = -900")

    report = account.reconcile()
    assert (report["recovered"], nonzero_kinds(report)) == (1, {"amount_differs": 1})

    again = account.reconcile()
    assert (again["recovered"], nonzero_kinds(again)) == (0, {"amount_differs": 1})
    assert account.mismatches("event_id, ledger_amount, firstpromoter_amount") == [("re_0001", -1001, -900)]


def test_reconciliation_killed_before_the_ledger_is_written_recovers_next_time(
    account: AccountWithLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.track(refund(1))
    account.database.run(LOST.format("not_referred", "re_0001"))
    account.sandbox.store.execute("UPDATE commissions SET sale_amount = -900, original_sale_amount = -900")
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "recover", _killed)
        with pytest.raises(KeyboardInterrupt):
            account.reconcile()
    assert account.ledger() == {"re_0001": "not_referred"}
    assert account.mismatches("kind, event_id, ledger_outcome") == [("amount_differs", "re_0001", "not_referred")]

    report = account.reconcile()

    assert (report["recovered"], nonzero_kinds(report)) == (1, {"amount_differs": 1})
    assert account.ledger() == {"re_0001": "already_recorded"}


def test_two_reconciliations_at_once_recover_and_report_the_same(
    account: AccountWithLedger, at_once: Callable[..., list[Any]]
) -> None:
    def reconciliation() -> Reconciliation:
        hook = FirstPromoterHook()
        return Reconciliation(hook, Ledger.required(hook.account, call=REFUND), Period())

    account.track(*(refund(n) for n in range(30)))
    for n in range(20):
        account.database.run(LOST.format("not_referred", f"re_{n:04}"))
    for n in range(20):
        account.commission(f"other_{n:02}", f"cus_{n}", 7000 + n)

    reports = at_once(reconciliation().run, reconciliation().run)

    assert [report.counts for report in reports] == [{"missing_in_ledger": 20}] * 2
    assert max(report.recovered for report in reports) == 20
    assert set(account.ledger().values()) == {"recorded", "already_recorded"}
    assert len(account.mismatches()) == 20
    again = account.reconcile()
    assert (again["matched"], again["recovered"], len(account.mismatches())) == (30, 0, 20)


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_refund_whose_response_was_lost_is_recovered_although_its_row_is_rejected_now(
    account: AccountWithLedger,
) -> None:
    account.sandbox.fault("reset_after", times=3)
    with pytest.raises(EventsFailedError):
        account.track(refund(1, amount=1000))
    (before,) = account.ledger("sent_amount, first_sent_at, last_sent_at").values()
    account.track(refund(1, amount=0), max_rejected=None)
    assert account.ledger("outcome, sent_amount, first_sent_at, last_sent_at")["re_0001"] == ("rejected", *before)

    report = account.reconcile()

    assert (report["recovered"], report["mismatches"]) == (1, 0)
    assert account.ledger() == {"re_0001": "already_recorded"}
    (result,) = account.track(refund(1, amount=0), max_rejected=None)
    assert result["outcome"] == "changed", "it is recorded, and its row is still invalid"
    (result,) = account.track(refund(1, amount=1000))
    assert result["outcome"] == "already_recorded"
