"""Refunds whose last response proves nothing: what one run leaves behind, and what the next one makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, Outcome, numbered
from airflow_provider_firstpromoter.exceptions import SyncInterruptedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sync import dispatcher
from tests.support import BOTH_CALLS, refund, refunds
from tests.sync.runs import A_MONTH, EVERY_TIME, LISTING, NOT_FOUND, Refunds, cancelled_when, on_both

TWO_IDS = refund(77, email="by-mail@example.com")
UNREADABLE: list[dict[str, Any]] = [
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 403},
    {"kind": "html", "status": 403},
    {"kind": "changed_item", "item": {"id": None}},
]
unreadable = pytest.mark.parametrize("fault", UNREADABLE, ids=lambda fault: f"{fault['kind']}-{fault.get('status')}")


def the_other_way(track: Refunds, row: dict[str, Any]) -> None:
    """Send a refund as a worker does that is killed (SIGKILL) before it writes the ledger."""
    result = FirstPromoterHook().track_refund(row)
    assert result.outcome == "recorded"
    track.sent()


# --- killed between record and flush ---


@on_both
def test_first_409_of_a_killed_run_is_already_recorded(track: Refunds) -> None:
    the_other_way(track, refund(0))

    run = track(refund(0))

    assert run.outcomes == {"already_recorded": 1}
    assert track.stored() == {"re_0": "already_recorded"}


@on_both
def test_recheck_that_was_recorded_by_a_killed_run_is_already_recorded_with_its_reward(track: Refunds) -> None:
    track(refund(77))
    track.let_days_pass(1)
    track.sandbox.add_lead(uid="cus_77")
    the_other_way(track, refund(77))

    run = track(refund(77), recheck_unreferred=A_MONTH)

    assert run.outcomes == {"already_recorded": 1}
    assert run.results[0].commissions
    assert run.results[0].rewards == {"cash": track.sandbox.recorded()[0].reward_amount}
    assert track.stored() == {"re_77": "already_recorded"}


def test_recheck_that_a_lead_first_server_recorded_and_lost_is_already_recorded(track: Refunds) -> None:
    """The response of the recheck was lost, and the next recheck is answered with 404."""
    track.sandbox.change_settings(lead_first=True)
    track(refund(77))
    track.let_days_pass(1)
    track.sandbox.add_lead(uid="cus_77")
    track.sandbox.fault("reset_after")
    assert track(refund(77), recheck_unreferred=A_MONTH).outcomes == {"failed": 1}
    track.sandbox.fault(**NOT_FOUND)

    run = track(refund(77))

    assert run.outcomes == {"already_recorded": 1}, "whether it is rechecked or not"
    assert run.results[0].http_status == 404


def test_refund_recorded_by_email_before_a_kill_is_already_recorded(track: Refunds) -> None:
    """204 for the uid, 200 for the e-mail, killed; then 204 for the uid, and 409."""
    track.sandbox.change_settings(lead_first=True)
    track.sandbox.add_lead(uid="cus_77", bought=False)
    track.sandbox.add_lead(email="by-mail@example.com")
    the_other_way(track, TWO_IDS)

    run = track(TWO_IDS)

    assert [request.status for request in track.sandbox.refund_requests()] == [204, 200, 204, 409]
    assert run.outcomes == {"already_recorded": 1}
    assert run.results[0].commissions


# --- commissions that cannot be read, or lag ---


@unreadable
def test_recorded_recheck_fails_until_the_commissions_can_be_read(track: Refunds, fault: dict[str, Any]) -> None:
    track(refund(77))
    track.let_days_pass(1)
    track.sandbox.add_lead(uid="cus_77")
    the_other_way(track, refund(77))
    track.sandbox.fault(**{**EVERY_TIME, **fault, "path": LISTING})

    for _ in range(2):
        run = track(refund(77), recheck_unreferred=A_MONTH)
        assert run.outcomes == {"failed": 1}
        assert (run.results[0].message or "").startswith("409 after this refund's own 204 or 404, and FirstPromoter")
        assert track.stored() == {"re_77": "failed"}
        assert run.summary.stopped_because is None

    track.sandbox.clear_faults()
    assert track(refund(77)).outcomes == {"already_recorded": 1}


@unreadable
def test_lost_response_and_404_fail_until_the_commissions_can_be_read(track: Refunds, fault: dict[str, Any]) -> None:
    track.sandbox.fault("reset_after", event_id="re_0")
    assert track(refund(0)).outcomes == {"failed": 1}
    track.sandbox.fault(**{**NOT_FOUND, **EVERY_TIME})
    track.sandbox.fault(**{**EVERY_TIME, **fault, "path": LISTING})

    for _ in range(2):
        assert track(refund(0)).outcomes == {"failed": 1}
        assert track.stored() == {"re_0": "failed"}

    track.sandbox.clear_faults()
    track.sandbox.fault(**NOT_FOUND)
    assert track(refund(0)).outcomes == {"already_recorded": 1}


@unreadable
def test_unreadable_commissions_stop_no_other_refund(track: Refunds, fault: dict[str, Any]) -> None:
    for number in range(3):
        the_other_way(track, refund(number))
    track.sandbox.fault(**{**EVERY_TIME, **fault, "path": LISTING})

    run = track(*refunds(10), recover_rewards=True)

    assert run.outcomes == {"already_recorded": 3, "recorded": 7}
    assert run.summary.rewards_unknown == 3
    run.sync.raise_for_summary()


def test_lagging_commissions_leave_not_referred_with_a_message_that_says_so(track: Refunds) -> None:
    """The next reconciliation finds the commission, and knows that this ledger's account sent the refund."""
    track.sandbox.change_settings(listing_lag_requests=100)
    track.sandbox.fault("reset_after", event_id="re_0")
    track(refund(0))
    track.sandbox.fault(**NOT_FOUND)

    run = track(refund(0))

    assert run.outcomes == {"not_referred": 1}
    assert (
        run.results[0].message
        == "404 after a lost response, and FirstPromoter lists no commission of it: Referral not found"
    )
    record = track.records()["re_0"]
    assert (record.outcome, record.sent_amount) == ("not_referred", 1000)


# --- a 409 that the refund's own 204 caused ---


@pytest.fixture
def consuming(track: Refunds) -> Refunds:
    """Where a 204 uses up the event_id, and nobody has bought yet."""
    track.sandbox.change_settings(consume_event_id_on_204=True)
    track.sandbox.add_lead(uid="cus_77", bought=False)
    return track


def test_echo_of_a_204_is_never_recorded(consuming: Refunds) -> None:
    assert consuming(refund(77)).outcomes == {"not_referred": 1}
    for row in (refund(77, email="a@example.com"), refund(77, email="b@example.com"), refund(77, amount=5)):
        assert consuming(row).outcomes == {"not_referred": 1}
    for _ in range(2):
        consuming.let_days_pass(1)
        assert consuming(refund(77), recheck_unreferred=A_MONTH).outcomes == {"not_referred": 1}


@pytest.mark.parametrize(
    "fault",
    [{"kind": "status", "status": 500}, {"kind": "html", "status": 403}, {"kind": "reset_before"}],
    ids=lambda fault: fault["kind"],
)
def test_echo_of_a_204_is_not_recorded_after_a_failure_in_between(consuming: Refunds, fault: dict[str, Any]) -> None:
    consuming(refund(77))
    consuming.let_days_pass(1)
    consuming.sandbox.fault(**fault)
    assert consuming(refund(77), recheck_unreferred=A_MONTH).outcomes == {"failed": 1}

    assert consuming(refund(77)).outcomes == {"not_referred": 1}
    assert consuming.sandbox.recorded() == []


def test_echo_of_a_204_is_not_recorded_after_a_rejection_in_between(consuming: Refunds) -> None:
    consuming(refund(77))
    consuming.sandbox.fault("status", status=422)
    assert consuming(refund(77, quantity=2)).outcomes == {"rejected": 1}

    assert consuming(refund(77, quantity=3)).outcomes == {"not_referred": 1}


def test_echo_of_a_204_is_not_recorded_after_an_unexpected_error_in_between(
    consuming: Refunds, monkeypatch: pytest.MonkeyPatch
) -> None:
    consuming(refund(77))
    consuming.let_days_pass(1)
    with monkeypatch.context() as patch:
        patch.setattr(dispatcher, "track_event", lambda *_, **__: 1 / 0)
        assert consuming(refund(77), recheck_unreferred=A_MONTH).outcomes == {"failed": 1}

    assert consuming(refund(77)).outcomes == {"not_referred": 1}


def interrupt(track: Refunds, *rows: dict[str, Any], when: Callable[[], bool], **options: Any) -> None:
    """Run, and cancel the run as SIGTERM does."""
    sync = track.make(**options)
    since = cancelled_when(sync, when)
    with pytest.raises(SyncInterruptedError):
        sync.run(numbered(rows, call=REFUND))
    assert since() < 5


def test_echo_of_a_204_is_not_recorded_after_a_kill_during_the_recheck(consuming: Refunds) -> None:
    consuming(refund(77))
    consuming.let_days_pass(1)
    consuming.sandbox.fault("latency", seconds=8, event_id="re_77")

    interrupt(consuming, refund(77), when=lambda: not consuming.sandbox.faults.active(), recheck_unreferred=A_MONTH)
    assert consuming.stored() == {"re_77": "failed"}

    assert consuming(refund(77)).outcomes == {"not_referred": 1}


def test_echo_of_a_204_is_not_recorded_after_a_kill_between_the_two_ids(consuming: Refunds) -> None:
    consuming.connect(requests_per_minute=1)
    interrupt(consuming, TWO_IDS, when=lambda: bool(consuming.sandbox.refund_requests()))
    assert [request.status for request in consuming.sandbox.refund_requests()] == [204]
    record = consuming.records()["re_77"]
    assert (record.outcome, record.result().unmatched, record.result().lost) == ("failed", True, False)

    consuming.connect(max_attempts=1)
    assert consuming(TWO_IDS).outcomes == {"not_referred": 1}


def test_kill_before_a_request_leaves_no_trace(track: Refunds) -> None:
    track.connect(requests_per_minute=1)
    interrupt(track, *refunds(3), when=lambda: bool(track.sandbox.refund_requests()), max_in_flight=4)

    assert track.stored() == {"re_0": "recorded"}


# --- killed during the recording itself ---


@pytest.mark.parametrize("lead_gone", [False, True])
def test_refund_that_was_recorded_while_the_task_was_killed_is_found_by_the_next_run(
    track: Refunds, lead_gone: bool
) -> None:
    track.sandbox.fault("latency", seconds=8, event_id="re_0", recorded=True)
    interrupt(track, refund(0), when=lambda: bool(track.sandbox.recorded()))
    record = track.records()["re_0"]
    assert (record.outcome, record.result().lost, record.message) == (
        "failed",
        True,
        "the run was stopped before the response came",
    )
    if lead_gone:
        track.sandbox.fault(**NOT_FOUND)

    run = track(refund(0))

    assert run.outcomes == {"already_recorded": 1}
    assert run.results[0].commissions, "a lost response's reward is looked up in any run"
    assert len(track.sandbox.recorded()) == 1


@pytest.mark.parametrize("lead_gone", [False, True])
def test_refund_whose_response_was_lost_before_access_was_refused_is_found_by_the_next_run(
    track: Refunds, lead_gone: bool
) -> None:
    """The key was revoked between the request and its retry."""
    track.connect(max_attempts=2)
    track.sandbox.fault("reset_after", event_id="re_0")
    track.sandbox.fault("status", status=403, event_id="re_0")
    run = track(refund(0), refund(1))
    assert run.outcomes == {"pending": 2}
    assert track.records()["re_0"].result().lost
    assert "re_1" not in track.stored()
    if lead_gone:
        track.sandbox.fault(**NOT_FOUND)

    assert track(refund(0)).outcomes == {"already_recorded": 1}


def test_echo_of_a_204_is_not_recorded_after_access_was_refused_in_between(consuming: Refunds) -> None:
    consuming.sandbox.fault("latency", event_id="re_77")  # lets the request for the uid through
    consuming.sandbox.fault("status", status=401, event_id="re_77")
    assert consuming(TWO_IDS).outcomes == {"pending": 1}

    assert consuming(TWO_IDS).outcomes == {"not_referred": 1}


# --- two tasks at once ---


@on_both
def test_two_tasks_at_once_record_each_refund_once_and_report_its_reward_once(
    track: Refunds, at_once: Callable[..., list[Any]]
) -> None:
    track.sandbox.fault("latency", seconds=0.01, max_seconds=0.05, **EVERY_TIME)
    given = refunds(10)
    syncs = [
        (track.make(run_id="one", recover_rewards=True), given),
        (track.make(run_id="two", recover_rewards=True), given[::-1]),
    ]
    results: list[dict[str, Any]] = [{}, {}]

    def run(number: int) -> Any:
        sync, rows = syncs[number]
        sync.run(
            numbered(rows, call=REFUND),
            on_result=lambda row, result: results[number].update({str(row.event_id): result}),
            report_settled=True,
        )
        return sync.total()

    totals = at_once(lambda: run(0), lambda: run(1))

    recorded = track.sandbox.recorded()
    assert sorted(one.event_id for one in recorded) == sorted(row["event_id"] for row in given)
    assert sum(total.rewards["cash"] for total in totals) == sum(one.reward_amount for one in recorded)
    assert sum(total.amounts["account"] for total in totals) == sum(row["amount"] for row in given)
    for event_id, record in track.records().items():
        assert record.recorded
        owners = {result.reported_by["run_id"] for part in results if (result := part.get(event_id)) is not None}
        assert owners == {record.run_id}, "both name the task run that owns the row"
    # Cleared, each of the two reports what it reported before.
    for run_id, total in zip(("one", "two"), totals, strict=True):
        again = track(*given, run_id=run_id, try_number=2).sync.total()
        assert {unit: amount for unit, amount in again.rewards.items() if amount} == {
            unit: amount for unit, amount in total.rewards.items() if amount
        }


@BOTH_CALLS
def test_refund_settled_by_another_process_between_the_passes_is_skipped(track: Refunds) -> None:
    """It was pending when it was read, and is settled when its turn comes."""

    def rows() -> Any:
        for _ in range(500):  # a batch that is compared with the ledger
            yield refund(0)
        track(refund(0))
        track.sent()
        yield refund(1)

    sync = track.make()
    sync.run(numbered(rows(), track.call))

    assert track.sent() == ["re_1"]
    assert (sync.summary.outcomes[Outcome.RECORDED], sync.summary.skipped) == (1, 1)


@BOTH_CALLS
def test_refund_changed_by_another_process_between_the_passes_is_compared_again(track: Refunds) -> None:
    def rows() -> Any:
        for _ in range(500):
            yield refund(0, amount=5)
        track(refund(0))
        track.sent()
        yield refund(1)

    sync = track.make()
    sync.run(numbered(rows(), track.call))

    assert track.sent() == ["re_1"]
    assert sync.summary.outcomes[Outcome.CHANGED] == 1
    assert track.records()["re_0"].changed_amount == "5"
