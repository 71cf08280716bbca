"""Sync: what becomes of a refund through hook and ledger, and which refunds are sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from sqlalchemy import event, inspect
from sqlalchemy.pool import NullPool

from airflow_provider_firstpromoter.calls import Outcome
from airflow_provider_firstpromoter.database import CallQuery
from airflow_provider_firstpromoter.exceptions import (
    EventsFailedError,
    EventsRejectedError,
)
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from tests.support import BOTH_CALLS, BOTH_SHAPES, nonzero_outcomes, refund, refunds, tracker
from tests.sync.runs import UNKNOWN_CURRENCY, Refunds, on_both

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
def test_settled_and_rejected_results_are_stored(
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


@BOTH_CALLS
@pytest.mark.parametrize(
    "fault",
    [
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
def test_failed_refund_is_stored_and_sent_again(track: Refunds, fault: dict[str, Any]) -> None:
    track.sandbox.fault(**fault)

    run = track(refund(0))

    assert run.outcomes == {"failed": 1}
    assert track.stored() == {"re_0": "failed"}
    assert track.records()["re_0"].message == run.results[0].message
    with pytest.raises(EventsFailedError, match="re_0"):
        run.sync.raise_for_summary()

    again = track(refund(0))

    assert track.sent() == ["re_0", "re_0"]
    assert again.results[0].outcome.on_record
    assert track.stored() == {"re_0": again.results[0].outcome.value}
    assert [recorded.event_id for recorded in track.recorded()] == ["re_0"]
    again.sync.raise_for_summary()


def test_refunds_failed_error_is_retried_by_airflow() -> None:
    assert issubclass(EventsFailedError, AirflowException)
    assert not issubclass(EventsFailedError, AirflowFailException)


# --- settled refunds ---


@BOTH_CALLS
@BOTH_SHAPES
@on_both
def test_settled_refund_is_not_sent_and_its_stored_result_returned(track: Refunds) -> None:
    tracker(FirstPromoterHook(), track.call)(refund(1))
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
    again.sync.raise_for_summary()


@BOTH_SHAPES
@on_both
@pytest.mark.parametrize("as_query", [False, True], ids=["list", "query"])
def test_cleared_task_has_the_same_counts_and_sums(track: Refunds, as_query: bool) -> None:
    FirstPromoterHook().track_refund(refund(1))
    given = [refund(0, currency="EUR"), refund(1), refund(2, sale_event_id="ch_2"), refund(99)]
    first = track(*given, run_id="first", as_query=as_query).sync.total().to_json()
    assert nonzero_outcomes(first) == {"recorded": 2, "already_recorded": 1, "not_referred": 1}
    assert first["rewards"]["cash"] < 0

    again = track(*given, run_id="first", try_number=2, as_query=as_query).sync.total().to_json()

    for name in ("outcomes", "rewards", "amounts", "rewards_unknown", "without_sale_event_id"):
        assert again[name] == first[name], name


@BOTH_SHAPES
@pytest.mark.parametrize("as_query", [False, True], ids=["list", "query"])
def test_sums_of_a_commission_belong_to_the_task_run_that_reversed_it(track: Refunds, as_query: bool) -> None:
    track(refund(0), run_id="first", as_query=as_query)

    second = track(refund(0), refund(1), run_id="second", as_query=as_query).sync.total().to_json()

    rewards = {recorded.event_id: recorded.reward_amount for recorded in track.sandbox.recorded()}
    assert second["rewards"] == {"cash": rewards["re_1"]}
    assert second["amounts"] == {"account": 1001}
    assert second["without_sale_event_id"] == 1
    assert nonzero_outcomes(second) == ({"recorded": 1} if as_query else {"recorded": 2})


@pytest.mark.parametrize(
    ("first", "then", "options"),
    [
        pytest.param({"amount": 1050}, {"amount": Decimal("1050.00")}, {}, id="a-decimal"),
        pytest.param({"amount": 1050}, {"amount": "1050"}, {}, id="a-text"),
        pytest.param({"amount": "10.5"}, {"amount": "10.50"}, {"amount_unit": "major"}, id="another-scale"),
        pytest.param({"amount": 1050}, {"amount": 1050, "quantity": 3}, {}, id="another-column-changed"),
    ],
)
def test_same_amount_in_another_notation_is_not_changed(
    track: Refunds, first: dict[str, Any], then: dict[str, Any], options: dict[str, Any]
) -> None:
    track(refund(0, currency="USD", **first), **options)
    track.sent()

    again = track(refund(0, currency="USD", **then), **options)

    assert (again.outcomes, track.sent()) == ({"recorded": 1}, [])


def test_same_amount_in_another_unit_is_not_changed(track: Refunds) -> None:
    track(refund(0, amount=1999, currency="USD"))
    track.sent()

    again = track(refund(0, amount="19.99", currency="USD"), amount_unit="major")

    assert (again.outcomes, track.sent()) == ({"recorded": 1}, [])


@BOTH_CALLS
@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (1500, "is recorded with amount 1000, and the row now says 1500"),
        (500, "is recorded with amount 1000, and the row now says 500"),
        (0, "is recorded, and now amount must be above zero"),
        (None, "is recorded, and now amount is missing"),
        ("a lot", "is recorded, and now amount is not a number"),
    ],
)
def test_recorded_refund_with_another_amount_is_reported_and_not_sent(
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
    record = track.records()["re_0"]
    assert record.row_amount == "1000"
    assert record.changed_amount == (str(amount) if isinstance(amount, int) else "")
    with pytest.raises(EventsRejectedError, match="1 changed: 're_0': is recorded") as caught:
        again.sync.raise_for_summary()
    command = str(caught.value).rpartition(" accept ")[2]
    assert {"firstpromoter_default", "--ledger-conn-id", "re_0"} <= set(command.split())


def test_accepted_amount_is_not_reported_until_it_changes_again(track: Refunds) -> None:
    track(refund(0))
    track(refund(0, amount=1500))
    track.ledger.mark(["re_0"], accepted_at=datetime.now(UTC))

    assert track(refund(0, amount=1500)).outcomes == {"recorded": 1}
    again = track(refund(0, amount=1600))

    assert again.outcomes == {"changed": 1}
    assert again.summary.new_problems == 1
    assert (track.records()["re_0"].changed_amount, track.records()["re_0"].accepted_at) == ("1600", None)


# --- the same event_id twice in one run ---


def test_repeated_event_id_is_sent_once(track: Refunds) -> None:
    run = track(refund(0), refund(1), refund(0), refund(0))

    assert sorted(track.sent()) == ["re_0", "re_1"]
    assert run.outcomes == {"recorded": 2}
    assert run.summary.repeated == 2
    run.sync.raise_for_summary()


def test_repeated_event_id_with_another_amount_is_changed(track: Refunds) -> None:
    run = track(refund(0, amount=500), refund(0, amount=700))

    assert track.sent() == ["re_0"]
    assert track.sandbox.recorded()[0].original_amount == -500
    assert run.outcomes == {"recorded": 1, "changed": 1}
    assert run.results[1].message == ("another row of the query has this event_id and was sent; they differ in amount")
    assert track.records()["re_0"].changed_amount == "700"
    with pytest.raises(EventsRejectedError, match="re_0"):
        run.sync.raise_for_summary()


@pytest.mark.parametrize("amount", [None, "a lot"])
def test_repeated_rejected_row_is_not_changed(track: Refunds, amount: object) -> None:
    run = track(refund(0, amount=amount), refund(0, amount=amount))

    assert run.outcomes == {"rejected": 1}
    assert run.summary.repeated == 1


# --- uid and e-mail ---


def test_customer_known_by_email_only_is_found_from_a_row_with_a_uid(track: Refunds) -> None:
    track.sandbox.add_lead(email="by-mail@example.com")

    run = track(refund(77, email="by-mail@example.com"))

    assert [sorted(request.body.keys() & {"uid", "email"}) for request in track.sandbox.refund_requests()] == [
        ["uid"],
        ["email"],
    ]
    assert run.outcomes == {"recorded": 1}
    assert (run.summary.sent, run.summary.requests) == (1, 2)


def test_response_lost_after_the_other_ids_204_is_looked_up_in_the_commissions(track: Refunds, impatient: None) -> None:
    track.sandbox.add_lead(uid="window_shopper", bought=False)
    track.connect(max_attempts=2)
    track.sandbox.fault("latency", event_id="re_0")  # lets the request for the uid through
    track.sandbox.fault("reset_after", event_id="re_0")

    run = track(refund(0, uid="window_shopper", email="c0@example.com"))

    assert [request.status for request in track.sandbox.refund_requests()] == [204, None, 409]
    assert run.outcomes == {"already_recorded": 1, "changed": 1}, "the lead has another uid than the row"
    assert run.results[0].commissions


# --- limit and preview ---


@BOTH_CALLS
def test_limit_leaves_the_rest_pending(track: Refunds) -> None:
    given = refunds(10)

    run = track(*given, limit=4)

    assert len(track.sent()) == 4
    assert run.outcomes == {"recorded": 4, "pending": 6}
    assert run.summary.left_pending == 6
    run.sync.raise_for_summary()
    assert track(*given, limit=4).outcomes == {"recorded": 8, "pending": 2}, "settled ones are not held against it"
    assert track(*given, limit=4).outcomes == {"recorded": 10}
    assert len(track.sent()) == 6


def test_rejected_rows_do_not_use_up_the_limit(track: Refunds) -> None:
    run = track(*refunds(5, start=10, amount=0), *refunds(2), limit=2, max_rejected=None)

    assert run.outcomes == {"rejected": 5, "recorded": 2}


@on_both
def test_preview_sends_nothing_and_does_not_create_the_table(track: Refunds) -> None:
    run = track(refund(0), refund(1, amount=-1), preview=True)

    assert track.sent() == []
    assert not inspect(track.ledger.engine).has_table(track.ledger.table.name)
    assert run.outcomes == {"pending": 1, "rejected": 1}
    assert run.summary.preview
    run.sync.raise_for_summary()


def test_preview_reads_the_ledger_and_does_not_change_it(track: Refunds) -> None:
    track(refund(0))
    before = track.stored()
    track.sent()

    run = track(refund(0), refund(1), refund(2, amount=0), preview=True)

    assert run.outcomes == {"recorded": 1, "pending": 1, "rejected": 1}
    assert run.summary.skipped == 1
    assert (track.sent(), track.stored()) == ([], before)


# --- what a run costs that finds nothing new ---


@on_both
def test_run_with_nothing_new_opens_two_connections_and_makes_few_statements(track: Refunds) -> None:
    query = CallQuery.from_connection(track.ledger_conn_id, "SELECT 're_1' AS event_id, 1000 AS amount, 'cus_1' AS uid")
    track.make().run_query(query)
    sync = track.make()
    assert sync.ledger is not None
    opened: list[str] = []
    statements: list[str] = []
    event.listen(sync.ledger.engine, "connect", lambda *_: opened.append("ledger"))
    event.listen(sync.ledger.engine, "before_cursor_execute", lambda _, __, sql, *___: statements.append(sql))
    source = query.source

    def open_source() -> Any:
        opened.append("query")
        return source.open()

    sync.run_query(replace(query, source=replace(source, open=open_source)))

    assert (sync.total().to_json(), sync.rewards()) == (sync.summary.to_json(), [])
    assert sync.summary.sent == 0
    if not isinstance(sync.ledger.engine.pool, NullPool):  # SQLAlchemy 1.4 opens a SQLite file each time
        assert opened == ["ledger", "query"]
    assert len(statements) <= 7, "tables, salt, earlier tries, start, end, and two of the totals"
