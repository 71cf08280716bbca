"""Mismatches that an operator accepts as they are."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND
from airflow_provider_firstpromoter.cli.definition import main
from airflow_provider_firstpromoter.exceptions import ReconciliationMismatchError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.reconcile import Mismatch, MismatchTable
from tests.reconcile.account import TODAY, AccountWithLedger, nonzero_kinds, refund

CHANGE_AMOUNT = "UPDATE commissions SET sale_amount = ?, original_sale_amount = ? WHERE event_id = ?"


def accept(*event_ids: str, commission_ids: tuple[int, ...] = ()) -> list[Mismatch]:
    ledger = Ledger.required(FirstPromoterHook().account, call=REFUND)
    return MismatchTable(ledger).accept(event_ids, commission_ids)


def test_accepted_mismatch_no_longer_fails_the_task(account: AccountWithLedger) -> None:
    account.track(refund(1), refund(2))
    account.sandbox.store.execute(CHANGE_AMOUNT, (-900, -900, "re_0001"))
    account.commission("by_hand", "cus_7", 4711)
    account.reconcile()

    accepted = accept("re_0001", "by_hand", "re_0002", "unknown")

    assert [(one.kind, one.event_id) for one in accepted] == [
        ("missing_in_ledger", "by_hand"),
        ("amount_differs", "re_0001"),
    ]
    assert (accepted[1].ledger_amount, accepted[1].firstpromoter_amount) == (-1001, -900)
    report = account.reconcile(max_mismatches=0)
    assert (report["accepted"], report["mismatches"], nonzero_kinds(report), report["cases"]) == (2, 0, {}, {})
    before = account.everything()
    account.reconcile(max_mismatches=0)
    assert account.everything() == before
    assert accept("re_0001", "by_hand") == []
    assert account.everything() == before, "accepting again changes nothing"


def test_accepted_mismatch_counts_again_once_its_amount_changes(account: AccountWithLedger) -> None:
    account.track(refund(1))
    account.sandbox.store.execute(CHANGE_AMOUNT, (-900, -900, "re_0001"))
    account.reconcile()
    accept("re_0001")
    account.sandbox.store.execute(CHANGE_AMOUNT, (-800, -800, "re_0001"))

    report = account.reconcile()

    assert (report["accepted"], nonzero_kinds(report)) == (0, {"amount_differs": 1})
    assert account.mismatches("event_id", "accepted_at IS NULL AND resolved_at IS NULL") == [("re_0001",)]
    accept("re_0001")
    assert account.reconcile(max_mismatches=0)["accepted"] == 1


def test_accepted_mismatch_stays_accepted_when_its_reward_is_approved_or_paid(account: AccountWithLedger) -> None:
    account.track(refund(1))
    commission = account.commission("stripe_1", "cus_1", 1001)
    account.sandbox.store.execute(CHANGE_AMOUNT, (-900, -900, "re_0001"))
    account.commission("by_hand", "cus_7", 4711)
    account.reconcile()
    accepted = accept("re_0001", "stripe_1", "by_hand")
    assert len(accepted) == 3
    (sent,) = account.sandbox.recorded()

    for change in ({"status": "pending"}, {"status": "approved"}, {"status": "approved", "is_paid": True}):
        account.sandbox.change_commission(sent.reward_id, **change)
        account.sandbox.change_commission(commission, **change)
        report = account.reconcile(max_mismatches=0)
        assert (report["accepted"], report["mismatches"]) == (3, 0)


def test_accepted_mismatch_that_was_resolved_counts_when_it_is_back(account: AccountWithLedger) -> None:
    account.track(refund(1))
    account.sandbox.store.execute(CHANGE_AMOUNT, (-900, -900, "re_0001"))
    account.reconcile()
    accept("re_0001")
    account.sandbox.store.execute(CHANGE_AMOUNT, (-1001, -1001, "re_0001"))
    assert account.reconcile()["accepted"] == 0
    assert accept("re_0001") == [], "a resolved mismatch cannot be accepted"

    account.sandbox.store.execute(CHANGE_AMOUNT, (-900, -900, "re_0001"))

    assert nonzero_kinds(account.reconcile()) == {"amount_differs": 1}


def test_commission_without_an_event_id_is_accepted_by_its_own_id(account: AccountWithLedger) -> None:
    nameless = account.commission(None, "cus_1", 5000)
    other = account.commission(None, "cus_2", 6000)
    account.reconcile()
    assert accept("") == [], "an empty event_id must not accept every commission without one"

    (accepted,) = accept(commission_ids=(nameless,))

    assert (accepted.commission_id, accepted.event_id) == (nameless, "")
    report = account.reconcile()
    assert (report["accepted"], report["missing_in_ledger"]) == (1, 1)
    assert report["cases"]["missing_in_ledger"][0]["commission_id"] == other


def test_accept_leaves_other_accounts_alone(account: AccountWithLedger) -> None:
    account.commission("by_hand", "cus_7", 4711)
    account.reconcile()
    ledger = Ledger.required(FirstPromoterHook().account, call=REFUND)
    ledger.account = "another account"

    assert MismatchTable(ledger).accept(["by_hand"]) == []
    assert account.reconcile()["accepted"] == 0


def test_accept_before_the_first_reconciliation_accepts_nothing(account: AccountWithLedger) -> None:
    account.track(refund(1))
    assert accept("re_0001") == []


@pytest.mark.parametrize("count", [1, 1200])
def test_accept_takes_any_number_of_event_ids(account: AccountWithLedger, count: int) -> None:
    account.sandbox.add_commissions(
        {"event_id": f"x_{n:04}", "uid": f"cus_{n % 1000}", "sale_amount": -(10_000 + n), "created_at": TODAY}
        for n in range(count)
    )
    account.reconcile()

    assert len(accept(*(f"x_{n:04}" for n in range(count)))) == count

    report: dict[str, Any] = account.reconcile(max_mismatches=0)
    assert report["accepted"] == count


@pytest.mark.parametrize("event_id", ["by_hand", None, 'it\'s "one" $of', "-17"], ids=str)
@pytest.mark.parametrize("table", [None, "other_refunds"])
def test_printed_command_accepts_the_mismatch_as_it_is_pasted(
    account: AccountWithLedger, event_id: str | None, table: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    account.commission(event_id, "cus_7", 4711)
    with pytest.raises(ReconciliationMismatchError) as error:
        account.reconcile(max_mismatches=0, ledger_table=table)
    command = str(error.value).partition("as it is: ")[2]
    words = shlex.split(command)
    assert words[0] in ("airflow", "python")

    main(words[words.index("accept") :])

    assert "missing_in_ledger accepted" in capsys.readouterr().out
    assert account.reconcile(max_mismatches=0, ledger_table=table)["accepted"] == 1
