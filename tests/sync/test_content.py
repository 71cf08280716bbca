"""Refunds that reversed nothing are sent again when their rows change, and only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Account, Sandbox
from tests.support import BOTH_CALLS, refund, refunds
from tests.sync.runs import EVERY_TIME, UNKNOWN_CURRENCY, Refunds, on_both

OLD_KEY, NEW_KEY = "the-old-api-key", "the-new-api-key"


# --- a wrong id column ---


@on_both
@pytest.mark.parametrize("as_query", [False, True], ids=["list", "query"])
def test_corrected_id_column_sends_every_refund_again(track: Refunds, as_query: bool) -> None:
    wrong = [refund(number % 10, event_id=f"re_{number}", uid=f"user-{number}") for number in range(150)]
    first = track(*wrong, as_query=as_query)
    assert first.outcomes == {"not_referred": 150}
    assert [warning for warning in first.summary.warnings if "Correct the query" in warning]
    track.sent()
    right = [{**row, "uid": f"cus_{number % 10}"} for number, row in enumerate(wrong)]

    run = track(*right, as_query=as_query)

    assert len(track.sent()) == 150
    assert run.outcomes == {"recorded": 150}
    assert set(track.stored().values()) == {"recorded"}


@pytest.mark.parametrize(
    "columns",
    [
        {"uid": "cus_0"},
        {"uid": None, "email": "c0@example.com"},
        {"email": "new@example.com"},
        {"amount": 77},
        {"currency": "EUR"},
        {"quantity": 2},
        {"sale_event_id": "ch_1"},
        {"skip_email_notification": True},
    ],
    ids=repr,
)
def test_not_referred_refund_is_sent_again_if_any_column_changes(track: Refunds, columns: dict[str, Any]) -> None:
    track.sandbox.add_lead(email="new@example.com")
    track(refund(77))
    track.sent()

    run = track(refund(77, **columns))

    assert set(track.sent()) == {"re_77"}
    assert set(run.outcomes) <= {"recorded", "not_referred"}, "nothing was recorded: it cannot be changed"


@BOTH_CALLS
def test_not_referred_refund_whose_amount_changed_twice_is_sent_each_time_and_never_changed(track: Refunds) -> None:
    for amount in (100, 200, 300):
        assert track(refund(77, amount=amount)).outcomes == {"not_referred": 1}
    assert track.sent() == ["re_77"] * 3
    track.sandbox.add_lead(uid="cus_77")

    run = track(refund(77, amount=400))

    assert run.outcomes == {"recorded": 1}
    assert track.recorded()[0].original_amount == 400 * track.call.sign


@pytest.mark.parametrize("amount", [1077, "1077", "1077.00"], ids=repr)
def test_unchanged_not_referred_refund_is_not_sent_again(track: Refunds, amount: Any) -> None:
    track(refund(77))
    track.sent()

    run = track(refund(77, amount=amount, note="other columns do not count"))

    assert (track.sent(), run.outcomes) == ([], {"not_referred": 1})


def test_content_that_was_tried_before_is_not_tried_again(track: Refunds) -> None:
    """The query takes turns between two contact addresses."""
    one, other = refund(77, email="a@example.com"), refund(77, email="b@example.com")
    track(one)
    track(other)
    track.sent()

    for row in (one, other, one):
        assert track(row).outcomes == {"not_referred": 1}
    assert track.sent() == []


# --- a rotated API key ---


@pytest.fixture
def rotated(
    new_sandbox: Callable[..., Sandbox], connect: Callable[..., str], new_database: Callable[..., Any]
) -> Refunds:
    """An account whose connection has the old key; ``rotate`` gives it the new one."""
    sandbox = new_sandbox(requests_per_minute=0, accounts=(Account("acc", OLD_KEY),))
    connect(sandbox, max_attempts=1)
    track = Refunds(sandbox, connect, new_database("sqlite", "ledger").conn_id)
    track.refer(10)
    return track


def rotate(track: Refunds, connect: Callable[..., str]) -> None:
    """Replace the API key, in FirstPromoter as in the connection."""
    track.sandbox.settings.accounts[0].__dict__["api_key"] = NEW_KEY
    connect(track.sandbox, max_attempts=1)


def test_new_api_key_sends_no_settled_or_rejected_refund_again(rotated: Refunds, connect: Callable[..., str]) -> None:
    """225 rejected rows used to cost eight red runs before a new refund went out."""
    rejected = [refund(number, amount=0) for number in range(200)]
    rejected_by_api = refunds(15, start=200, currency=UNKNOWN_CURRENCY)
    unmatched = refunds(50, start=300)
    rotated(*rejected, *rejected_by_api, *unmatched, max_rejected=None)
    rotated.sent()
    rotate(rotated, connect)

    run = rotated(*rejected, *rejected_by_api, *unmatched, refund(0, event_id="re_new"), max_in_flight=1)

    assert rotated.sent() == ["re_new"]
    assert run.outcomes == {"rejected": 215, "not_referred": 50, "recorded": 1}
    assert run.summary.still_open == 215
    run.sync.raise_for_summary()


@pytest.mark.parametrize("as_query", [False, True], ids=["list", "query"])
def test_new_api_key_absorbs_no_correction(rotated: Refunds, connect: Callable[..., str], as_query: bool) -> None:
    """The first run with a new key used to take any content for the known one, and stored it as such."""
    given = [refund(77), refund(78, currency=UNKNOWN_CURRENCY), refund(79, amount=0)]
    rotated(*given, max_rejected=None)
    rotated.sent()
    rotate(rotated, connect)

    rotated(*({**row, "quantity": 2} for row in given), max_rejected=None, as_query=as_query)

    assert rotated.sent() == ["re_77", "re_78"], "and the one that validation refuses is refused again"


def test_two_connections_of_one_account_with_two_keys_absorb_no_correction(
    rotated: Refunds, connect: Callable[..., str]
) -> None:
    for quantity, key in enumerate([NEW_KEY, "a third key", NEW_KEY, "a third key"], start=1):
        rotated.sandbox.settings.accounts[0].__dict__["api_key"] = key.replace(" ", "-")
        connect(rotated.sandbox, max_attempts=1)
        rotated(refund(77, quantity=quantity), max_rejected=None)
        assert rotated.sent() == ["re_77"]


# --- rejected rows ---


def test_row_that_validation_rejected_is_sent_once_it_is_valid_though_unchanged(
    track: Refunds, connect: Callable[..., str]
) -> None:
    """The account's currency is set in the connection."""
    row = refund(0, amount="19.99")
    assert track(row, amount_unit="major").outcomes == {"rejected": 1}
    connect(max_attempts=1, currency="USD")

    run = track(row, amount_unit="major")

    assert run.outcomes == {"recorded": 1}
    assert track.sandbox.recorded()[0].original_amount == -1999


def test_valid_row_of_a_rejected_refund_that_fails_is_failed_and_sent_again(
    track: Refunds, connect: Callable[..., str]
) -> None:
    row = refund(0, amount="19.99")
    track(row, amount_unit="major")
    connect(max_attempts=1, currency="USD")
    track.sandbox.fault("status", status=500, **EVERY_TIME)
    assert track(row, amount_unit="major").outcomes == {"failed": 1}
    assert track.stored() == {"re_0": "failed"}, "rejected is stronger, but no longer true"
    track.sandbox.clear_faults()

    assert track(row, amount_unit="major").outcomes == {"recorded": 1}


def test_amount_that_changed_after_a_lost_response_is_reported_by_the_run_after_the_lookup(track: Refunds) -> None:
    track.sandbox.fault("reset_after")
    assert track(refund(0, amount=1000)).outcomes == {"failed": 1}

    assert track(refund(0, amount=2000)).outcomes == {"already_recorded": 1}
    run = track(refund(0, amount=2000))

    assert run.outcomes == {"changed": 1}
    (problem,) = run.summary.problems
    assert problem.reason == "is recorded with amount 1000 (minor units, in FirstPromoter), and the row now says 2000"
    assert track(refund(0, amount=1000)).outcomes == {"already_recorded": 1}


def test_rotated_key_makes_no_row_of_several_look_new(rotated: Refunds, connect: Callable[..., str]) -> None:
    rows = refund(77, uid="a"), refund(77, uid="b")
    rotated(*rows)
    rotate(rotated, connect)
    rotated.sent()

    for _ in range(3):
        assert rotated(*rows).summary.sent == 0
    assert rotated.sent() == []
