"""A refund that was sent, and that the warehouse's query no longer selects."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import InputError, SourceError
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.operators.revert import RevertRefundsOperator
from tests.reconcile.account import TODAY, AccountWithLedger, nonzero_kinds, refund
from tests.support import ALL_REFUNDS

SELECT: dict[str, Any] = {"sql": ALL_REFUNDS, "sql_conn_id": "warehouse"}


def test_refund_that_leaves_the_query_is_a_mismatch_until_it_is_reverted(account: AccountWithLedger) -> None:
    account.database.fill([refund(n) for n in range(5)])
    account.sync()
    assert account.reconcile(**SELECT)["mismatches"] == 0
    account.database.run("DELETE FROM refunds WHERE event_id = 're_0003'")
    assert account.reconcile()["mismatches"] == 0, "without a query, nobody looks"

    report = account.reconcile(created_from=timedelta(days=3), **SELECT)

    assert nonzero_kinds(report) == {"no_longer_selected": 1}
    (case,) = report["cases"]["no_longer_selected"]
    assert (case["event_id"], case["ledger_amount"], case["ledger_outcome"]) == ("re_0003", -1003, "recorded")
    event_ids = account.pushed["no_longer_selected"]
    assert event_ids == ["re_0003"]
    assert account.reconcile()["mismatches"] == 0
    assert account.mismatches() == [("no_longer_selected", "re_0003")], "a run without the query does not resolve it"
    revert = RevertRefundsOperator(task_id="revert", event_ids=event_ids, preview=False, max_reverted=1)
    assert account.run_operator(revert)["reverted"] == 1

    report = account.reconcile(max_mismatches=0, **SELECT)

    assert (report["mismatches"], account.mismatches()) == (0, [])


def test_refund_that_is_selected_again_resolves_its_mismatch(account: AccountWithLedger) -> None:
    account.database.fill([refund(n) for n in range(3)])
    account.sync()
    where = " WHERE event_id <> 're_0001'"
    account.reconcile(sql=ALL_REFUNDS + where, sql_conn_id="warehouse")
    assert account.mismatches() == [("no_longer_selected", "re_0001")]

    assert account.reconcile(**SELECT)["mismatches"] == 0
    assert account.mismatches() == []


def test_query_that_selects_nothing_of_the_period_is_an_error(account: AccountWithLedger) -> None:
    account.database.fill([refund(n) for n in range(3)])
    account.sync()
    account.commission("by_hand", "cus_7", 4711)

    with pytest.raises(InputError, match=r"'warehouse' selects none of the 3 refunds .* must select the whole period"):
        account.reconcile(sql=ALL_REFUNDS + " WHERE event_id = 'other'", sql_conn_id="warehouse")

    assert account.mismatches() == [("missing_in_ledger", "by_hand")], "what the commissions show is written"


def test_query_that_fails_leaves_what_the_commissions_show_written(account: AccountWithLedger) -> None:
    account.track(refund(1))
    account.commission("by_hand", "cus_7", 4711)

    with pytest.raises(SourceError):
        account.reconcile(sql="SELECT * FROM no_such_table", sql_conn_id="warehouse")

    assert account.mismatches() == [("missing_in_ledger", "by_hand")]


def test_only_recorded_refunds_first_sent_in_the_period_are_expected_in_the_query(account: AccountWithLedger) -> None:
    account.database.fill([refund(n) for n in range(4)])
    account.sync()
    account.track(refund(5000), refund(6, amount=0), max_rejected=None)
    account.commission("re_0009", "cus_9", 1009)
    account.reconcile(adopt=True)
    long_ago = (TODAY - timedelta(days=90)).strftime("%Y-%m-%d %H:%M:%S")
    account.database.run(
        f"UPDATE firstpromoter_refunds SET first_sent_at = '{long_ago}' WHERE event_id IN ('re_0000', 're_0001')"
    )

    report = account.reconcile(
        created_from=timedelta(days=35), sql=ALL_REFUNDS + " WHERE event_id = 're_0002'", sql_conn_id="warehouse"
    )

    assert nonzero_kinds(report) == {"no_longer_selected": 1}
    assert report["cases"]["no_longer_selected"][0]["event_id"] == "re_0003"


def test_more_refunds_than_a_batch_are_compared_with_the_query(account: AccountWithLedger) -> None:
    account.database.fill([refund(n, uid=f"cus_{n % 1000}") for n in range(1030)])
    account.sync()

    report = account.reconcile(sql=ALL_REFUNDS + " WHERE event_id = 're_0002'", sql_conn_id="warehouse")

    assert report["no_longer_selected"] == 1029
    assert len(report["cases"]["no_longer_selected"]) == 20
    assert len(account.pushed["no_longer_selected"]) == 1000
    assert len(account.mismatches()) == 1029


def test_accepted_mismatch_is_not_passed_to_a_revert(account: AccountWithLedger) -> None:
    from tests.reconcile.test_accepting import accept

    account.database.fill([refund(n) for n in range(3)])
    account.sync()
    one: dict[str, Any] = {"sql": ALL_REFUNDS + " WHERE event_id = 're_0002'", "sql_conn_id": "warehouse"}
    account.reconcile(**one)
    accept("re_0001")

    report = account.reconcile(**one)

    assert (report["accepted"], account.pushed["no_longer_selected"]) == (1, ["re_0000"])


def test_operator_with_half_a_query_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="belong together"):
        ReconcileRefundsOperator(task_id="reconcile", sql=ALL_REFUNDS)
