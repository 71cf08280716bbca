"""RefundSync, the way of a refund: what becomes of it through hook and ledger, what is sent, and when a run stops."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from sqlalchemy import inspect, select, update

from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    RefundsFailedError,
    RefundsRejectedError,
    SyncInterruptedError,
)
from airflow_provider_firstpromoter.hooks.firstpromoter import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import RefundLedger, RunKey
from airflow_provider_firstpromoter.refunds import Outcome, Result, Summary
from airflow_provider_firstpromoter.refunds.rows import marking_repeats, numbered
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sync import RefundSync, SyncOptions

#: Three letters, so it passes our validation; FirstPromoter does not know it and answers 400.
UNKNOWN_CURRENCY = "ZZZ"
#: What every request of a broken API meets.
EVERY_TIME: dict[str, Any] = {"times": None}


def refund(number: int, **values: Any) -> dict[str, Any]:
    """A refund of customer ``cus_<number>``."""
    return {"event_id": f"re_{number}", "amount": 1000 + number, "uid": f"cus_{number}", **values}


def refunds(count: int, start: int = 0, **values: Any) -> list[dict[str, Any]]:
    return [refund(number, **values) for number in range(start, start + count)]


@dataclass
class Run:
    """A run that is over, and what it handed on."""

    sync: RefundSync
    summary: Summary
    #: By position in the input; a repeated row has none.
    results: dict[int, Result] = field(default_factory=dict)

    @property
    def outcomes(self) -> dict[str, int]:
        return {outcome.value: count for outcome, count in self.summary.outcomes.items() if count}


class Refunds:
    """An account, its ledger and its FirstPromoter: runs a sync as the operators do, with all objects fresh."""

    def __init__(self, sandbox: Sandbox, connect: Callable[..., str], ledger_conn_id: str) -> None:
        self.sandbox = sandbox
        self.connect = connect
        self.ledger_conn_id = ledger_conn_id
        self.seen = 0

    def refer(self, count: int) -> None:
        """Let FirstPromoter know ``cus_0``, ``cus_1`` and so on as referred customers who bought."""
        self.sandbox.add_leads({"uid": f"cus_{number}", "email": f"c{number}@example.com"} for number in range(count))

    @property
    def ledger(self) -> RefundLedger:
        hook = FirstPromoterHook()
        return RefundLedger.required(hook.account, self.ledger_conn_id)

    def make(self, **options: Any) -> RefundSync:
        hook = FirstPromoterHook()
        ledger = RefundLedger.required(hook.account, self.ledger_conn_id)
        return RefundSync(hook, ledger, SyncOptions(**options), RunKey("dag", "run", "task", -1))

    def __call__(self, *given: Mapping[str, Any], **options: Any) -> Run:
        sync = self.make(**options)
        run = Run(sync, sync.summary)
        rows = list(marking_repeats(numbered(given)))
        results: dict[int, Result] = {}
        sync.run(rows, on_result=lambda row, result: results.update({row.position: result}))
        run.results.update(sorted(results.items()))
        return run

    def sent(self) -> list[str]:
        """The event_ids of the requests since this was last asked, in the order in which they came."""
        requests = self.sandbox.refund_requests(after=self.seen)
        self.seen += len(requests)
        return [request.body["event_id"] for request in requests]

    def stored(self) -> dict[str, str]:
        """The ledger: each event_id's outcome."""
        ledger = self.ledger
        if not ledger.exists():
            return {}
        with ledger.engine.connect() as connection:
            rows = connection.execute(select(ledger.table.c.event_id, ledger.table.c.outcome)).all()
        assert len({event_id for event_id, _ in rows}) == len(rows)
        return {event_id: outcome.value for event_id, outcome in rows}

    def let_days_pass(self, days: float) -> None:
        """Make everything in the ledger older."""
        ledger, c = self.ledger, self.ledger.table.c
        with ledger.engine.begin() as connection:
            for event_id, first, last in connection.execute(
                select(c.event_id, c.first_sent_at, c.last_sent_at).where(c.first_sent_at.is_not(None))
            ).all():
                connection.execute(
                    update(ledger.table)
                    .where(ledger.table.c.event_id == event_id)
                    .values(first_sent_at=first - timedelta(days=days), last_sent_at=last - timedelta(days=days))
                )


@pytest.fixture
def track(
    request: pytest.FixtureRequest, sandbox: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]
) -> Refunds:
    """
    Sends refunds to a sandbox that knows ``cus_0`` to ``cus_9``; each request is tried once.

    The ledger is in SQLite, and in PostgreSQL too where it matters to the test.
    """
    connect(max_attempts=1)
    refunds = Refunds(sandbox, connect, new_database(getattr(request, "param", "sqlite"), "ledger").conn_id)
    refunds.refer(10)
    return refunds


on_both = pytest.mark.parametrize("track", ["sqlite", "postgresql"], indirect=True)


# --- every answer has one outcome, and the ledger keeps those that the table says ---


@on_both
@pytest.mark.parametrize(
    ("row", "fault", "outcome", "http_status"),
    [
        pytest.param({}, None, "recorded", 200, id="200"),
        pytest.param({"event_id": "re_before"}, None, "already_recorded", 409, id="409"),
        pytest.param({"uid": "nobody"}, None, "not_referred", 404, id="404"),
        pytest.param({"uid": "window_shopper"}, None, "not_referred", 204, id="204"),
        pytest.param({"currency": UNKNOWN_CURRENCY}, None, "rejected", 400, id="400"),
        pytest.param({}, {"kind": "status", "status": 422}, "rejected", 422, id="422"),
        pytest.param({"amount": -1}, None, "rejected", None, id="refused-before-any-call"),
    ],
)
def test_what_an_answer_settles_or_rejects_is_in_the_ledger(
    track: Refunds, row: dict[str, Any], fault: dict[str, Any] | None, outcome: str, http_status: int | None
) -> None:
    track.sandbox.add_lead(uid="window_shopper", bought=False)
    FirstPromoterHook().track_refund(refund(1, event_id="re_before"))
    if fault:
        track.sandbox.fault(**fault)
    given = refund(0, **row)

    run = track(given)

    assert (run.results[0].outcome, run.results[0].http_status) == (outcome, http_status)
    assert run.results[0].sent is (http_status is not None)
    assert track.stored() == {given["event_id"]: outcome}
    assert run.outcomes == {outcome: 1}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"kind": "status", "status": 429}, id="429"),
        pytest.param({"kind": "status", "status": 500}, id="500"),
        pytest.param({"kind": "reset_before"}, id="connection-broke"),
        pytest.param({"kind": "reset_after"}, id="answer-lost"),
        pytest.param({"kind": "truncated"}, id="answer-broke-off"),
        pytest.param({"kind": "html"}, id="error-page-of-a-proxy"),
        pytest.param({"kind": "html", "status": 200}, id="welcome-page-of-a-proxy"),
        pytest.param({"kind": "bare_404"}, id="404-without-a-word"),
        pytest.param({"kind": "redirect", "location": "https://example.com/"}, id="redirect"),
    ],
)
def test_what_failed_is_never_in_the_ledger_and_is_sent_again(track: Refunds, fault: dict[str, Any]) -> None:
    track.sandbox.fault(**fault)

    run = track(refund(0))

    assert run.outcomes == {"failed": 1}
    assert track.stored() == {}
    with pytest.raises(RefundsFailedError, match="re_0"):
        run.sync.raise_for_summary()

    again = track(refund(0))

    assert track.sent() == ["re_0", "re_0"]
    assert again.results[0].outcome.settled
    assert [recorded.event_id for recorded in track.sandbox.recorded()] == ["re_0"]
    again.sync.raise_for_summary()


def test_a_failure_is_an_error_that_airflow_retries() -> None:
    assert issubclass(RefundsFailedError, AirflowException)
    assert not issubclass(RefundsFailedError, AirflowFailException)


# --- settled refunds ---


@on_both
def test_a_settled_refund_is_not_sent_and_its_stored_result_comes_back(track: Refunds) -> None:
    FirstPromoterHook().track_refund(refund(1))
    given = [refund(0), refund(1), refund(99)]
    first = track(*given)
    assert first.outcomes == {"recorded": 1, "already_recorded": 1, "not_referred": 1}
    track.sent()

    again = track(*given)

    assert track.sent() == []
    assert [result.to_json() for result in again.results.values()] == [
        {**result.to_json(), "sent": False} for result in first.results.values()
    ]
    assert (again.summary.sent, again.summary.skipped, again.summary.requests) == (0, 3, 0)
    assert again.outcomes == first.outcomes
    assert again.summary.reversed == first.summary.reversed
    assert again.summary.refunded == first.summary.refunded
    again.sync.raise_for_summary()


@pytest.mark.parametrize(
    ("first", "then", "options"),
    [
        pytest.param({"amount": 1050}, {"amount": Decimal("1050.00")}, {}, id="a-decimal"),
        pytest.param({"amount": 1050}, {"amount": "1050"}, {}, id="a-text"),
        pytest.param({"amount": "10.5"}, {"amount": "10.50"}, {"amount_unit": "major"}, id="another-scale"),
        pytest.param({"amount": 1050}, {"amount": 1050, "quantity": 3}, {}, id="another-column-changed"),
    ],
)
def test_the_same_money_written_otherwise_is_not_changed(
    track: Refunds, first: dict[str, Any], then: dict[str, Any], options: dict[str, Any]
) -> None:
    track(refund(0, currency="USD", **first), **options)
    track.sent()

    again = track(refund(0, currency="USD", **then), **options)

    assert (again.outcomes, track.sent()) == ({"recorded": 1}, [])


def test_the_same_money_in_another_unit_is_not_changed(track: Refunds) -> None:
    track(refund(0, amount=1999, currency="USD"))
    track.sent()

    again = track(refund(0, amount="19.99", currency="USD"), amount_unit="major")

    assert (again.outcomes, track.sent()) == ({"recorded": 1}, [])


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (1500, "is settled with amount 1000, and the row now says 1500"),
        (500, "is settled with amount 1000, and the row now says 500"),
        (0, "is settled, and now amount must be above zero"),
        (None, "is settled, and now amount is missing"),
        ("a lot", "is settled, and now amount is not a number"),
    ],
)
def test_a_settled_refund_with_another_amount_is_named_and_not_sent(
    track: Refunds, amount: object, reason: str
) -> None:
    track(refund(0))
    track.sent()

    again = track(refund(0, amount=amount), refund(1))

    assert track.sent() == ["re_1"]
    assert again.results[0].outcome is Outcome.CHANGED
    assert (again.results[0].message or "").startswith(reason)
    assert [problem.event_id for problem in again.summary.problems] == ["re_0"]
    assert track.stored() == {"re_0": "recorded", "re_1": "recorded"}
    with pytest.raises(RefundsRejectedError, match="1 changed: 're_0': is settled"):
        again.sync.raise_for_summary()


# --- rejected refunds ---


@pytest.mark.parametrize("wrong", [{"currency": UNKNOWN_CURRENCY}, {"amount": -1}], ids=["by-the-api", "by-ourselves"])
def test_a_rejected_refund_that_is_still_the_same_costs_no_request_and_is_still_counted(
    track: Refunds, wrong: dict[str, Any]
) -> None:
    first = track(refund(0, **wrong))
    track.sent()

    again = track(refund(0, **wrong))

    assert track.sent() == []
    assert again.outcomes == {"rejected": 1}
    assert (again.summary.sent, again.summary.skipped) == (0, 0)
    assert again.results[0].message == first.results[0].message
    with pytest.raises(RefundsRejectedError, match="re_0"):
        again.sync.raise_for_summary()


@pytest.mark.parametrize(
    "change", [{"currency": "EUR"}, {"quantity": 2}, {"email": "c0@example.com"}, {"sale_event_id": "ch_1"}]
)
def test_a_rejected_refund_whose_content_changed_is_sent_again(track: Refunds, change: dict[str, Any]) -> None:
    track(refund(0, currency=UNKNOWN_CURRENCY))
    track.sent()

    track(refund(0, **{"currency": UNKNOWN_CURRENCY, **change}))

    assert track.sent() == ["re_0"]


@on_both
def test_a_rejected_refund_that_was_put_right_is_recorded(track: Refunds) -> None:
    track(refund(0, amount=-1), refund(1, currency=UNKNOWN_CURRENCY))

    run = track(refund(0, amount=1), refund(1, currency="USD"))

    assert run.outcomes == {"recorded": 2}
    assert track.stored() == {"re_0": "recorded", "re_1": "recorded"}


def test_a_rejected_refund_is_sent_unchanged_if_that_is_asked_for(track: Refunds) -> None:
    track.sandbox.fault("status", status=422)
    track(refund(0))
    track.sent()

    run = track(refund(0), retry_rejected=True)

    assert (track.sent(), run.outcomes) == (["re_0"], {"recorded": 1})
    assert track.stored() == {"re_0": "recorded"}


def test_what_our_own_validation_refused_is_validated_anew(track: Refunds) -> None:
    """The row is the same, but the task's parameters are not: it is fit to be sent now."""
    row = refund(0, amount="19.99", currency="USD")
    first = track(row)
    assert first.outcomes == {"rejected": 1}
    assert track.sent() == []

    run = track(row, amount_unit="major")

    assert run.outcomes == {"recorded": 1}
    assert track.sandbox.recorded()[0].original_amount == -1999


def test_a_row_without_a_usable_event_id_counts_as_rejected_and_never_enters_the_ledger(track: Refunds) -> None:
    run = track(refund(0, event_id=None), refund(1, event_id="x" * 256), refund(2, event_id=" re_2"), refund(3))

    assert run.outcomes == {"rejected": 3, "recorded": 1}
    assert [problem.reason for problem in run.summary.problems] == [
        "row 1 of the input: event_id is missing",
        "row 2 of the input: event_id has 256 characters; at most 255 can be sent",
        "row 3 of the input: event_id has white space at an end; trim it in the query",
    ]
    assert track.stored() == {"re_3": "recorded"}


# --- the same event_id twice in one run ---


def test_the_same_event_id_twice_in_one_run_is_sent_once(track: Refunds) -> None:
    run = track(refund(0), refund(1), refund(0), refund(0))

    assert sorted(track.sent()) == ["re_0", "re_1"]
    assert run.outcomes == {"recorded": 2}
    assert run.summary.repeated == 2
    run.sync.raise_for_summary()


def test_the_same_event_id_with_another_amount_is_changed(track: Refunds) -> None:
    run = track(refund(0, amount=500), refund(0, amount=700))

    assert track.sent() == ["re_0"]
    assert track.sandbox.recorded()[0].original_amount == -500
    assert run.outcomes == {"recorded": 1, "changed": 1}
    assert run.results[1].message == "came earlier in this run with amount 500"
    with pytest.raises(RefundsRejectedError, match="re_0"):
        run.sync.raise_for_summary()


@pytest.mark.parametrize("amount", [None, "a lot"])
def test_the_same_refused_row_twice_is_a_repetition_and_no_change(track: Refunds, amount: object) -> None:
    run = track(refund(0, amount=amount), refund(0, amount=amount))

    assert run.outcomes == {"rejected": 1}
    assert run.summary.repeated == 1


# --- brakes ---


def test_twenty_answers_of_400_in_a_row_stop_the_run(track: Refunds) -> None:
    given = refunds(30, currency=UNKNOWN_CURRENCY)

    run = track(*given, max_in_flight=1, max_rejected=None)

    assert track.sent() == [f"re_{number}" for number in range(20)]
    assert track.stored() == {f"re_{number}": "rejected" for number in range(20)}
    assert run.outcomes == {"rejected": 20, "pending": 10}
    assert run.summary.left_pending == 10
    assert (run.summary.stopped_because or "").startswith("20 refunds rejected in a row")
    with pytest.raises(RefundsRejectedError, match="stopped early: 20 refunds rejected in a row"):
        run.sync.raise_for_summary()


def test_a_stop_takes_back_what_is_under_way_and_starts_nothing_new(track: Refunds) -> None:
    track.sandbox.fault("latency", seconds=0.05, times=None)

    run = track(*refunds(60, currency=UNKNOWN_CURRENCY), max_in_flight=8)

    sent = track.sent()
    assert 20 <= len(sent) <= 20 + 8
    assert track.stored() == dict.fromkeys(sent, "rejected")
    assert run.summary.left_pending == 60 - len(sent)


def test_answers_of_400_with_others_in_between_do_not_stop_the_run(track: Refunds) -> None:
    given = [*refunds(19, start=10, currency=UNKNOWN_CURRENCY), refund(0)] * 2
    rows = [{**row, "event_id": f"re_{position}"} for position, row in enumerate(given)]

    run = track(*rows, max_in_flight=1, max_rejected=None)

    assert run.outcomes == {"rejected": 38, "recorded": 2}
    assert run.summary.stopped_because is None
    run.sync.raise_for_summary()


def test_rows_that_we_refuse_ourselves_do_not_stop_the_run(track: Refunds) -> None:
    run = track(*refunds(50, start=10, amount=0), refund(0), max_rejected=None)

    assert run.outcomes == {"rejected": 50, "recorded": 1}
    assert run.summary.stopped_because is None


def test_ten_failures_in_a_row_stop_the_run_and_the_next_run_sends_the_rest(track: Refunds) -> None:
    given = refunds(10) + refunds(15, start=10)
    track.sandbox.fault("status", status=500, **EVERY_TIME)

    run = track(*given, max_in_flight=1)

    assert track.sent() == [f"re_{number}" for number in range(10)]
    assert track.stored() == {}
    assert run.outcomes == {"failed": 10, "pending": 15}
    assert (run.summary.stopped_because or "").startswith("10 refunds failed in a row")
    with pytest.raises(RefundsFailedError, match="10 failed"):
        run.sync.raise_for_summary()

    track.sandbox.clear_faults()
    again = track(*given)

    assert again.outcomes == {"recorded": 10, "not_referred": 15}
    assert len(track.stored()) == 25


def test_a_stop_flushes_what_is_known(track: Refunds) -> None:
    for number in range(5, 30):
        track.sandbox.fault("status", status=503, event_id=f"re_{number}")

    run = track(*refunds(30), max_in_flight=1)

    assert run.outcomes == {"recorded": 5, "failed": 10, "pending": 15}
    assert track.stored() == {f"re_{number}": "recorded" for number in range(5)}


def test_a_wrong_key_ends_the_run_after_one_request(track: Refunds) -> None:
    track.connect(max_attempts=1, password="not-the-right-key")

    run = track(*refunds(10), max_in_flight=8)

    assert track.sandbox.request_counts() == {"POST /api/v2/track/refund": {"401": 1}}
    assert track.stored() == {}
    assert run.outcomes == {"pending": 10}
    with pytest.raises(AccessRefusedError, match=r"password \(API key\) and login \(Account ID\)") as refused:
        run.sync.raise_for_summary()
    assert isinstance(refused.value, AirflowFailException), "Airflow would try again"


def test_a_key_that_is_withdrawn_during_the_run_ends_it_and_keeps_what_is_known(track: Refunds) -> None:
    track.sandbox.fault("status", status=403, event_id="re_4")

    run = track(*refunds(10), max_in_flight=1)

    assert track.stored() == {f"re_{number}": "recorded" for number in range(4)}
    assert run.outcomes == {"recorded": 4, "pending": 6}
    with pytest.raises(AccessRefusedError):
        run.sync.raise_for_summary()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "bare_404"},
        {"kind": "html", "status": 200},
        {"kind": "html", "status": 404},
        {"kind": "redirect", "location": "https://example.com/login"},
        {"kind": "malformed"},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}",
)
def test_a_base_url_that_is_not_firstpromoters_settles_nothing(track: Refunds, fault: dict[str, Any]) -> None:
    track.sandbox.fault(**fault, **EVERY_TIME)

    run = track(*refunds(30, start=10), max_in_flight=1)

    assert track.stored() == {}
    assert run.outcomes == {"failed": 10, "pending": 20}


def test_a_wrong_path_settles_nothing(track: Refunds) -> None:
    track.connect(max_attempts=1, host=track.sandbox.base_url.removesuffix("/api/v2") + "/somewhere/else")

    run = track(*refunds(12), max_in_flight=1)

    assert track.stored() == {}
    assert run.outcomes == {"failed": 10, "pending": 2}
    assert "is the connection's host right?" in (run.summary.stopped_because or "")


def test_an_api_that_is_down_ends_the_run_early_and_leaves_the_rest_pending(track: Refunds) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        track.connect(max_attempts=1, host=f"http://127.0.0.1:{nobody_listens.getsockname()[1]}/api/v2")

        run = track(*refunds(100), max_in_flight=1)

    assert run.outcomes == {"failed": 10, "pending": 90}
    assert track.stored() == {}
    with pytest.raises(RefundsFailedError, match="the connection was refused or broke"):
        run.sync.raise_for_summary()


@pytest.mark.parametrize(("strangers", "referred", "warns"), [(100, 0, True), (99, 0, False), (150, 1, False)])
def test_a_hundred_sent_without_a_match_is_a_warning(
    track: Refunds, strangers: int, referred: int, warns: bool
) -> None:
    run = track(*refunds(strangers, start=10), *refunds(referred))

    assert run.summary.sent == strangers + referred
    assert [warning for warning in run.summary.warnings if "right id column" in warning] == (
        ["100 refunds sent and not one belongs to a referral: is it the right id column, and the right account?"]
        if warns
        else []
    )
    run.sync.raise_for_summary()


# --- late sales ---

A_MONTH = timedelta(days=30)


@on_both
def test_a_refund_that_came_before_its_sale_is_asked_again_the_next_day(track: Refunds) -> None:
    late = refund(77)
    assert track(late, recheck_unreferred=A_MONTH).outcomes == {"not_referred": 1}
    track.sandbox.add_lead(uid="cus_77")
    track.let_days_pass(1)
    track.sent()

    run = track(late, recheck_unreferred=A_MONTH)

    assert track.sent() == ["re_77"]
    assert (run.outcomes, run.summary.rechecked) == ({"recorded": 1}, 1)
    assert run.results[0].reward is not None
    assert track.stored() == {"re_77": "recorded"}


def test_without_recheck_unreferred_a_refund_that_matched_nobody_is_settled(track: Refunds) -> None:
    track(refund(77))
    track.let_days_pass(10)
    track.sent()

    assert track(refund(77)).summary.skipped == 1
    assert track.sent() == []


@on_both
def test_a_refund_is_rechecked_once_a_day_at_most(track: Refunds) -> None:
    sent = []
    for _ in range(3):  # days
        for _ in range(3):  # runs
            track(refund(77), recheck_unreferred=A_MONTH)
            sent.append(len(track.sent()))
        track.let_days_pass(1)

    assert sent == [1, 0, 0] * 3


def test_a_refund_is_not_rechecked_for_ever(track: Refunds) -> None:
    track(refund(77), recheck_unreferred=A_MONTH)
    sent = []
    for _ in range(4):
        track.let_days_pass(10)
        track.sent()
        track(refund(77), recheck_unreferred=A_MONTH)
        sent.append(len(track.sent()))

    assert sent == [1, 1, 0, 0], "the month counts from the first time that it was sent"


def test_rechecks_come_after_the_new_refunds(track: Refunds) -> None:
    old = refunds(3, start=70)
    track(*old)
    track.let_days_pass(2)
    track.sent()

    track(*old, *refunds(3), recheck_unreferred=A_MONTH, max_in_flight=1)
    assert track.sent() == ["re_0", "re_1", "re_2", "re_70", "re_71", "re_72"]


def test_the_limit_is_for_the_new_refunds_first(track: Refunds) -> None:
    old = refunds(3, start=70)
    track(*old)
    track.let_days_pass(2)
    track.sent()

    run = track(*old, *refunds(3), recheck_unreferred=A_MONTH, limit=4, max_in_flight=1)

    assert track.sent() == ["re_0", "re_1", "re_2", "re_70"]
    assert (run.summary.rechecked, run.summary.left_pending) == (1, 2)


def test_409_on_a_recheck_is_no_proof_of_a_commission_taken_back(
    new_sandbox: Callable[..., Sandbox], connect: Callable[..., str], new_database: Callable[..., Any]
) -> None:
    """Where a 204 uses up the event_id, the recheck only hears the echo of the first try."""
    sandbox = new_sandbox(requests_per_minute=0, consume_event_id_on_204=True)
    connect(sandbox)
    track = Refunds(sandbox, connect, new_database("sqlite", "ledger").conn_id)
    sandbox.add_lead(uid="cus_77", bought=False)
    track(refund(77))
    track.let_days_pass(1)

    run = track(refund(77), recheck_unreferred=A_MONTH)

    assert [request.status for request in sandbox.refund_requests()] == [204, 409]
    assert run.outcomes == {"not_referred": 1}
    assert (run.results[0].message or "").startswith("409 on a recheck: ")
    assert track.stored() == {"re_77": "not_referred"}


def test_409_on_a_recheck_whose_own_answer_was_lost_is_settled_by_the_books(track: Refunds, impatient: None) -> None:
    track(refund(77))
    track.sandbox.add_lead(uid="cus_77")
    track.let_days_pass(1)
    track.connect(max_attempts=2)
    track.sandbox.fault("reset_after", event_id="re_77")

    run = track(refund(77), recheck_unreferred=A_MONTH)

    assert [request.status for request in track.sandbox.refund_requests()] == [404, None, 409]
    assert run.outcomes == {"already_recorded": 1}
    assert run.results[0].reward is not None
    assert run.results[0].reward.amount == track.sandbox.recorded()[0].reward_amount
    assert track.stored() == {"re_77": "already_recorded"}


# --- uid and e-mail ---


def test_a_customer_known_by_email_only_is_found_though_the_row_has_a_uid(track: Refunds) -> None:
    track.sandbox.add_lead(email="by-mail@example.com")

    run = track(refund(77, email="by-mail@example.com"))

    assert [sorted(request.body.keys() & {"uid", "email"}) for request in track.sandbox.refund_requests()] == [
        ["uid"],
        ["email"],
    ]
    assert run.outcomes == {"recorded": 1}
    assert (run.summary.sent, run.summary.requests) == (1, 2)


def test_an_answer_lost_after_the_other_ids_204_is_settled_by_the_books(track: Refunds, impatient: None) -> None:
    track.sandbox.add_lead(uid="window_shopper", bought=False)
    track.connect(max_attempts=2)
    track.sandbox.fault("latency", event_id="re_0")  # lets the request for the uid through
    track.sandbox.fault("reset_after", event_id="re_0")

    run = track(refund(0, uid="window_shopper", email="c0@example.com"))

    assert [request.status for request in track.sandbox.refund_requests()] == [204, None, 409]
    assert run.outcomes == {"already_recorded": 1}
    assert run.results[0].reward is not None


# --- limit and preview ---


def test_limit_sends_so_many_and_leaves_the_rest_pending(track: Refunds) -> None:
    given = refunds(10)

    run = track(*given, limit=4)

    assert len(track.sent()) == 4
    assert run.outcomes == {"recorded": 4, "pending": 6}
    assert run.summary.left_pending == 6
    run.sync.raise_for_summary()
    assert track(*given, limit=4).outcomes == {"recorded": 8, "pending": 2}, "settled ones are not held against it"
    assert track(*given, limit=4).outcomes == {"recorded": 10}
    assert len(track.sent()) == 6


def test_rows_that_are_refused_do_not_use_up_the_limit(track: Refunds) -> None:
    run = track(*refunds(5, start=10, amount=0), *refunds(2), limit=2, max_rejected=None)

    assert run.outcomes == {"rejected": 5, "recorded": 2}


@on_both
def test_preview_sends_nothing_writes_nothing_and_does_not_make_the_table(track: Refunds) -> None:
    run = track(refund(0), refund(1, amount=-1), preview=True)

    assert track.sent() == []
    assert not inspect(track.ledger.engine).has_table(track.ledger.table.name)
    assert run.outcomes == {"pending": 1, "rejected": 1}
    assert run.summary.preview
    run.sync.raise_for_summary()


def test_preview_consults_the_ledger_and_leaves_it_as_it_is(track: Refunds) -> None:
    track(refund(0))
    before = track.stored()
    track.sent()

    run = track(refund(0), refund(1), refund(2, amount=0), preview=True)

    assert run.outcomes == {"recorded": 1, "pending": 1, "rejected": 1}
    assert run.summary.skipped == 1
    assert (track.sent(), track.stored()) == ([], before)


# --- the ledger while the run goes on ---


@on_both
def test_results_are_in_the_ledger_while_the_run_goes_on(track: Refunds) -> None:
    sync = track.make()
    stored: dict[int, int] = {}

    def look(row: Any, result: Result) -> None:
        if sync.summary.sent in (499, 600):
            stored[sync.summary.sent] = len(track.stored())

    sync.run(list(numbered(refunds(610))), on_result=look)

    assert stored == {499: 0, 600: 500}
    assert len(track.stored()) == 610


def test_a_slow_run_writes_what_it_has_after_a_while(track: Refunds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_firstpromoter.sync.run.FLUSH_EVERY_SECONDS", 0.1)
    track.sandbox.fault("latency", seconds=0.6, event_id="re_3")
    stored = []

    track.make(max_in_flight=1).run(
        list(numbered(refunds(4))),
        on_result=lambda row, result: stored.append(set(track.stored())) if result.event_id == "re_3" else None,
    )

    assert stored == [{"re_0", "re_1", "re_2"}]


# --- several requests at once ---


def under_way_at_once(sandbox: Sandbox, latency: float) -> int:
    """The most requests that were under way at once, if each took at least so many seconds."""
    came = sorted(request.at for request in sandbox.refund_requests())
    return max(sum(at <= other < at + latency for other in came) for at in came)


@pytest.mark.parametrize("most", [1, 3, 8])
def test_max_in_flight_is_reached_and_never_exceeded(track: Refunds, most: int) -> None:
    latency = 0.15
    track.sandbox.fault("latency", seconds=latency, **EVERY_TIME)

    run = track(*refunds(5 * most), max_in_flight=most)

    assert run.summary.sent == 5 * most
    assert under_way_at_once(track.sandbox, latency) == most


def test_the_first_request_goes_alone(track: Refunds) -> None:
    """A wrong key or host is not tried eight times over."""
    track.sandbox.fault("latency", seconds=0.3)

    track(*refunds(10), max_in_flight=8)

    came = [request.at for request in track.sandbox.refund_requests()]
    assert came[1] - came[0] >= 0.3


# --- the summary ---


def test_the_summary_adds_up(track: Refunds) -> None:
    track.sandbox.add_lead(uid="cus_points", promoter="ref2", unit="points")
    track(refund(0), refund(50))
    track.let_days_pass(2)
    FirstPromoterHook().track_refund(refund(1))
    track.sandbox.fault("status", status=500, event_id="re_5")

    run = track(
        refund(0),  # settled
        refund(1, sale_event_id="ch_1"),  # already there, its reward unknown
        refund(2, amount=10_000),
        refund(3, amount=700, currency="JPY", sale_event_id="ch_3"),
        refund(4, uid="cus_points", amount=500, currency="EUR"),
        refund(5),  # fails
        refund(6, amount=0),  # rejected
        refund(2, amount=10_000),  # repeated
        refund(2, amount=10_001),  # changed
        refund(50),  # asked again
        recheck_unreferred=A_MONTH,
    )

    summary = run.summary.to_json()
    assert summary["outcomes"] == {
        "recorded": 4,
        "already_recorded": 1,
        "not_referred": 1,
        "rejected": 1,
        "changed": 1,
        "failed": 1,
        "pending": 0,
    }
    counts = ("sent", "skipped", "rechecked", "repeated", "left_pending", "rewards_unknown", "without_sale_event_id")
    assert [summary[name] for name in counts] == [6, 1, 1, 1, 0, 1, 3]
    rewards = {recorded.event_id: recorded.reward_amount for recorded in track.sandbox.recorded()}
    assert summary["reversed"] == {
        "cash": rewards["re_0"] + rewards["re_2"] + rewards["re_3"],
        "points": rewards["re_4"],
    }
    assert summary["refunded"] == {"account": 1000 + 1001 + 10_000, "JPY": 700, "EUR": 500}
    assert {problem["event_id"]: problem["outcome"] for problem in summary["problems"]} == {
        "re_5": "failed",
        "re_6": "rejected",
        "re_2": "changed",
    }
    assert summary["requests"] == 6
    assert summary["seconds"] > 0
    assert summary["stopped_because"] is None


def test_the_summary_names_twenty_problems_and_counts_all(track: Refunds) -> None:
    run = track(*refunds(50, amount=0))

    assert len(run.summary.problems) == 20
    with pytest.raises(RefundsRejectedError, match=r"^50 rejected: 're_0': .*; and 45 more"):
        run.sync.raise_for_summary()


@pytest.mark.parametrize(("max_rejected", "fails"), [(0, True), (1, True), (2, False), (None, False)])
def test_max_rejected_counts_rejected_and_changed_old_and_new(
    track: Refunds, max_rejected: int | None, fails: bool
) -> None:
    track(refund(0), refund(1, amount=0))

    run = track(refund(0, amount=5), refund(1, amount=0), refund(2), max_rejected=max_rejected)

    assert run.outcomes == {"changed": 1, "rejected": 1, "recorded": 1}, "the others were sent"
    if fails:
        with pytest.raises(RefundsRejectedError) as rejected:
            run.sync.raise_for_summary()
        assert isinstance(rejected.value, AirflowFailException), "no retry mends it"
    else:
        run.sync.raise_for_summary()


# --- a kill ---


def cancelled_when(sync: RefundSync, ready: Callable[[], bool]) -> Callable[[], float]:
    """
    Cancel a run from another thread as soon as it is ready for it.

    :returns: asked when the run is over, how many seconds that took
    """
    at: list[float] = []

    def cancel() -> None:
        deadline = time.monotonic() + 20
        while not ready() and time.monotonic() < deadline:
            time.sleep(0.02)
        at.append(time.monotonic())
        sync.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()

    def since() -> float:
        over = time.monotonic()
        thread.join()
        return over - at[0]

    return since


@on_both
def test_a_kill_ends_a_paced_run_in_time_with_what_is_known(track: Refunds) -> None:
    track.connect(requests_per_minute=20)
    sync = track.make()
    answered = {"POST /api/v2/track/refund": {"200": 10, "404": 10}}
    since = cancelled_when(sync, lambda: track.sandbox.request_counts() == answered)

    with pytest.raises(SyncInterruptedError):
        sync.run(list(numbered(refunds(100))))

    assert since() < 3, "Airflow's SIGKILL follows five seconds after its SIGTERM"
    assert sorted(track.stored()) == sorted(track.sent())
    assert len(track.stored()) == 20


def test_a_kill_does_not_wait_for_a_request_that_hangs(track: Refunds) -> None:
    track.sandbox.fault("latency", seconds=20, event_id="re_5")
    sync = track.make(max_in_flight=4)
    since = cancelled_when(sync, lambda: len(track.sandbox.refund_requests()) == 40)

    with pytest.raises(SyncInterruptedError):
        sync.run(list(numbered(refunds(40))))

    assert since() < 3
    assert set(track.stored()) == {f"re_{number}" for number in range(40)} - {"re_5"}


def test_an_error_on_the_way_does_not_lose_what_is_known(track: Refunds) -> None:
    def run_out_of_luck(row: Any, result: Result) -> None:
        if result.event_id == "re_5":
            raise MemoryError

    with pytest.raises(MemoryError):
        track.make(max_in_flight=1).run(list(numbered(refunds(10))), on_result=run_out_of_luck)

    assert set(track.stored()) == set(track.sent())


def test_times_in_the_ledger_are_utc(track: Refunds) -> None:
    before = datetime.now(UTC)
    track(refund(0))

    known = track.ledger.find(["re_0"])["re_0"]

    assert known.first_sent_at is not None
    assert before - timedelta(seconds=1) <= known.first_sent_at <= datetime.now(UTC)
