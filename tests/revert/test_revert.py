"""A mistaken batch of refunds is reverted: those, all of those, and nothing else."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.api import commissions
from airflow_provider_firstpromoter.calls import REFUND
from airflow_provider_firstpromoter.cli.definition import main
from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    EventsFailedError,
    RunRefusedError,
    SyncInterruptedError,
)
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.operators.revert import RevertRefundsOperator
from airflow_provider_firstpromoter.reconcile import Revert, RevertReport, RevertSelection
from airflow_provider_firstpromoter.reconcile.revert_report import CheckedEvent, Decision
from tests.revert.mistake import AccountToRevert, printed_command
from tests.support import BOTH_SHAPES, refund, refunds

WRONG: dict[str, Any] = {"dag_id": "sync", "run_id": "manual__wrong"}


def make_mistake(account: AccountToRevert, count: int = 12) -> dict[str, int]:
    """Send good refunds, the wrong ones, and good ones again; return the balances without the wrong ones."""
    good = [refund(n, event_id=f"good_{n}") for n in range(5)]
    account.track(*good[:3], dag_id="other", run_id="manual__wrong")
    before = account.balances()
    account.track(*refunds(count), **WRONG)
    with_mistake = account.balances()
    account.track(*good[3:], dag_id="sync", run_id="manual__later")
    return {name: amount + before[name] - with_mistake[name] for name, amount in account.balances().items()}


@BOTH_SHAPES
def test_preview_reports_what_would_be_denied_and_changes_nothing(account: AccountToRevert) -> None:
    make_mistake(account)
    before = account.balances(), account.ledger("outcome, reward_status, reverted_at")

    report = account.preview(**WRONG)

    assert (account.balances(), account.ledger("outcome, reward_status, reverted_at")) == before
    assert account.deny_calls() == 0
    assert (report["preview"], report["to_revert"], report["reverted"], report["denied"]) == (True, 12, 0, {})
    recorded = {one.event_id: one for one in account.sandbox.recorded() if one.event_id.startswith("re_")}
    assert report["to_deny"] == {"cash": sum(one.reward_amount for one in recorded.values())}
    assert {one["event_id"]: one["commissions"] for one in report["refunds"]} == {
        event_id: [
            {
                "commission_id": one.reward_id,
                "promoter_id": one.promoter_id,
                "amount": one.reward_amount,
                "unit": "cash",
                "status": "approved",
            }
        ]
        for event_id, one in recorded.items()
    }
    assert account.pushed["summary"]["kind"] == "revert"
    assert account.database.run("SELECT count(*) FROM firstpromoter_refunds_runs WHERE kind = 'revert'") == [(0,)]


@BOTH_SHAPES
@pytest.mark.parametrize("count", [3, 12, 130])
def test_revert_denies_the_refunds_of_the_run_and_no_other(account: AccountToRevert, count: int) -> None:
    right = make_mistake(account, count)

    report = account.revert(**WRONG)

    assert (report["to_revert"], report["reverted"], report["failed"]) == (count, count, 0)
    assert report["denied"] == report["to_deny"]
    assert account.balances() == right
    assert {event_id for event_id, status in account.statuses().items() if status == "denied"} == {
        f"re_{n}" for n in range(count)
    }
    ledger = account.ledger("outcome, reward_status, reward_amount, run_id, reverted_run_id")
    assert {event_id: row for event_id, row in ledger.items() if event_id.startswith("re_")} == {
        one.event_id: ("reverted", "denied", one.reward_amount, "manual__wrong", "revert__1")
        for one in account.sandbox.recorded()
        if one.event_id.startswith("re_")
    }
    assert {row[0] for event_id, row in ledger.items() if event_id.startswith("good_")} == {"recorded"}
    runs = account.database.run(
        "SELECT reverted, failed, error FROM firstpromoter_refunds_runs WHERE kind = 'revert' AND ended_at IS NOT NULL"
    )
    assert runs == [(count, 0, None)]


def test_second_revert_changes_nothing(account: AccountToRevert) -> None:
    make_mistake(account)
    account.revert(**WRONG)
    ledger, calls = account.ledger("outcome, reverted_at, reverted_run_id"), account.deny_calls()

    report = account.revert(**WRONG)

    assert (report["to_revert"], report["already_reverted"], report["reverted"]) == (0, 12, 0)
    assert account.deny_calls() == calls
    assert account.ledger("outcome, reverted_at, reverted_run_id") == ledger


def test_more_refunds_than_max_reverted_are_refused_and_nothing_is_denied(
    account: AccountToRevert, capsys: pytest.CaptureFixture[str]
) -> None:
    make_mistake(account)

    with pytest.raises(RunRefusedError, match=r"12 refunds .* max_reverted is 11\. Nothing was denied") as error:
        account.revert(max_reverted=11, **WRONG)

    assert account.deny_calls() == 0
    capsys.readouterr()
    main(printed_command(str(error.value), "revert", until=", then raise"))
    assert re.search(r"to_revert +12\b", capsys.readouterr().out)
    assert account.pushed["summary"]["to_revert"] == 12
    assert set(account.ledger().values()) == {"recorded"}
    assert account.revert(max_reverted=12, **WRONG)["reverted"] == 12


@pytest.mark.parametrize(
    "parameters",
    [{}, {"event_ids": ["re_1"], "preview": False}, {"preview": True}],
    ids=["nothing selected", "no max_reverted", "preview of all"],
)
def test_operator_with_unsafe_parameters_cannot_be_made(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"never all|needs max_reverted"):
        RevertRefundsOperator(task_id="revert", **parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dag_id": "sync"}, "together"),
        ({"dag_id": "", "run_id": ""}, "Nothing is selected"),
        ({"event_ids": []}, "Nothing is selected"),
        ({"event_ids": "re_1"}, "list of texts"),
        ({"event_ids": ["re_1"], "sent_from": "2026-01-01"}, "Several"),
        ({"sent_to": "2026-01-01"}, "needs sent_from"),
        ({"sent_from": "soon"}, "sent_from .'soon'. is not a date or time"),
        ({"sent_from": "0001-01-01T00:00:00+14:00"}, "sent_from .* is not between the years"),
        ({"sent_from": "2026-01-01", "sent_to": datetime.max}, "sent_to .* is not between the years"),
        ({"sent_from": "2026-01-02", "sent_to": "2026-01-01"}, "is not after"),
        ({"event_ids": ["re_1"], "preview": "False"}, "needs max_reverted"),
        ({"event_ids": ["re_1"], "preview": "no"}, "True or False"),
        ({"event_ids": ["re_1"], "max_reverted": "many"}, "whole number"),
    ],
    ids=str,
)
def test_revert_with_unusable_parameters_makes_no_request(
    account: AccountToRevert, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        account.preview(**parameters)

    assert account.sandbox.request_counts() == {}


def test_revert_by_event_ids_and_by_time(account: AccountToRevert) -> None:
    account.track(*refunds(6))

    report = account.revert(event_ids=["re_1", "re_4", "re_99"])

    assert (report["reverted"], report["not_recorded"]) == (2, 1)
    assert sorted(event_id for event_id, outcome in account.ledger().items() if outcome == "reverted") == [
        "re_1",
        "re_4",
    ]
    soon = datetime.now(UTC) + timedelta(minutes=1)
    assert account.preview(sent_from=soon)["selected"] == 0
    assert account.preview(sent_from="2020-01-01", sent_to="2020-02-01")["selected"] == 0
    report = account.revert(sent_from=soon - timedelta(hours=1), sent_to=soon.isoformat())
    assert (report["reverted"], report["already_reverted"]) == (4, 2)


@BOTH_SHAPES
def test_commission_denied_by_hand_only_updates_the_ledger(account: AccountToRevert) -> None:
    account.track(*refunds(3))
    for event_id in ("re_0", "re_1"):
        account.sandbox.change_commission(account.recorded(event_id).reward_id, status="denied")

    report = account.revert(dag_id="dag", run_id="manual__1", max_reverted=1)

    assert (report["already_denied"], report["to_revert"], report["reverted"]) == (2, 1, 1)
    assert set(account.ledger("outcome, reward_status, reverted_run_id").values()) == {
        ("reverted", "denied", "revert__1")
    }


def test_paid_and_partly_paid_refunds_are_left_alone(account: AccountToRevert) -> None:
    account.track(*refunds(3))
    paid, partly = account.recorded("re_0"), account.recorded("re_1")
    account.sandbox.change_commission(paid.reward_id, is_paid=True)
    account.sandbox.add_commission(
        event_id=partly.event_id, uid=partly.lead_uid, sale_amount=-1001, promoter="cleo", amount=-10, is_paid=True
    )

    report = account.revert(dag_id="dag", run_id="manual__1")

    assert (report["paid"], report["reverted"], report["failed"]) == (2, 1, 0)
    assert sorted(one["event_id"] for one in report["cases"]["paid"]) == ["re_0", "re_1"]
    assert account.ledger() == {"re_0": "recorded", "re_1": "recorded", "re_2": "reverted"}
    assert account.statuses() == {"re_0": "approved", "re_1": "approved", "re_2": "denied"}


@pytest.mark.parametrize(
    "odd",
    [
        {"is_paid": 1},
        {"is_paid": "true"},
        {"is_paid": None},
        {"status": "PAID"},
        {"status": "locked"},
        {"status": None},
        {"status": "Denied"},
    ],
    ids=str,
)
def test_commission_that_is_not_plainly_unpaid_is_left_alone_and_listed(
    account: AccountToRevert, odd: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    account.track(*refunds(2))
    odd_id = account.recorded("re_0").reward_id
    listed = commissions.listed_commission

    def answer(item: Any) -> Any:
        return listed({**item, **odd} if item["id"] == odd_id else item)

    monkeypatch.setattr(commissions, "listed_commission", answer)

    report = account.revert(dag_id="dag", run_id="manual__1")

    assert (report["unclear"], report["reverted"], report["failed"]) == (1, 1, 0)
    assert [one["event_id"] for one in report["cases"]["unclear"]] == ["re_0"]
    assert account.statuses() == {"re_0": "approved", "re_1": "denied"}
    assert account.ledger() == {"re_0": "recorded", "re_1": "reverted"}


def test_refund_that_is_paid_after_the_check_is_left_alone(
    account: AccountToRevert, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.track(*refunds(3))
    original = Revert._deny_group

    def pay_and_deny(denier: Revert, group: Any) -> int:
        account.sandbox.change_commission(account.recorded("re_1").reward_id, is_paid=True)
        return original(denier, group)

    monkeypatch.setattr(Revert, "_deny_group", pay_and_deny)

    report = account.revert(dag_id="dag", run_id="manual__1")

    assert (report["reverted"], report["paid"], report["failed"]) == (2, 1, 0)
    assert account.statuses()["re_1"] == "approved"


@BOTH_SHAPES
def test_all_commissions_of_a_split_refund_are_denied_and_differences_listed(account: AccountToRevert) -> None:
    account.track(*refunds(2))
    split, differing = account.recorded("re_0"), account.recorded("re_1")
    account.sandbox.add_commission(
        event_id=split.event_id, uid=split.lead_uid, sale_amount=-1000, promoter="cleo", amount=-50, tier=2
    )
    account.sandbox.add_commission(event_id=split.event_id, uid=split.lead_uid, sale_amount=9000)
    account.sandbox.store.execute("UPDATE commissions SET sale_amount = -7 WHERE id = ?", (differing.reward_id,))

    report = account.revert(dag_id="dag", run_id="manual__1")

    assert (report["reverted"], report["in_parts"], report["differs"]) == (2, 1, 1)
    notes = {one["event_id"]: one["notes"] for one in report["refunds"]}
    assert "in_parts: 2 commissions" in notes["re_0"][0]
    assert notes["re_1"] == ["differs: amount -1001 in the ledger, -7 in FirstPromoter"]
    standing = account.sandbox.store.execute("SELECT sale_amount FROM commissions WHERE status <> 'denied'")
    assert [row["sale_amount"] for row in standing] == [9000], "a sale with the same event_id is untouched"


def test_refunds_that_this_ledger_did_not_make_are_left_alone(account: AccountToRevert) -> None:
    """One was adopted; another was recorded by other means last month, so that ours was answered with 409."""
    last_month = datetime.now(UTC) - timedelta(days=30)
    account.sandbox.add_commission(event_id="re_1", uid="cus_1", sale_amount=-1001, created_at=last_month)
    account.track(*refunds(3))
    account.database.run("UPDATE firstpromoter_refunds SET first_sent_at = NULL WHERE event_id = 're_2'")
    assert account.ledger()["re_1"] == "already_recorded"

    report = account.revert(event_ids=["re_0", "re_1", "re_2"])

    assert (report["reverted"], report["not_ours"]) == (1, 2)
    assert account.ledger() == {"re_0": "reverted", "re_1": "already_recorded", "re_2": "recorded"}


def test_refund_without_commission_is_listed(account: AccountToRevert) -> None:
    account.track(*refunds(2), refund(999, uid="nobody"))
    account.sandbox.store.execute("DELETE FROM commissions WHERE event_id = 're_0'")

    report = account.revert(event_ids=["re_0", "re_1", "re_999"])

    assert (report["reverted"], report["not_found"], report["not_recorded"]) == (1, 1, 1)
    assert account.ledger() == {"re_0": "recorded", "re_1": "reverted", "re_999": "not_referred"}


@pytest.mark.parametrize("kind", ["batch_failed", "batch_stopped"])
def test_batch_that_ends_early_fails_the_task_and_a_retry_reverts_the_rest(account: AccountToRevert, kind: Any) -> None:
    right = make_mistake(account)
    account.sandbox.fault(kind, after=4)

    with pytest.raises(EventsFailedError, match="8 of 12 refunds could not be reverted"):
        account.revert(**WRONG)

    assert list(account.ledger().values()).count("reverted") == 4
    assert account.pushed["summary"]["failed"] == 8
    assert account.revert(**WRONG)["reverted"] == 8
    assert account.balances() == right


def test_commissions_that_fail_in_a_batch_are_known_by_reading_them(account: AccountToRevert) -> None:
    make_mistake(account)
    ids = {one.event_id: one.reward_id for one in account.sandbox.recorded()}
    message = "no: mail of anna@example.com"
    account.sandbox.fault("batch_errors", ids=[ids["re_3"], ids["re_7"]], message=message)

    with pytest.raises(EventsFailedError, match="2 of 12"):
        account.revert(**WRONG)

    summary = account.pushed["summary"]
    assert (sorted(summary["failures"]), summary["reverted"]) == (["re_3", "re_7"], 10)
    assert "anna@example.com" not in str(summary)
    assert any("10 of 12 processed, 2 failed" in warning for warning in summary["warnings"])
    assert {event_id for event_id, outcome in account.ledger().items() if outcome == "reverted"} == {
        f"re_{n}" for n in range(12)
    } - {"re_3", "re_7"}


def test_uid_that_a_batch_repeats_is_masked_in_log_xcom_and_error(
    account: AccountToRevert, caplog: pytest.LogCaptureFixture
) -> None:
    account.track(*refunds(12))
    ids = {one.event_id: one.reward_id for one in account.sandbox.recorded()}
    account.sandbox.fault("batch_errors", ids=[ids["re_3"]], message="lead CUS_3 (cus%5F3) is locked; ask cus_4")

    with pytest.raises(EventsFailedError) as error:
        account.revert(dag_id="dag", run_id="manual__1")

    for text in (str(error.value), str(account.pushed), caplog.text):
        assert not re.search(r"cus(_|%5f)[34]\b", text, re.IGNORECASE)
    assert any("failed" in warning for warning in account.pushed["summary"]["warnings"])


@pytest.mark.parametrize("status", [403, 404, 422])
def test_uid_that_a_refusal_repeats_is_masked_in_log_xcom_and_error(
    account: AccountToRevert, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    account.track(*refunds(3))
    message = "customer cus_1 is not yours"
    account.sandbox.fault("status", status=status, message=message, path="/company/commissions/deny", times=None)

    with pytest.raises((AccessRefusedError, EventsFailedError)) as error:
        account.revert(dag_id="dag", run_id="manual__1")

    for text in (str(error.value), str(account.pushed), caplog.text):
        assert "cus_1" not in text
    assert f"{status}: customer *** is not yours" in caplog.text + str(error.value)


def test_commission_that_the_listing_leaves_out_after_the_call_is_looked_up(
    account: AccountToRevert, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.track(*refunds(3))
    hidden = account.recorded("re_1").reward_id
    iter_commissions = FirstPromoterHook.iter_commissions

    def unstable(hook: FirstPromoterHook, **filters: Any) -> Any:
        return (one for one in iter_commissions(hook, **filters) if one.id != hidden or "ids" not in filters)

    monkeypatch.setattr(FirstPromoterHook, "iter_commissions", unstable)

    assert account.revert(dag_id="dag", run_id="manual__1")["reverted"] == 3


@pytest.mark.parametrize("count", [3, 12])
def test_lost_response_to_the_deny_call_is_no_failure(account: AccountToRevert, count: int, impatient: None) -> None:
    right = make_mistake(account, count)
    account.sandbox.fault("reset_after", path="/company/commissions/deny")

    assert account.revert(**WRONG)["reverted"] == count
    assert account.balances() == right


def test_deny_call_that_always_fails_fails_the_task(account: AccountToRevert, impatient: None) -> None:
    make_mistake(account)
    account.sandbox.fault("status", status=500, path="/company/commissions/deny", times=None)

    with pytest.raises(EventsFailedError, match="12 of 12 refunds could not be reverted"):
        account.revert(**WRONG)

    assert set(account.ledger().values()) == {"recorded"}
    account.sandbox.clear_faults()
    assert account.revert(**WRONG)["reverted"] == 12


def test_run_killed_between_deny_and_ledger_is_finished_by_the_next(
    account: AccountToRevert, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = make_mistake(account, 130)
    original = Ledger.mark_reverted

    def killed(ledger: Any, event_ids: Any, *more: Any) -> None:
        if event_ids:
            raise SyncInterruptedError("The task was asked to stop")

    monkeypatch.setattr(Ledger, "mark_reverted", killed)
    with pytest.raises(SyncInterruptedError):
        account.revert(**WRONG)
    assert list(account.statuses().values()).count("denied") == 100
    monkeypatch.setattr(Ledger, "mark_reverted", original)

    report = account.revert(**WRONG, max_reverted=30)

    assert (report["already_denied"], report["reverted"]) == (100, 30)
    assert account.balances() == right
    assert list(account.ledger().values()).count("reverted") == 130


def test_two_reverts_at_once_are_both_complete(account: AccountToRevert, at_once: Any) -> None:
    right = make_mistake(account, 130)

    def revert() -> RevertReport:
        # Not the operator: Airflow 2 lets none be executed outside of the main thread.
        hook = FirstPromoterHook()
        with Ledger.required(hook.account, call=REFUND) as ledger:
            return Revert(hook, ledger, RevertSelection.of(**WRONG), preview=False, max_reverted=130).run()

    reports = at_once(revert, revert)

    assert [report.failed for report in reports] == [0, 0]
    assert account.balances() == right
    assert list(account.ledger().values()).count("reverted") == 130


def test_revert_report_says_how_many_refunds_it_does_not_name() -> None:
    report = RevertReport("25 event_ids", preview=True)
    for number in range(25):
        report.add(CheckedEvent(f"re_{number}", Decision.NOT_RECORDED))
        report.add_failed(f"re_{number}")

    text = report.text()

    assert "re_19" in text
    assert "re_20" not in text
    assert text.count("… and 5 more") == 2
