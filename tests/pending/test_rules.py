"""What is to be done with a row, by what the ledger knows of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import (
    DIGEST_COLUMN,
    REASON_COLUMN,
    REFUND,
    Outcome,
    Refund,
    Result,
    Row,
    Validation,
    fingerprint,
    numbered,
)
from airflow_provider_firstpromoter.ledger import LedgerRecord
from airflow_provider_firstpromoter.pending.rules import (
    REASON_RECHECK,
    REASON_RETRY,
    Action,
    NextStep,
    PendingRules,
    decide,
)

KEY = b"a key"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
MONTH = 30 * DAY


def row(event_id: object = "re_1", amount: object = 1000, **columns: object) -> Row:
    return next(numbered([{"event_id": event_id, "amount": amount, "uid": "cus_1", **columns}], call=REFUND))


def known(outcome: Outcome, of: Row | None = None, first: datetime = NOW - 5 * DAY, **fields: Any) -> LedgerRecord:
    """What the ledger has of a row whose outcome was this."""
    of = of or row()
    stored = {
        "event_id": "re_1",
        "outcome": outcome,
        "http_status": 200,
        "row_amount": of.amount,
        "sent_amount": 1000,
        "fingerprint": fingerprint(of.values, KEY) if outcome.remembers_content else None,
        "first_sent_at": first,
        "last_sent_at": first,
    }
    return LedgerRecord(**{**stored, **fields})


def action(of: Row, record: LedgerRecord | None, key: bytes = KEY, **how: Any) -> Action:
    return PendingRules(key, **how).classify(of, record, NOW)


# --- which rows are sent ---


def test_unknown_refund_is_sent() -> None:
    assert action(row(), None) is Action.SEND


@pytest.mark.parametrize("outcome", [Outcome.RECORDED, Outcome.ALREADY_RECORDED])
@pytest.mark.parametrize("amount", [1000, "1000", "1000.00", 1000.0, "1e3"], ids=repr)
def test_recorded_refund_with_the_same_amount_stays_settled(outcome: Outcome, amount: object) -> None:
    assert action(row(amount=amount), known(outcome), retry_rejected=True) is Action.SETTLED


@pytest.mark.parametrize("outcome", [Outcome.RECORDED, Outcome.ALREADY_RECORDED])
@pytest.mark.parametrize("amount", [1500, 999, "1000.01", None, "x", -1000], ids=repr)
def test_recorded_refund_with_another_amount_is_changed_and_not_sent(outcome: Outcome, amount: object) -> None:
    now_says = row(amount=amount)
    assert action(now_says, known(outcome), recheck_unreferred=90 * DAY, retry_rejected=True) is Action.CHANGED


@pytest.mark.parametrize(
    "columns",
    [{"uid": "cus_2"}, {"email": "x@example.com"}, {"currency": "EUR"}, {"quantity": 2}, {"sale_event_id": "ch_1"}],
    ids=repr,
)
def test_recorded_refund_with_other_columns_changed_is_settled(columns: dict[str, object]) -> None:
    assert action(row(**columns), known(Outcome.RECORDED)) is Action.SETTLED


def test_recorded_refund_without_a_stored_amount_is_compared() -> None:
    assert action(row(), known(Outcome.RECORDED, row_amount=None)) is Action.COMPARE


@pytest.mark.parametrize(
    ("changed_amount", "accepted", "amount", "expected"),
    [
        ("1500", True, 1500, Action.SETTLED),
        ("1500", True, "1500.0", Action.SETTLED),
        ("1500", True, 1000, Action.SETTLED),
        ("1500", True, 1600, Action.CHANGED),
        ("1500", False, 1500, Action.CHANGED),
        ("", True, None, Action.SETTLED),
        ("", True, 1600, Action.CHANGED),
    ],
)
def test_accepted_amount_is_settled_until_it_changes_again(
    changed_amount: str, accepted: bool, amount: object, expected: Action
) -> None:
    record = known(Outcome.RECORDED, changed_amount=changed_amount, accepted_at=NOW if accepted else None)
    assert action(row(amount=amount), record) is expected


@pytest.mark.parametrize("outcome", [Outcome.NOT_REFERRED, Outcome.REJECTED])
@pytest.mark.parametrize(
    "columns",
    [
        {"amount": 1001},
        {"amount": None},
        {"uid": "cus_2"},
        {"uid": None, "email": "x@example.com"},
        {"email": "x@example.com"},
        {"currency": "EUR"},
        {"quantity": 2},
        {"sale_event_id": "ch_1"},
        {"skip_email_notification": True},
    ],
    ids=repr,
)
def test_refund_that_reversed_nothing_is_sent_again_if_any_column_changes(
    outcome: Outcome, columns: dict[str, object]
) -> None:
    assert action(row(**columns), known(outcome)) is Action.SEND_AGAIN


def test_unchanged_refund_that_reversed_nothing_is_not_sent() -> None:
    for same in (row(), row(amount="1000.00"), row(note="x"), row(quantity=None)):
        assert action(same, known(Outcome.NOT_REFERRED)) is Action.SETTLED
        assert action(same, known(Outcome.REJECTED)) is Action.STILL_REJECTED


def test_digest_that_the_ledger_lacks_is_added() -> None:
    rules = PendingRules(KEY)
    with_digest = row(**{DIGEST_COLUMN: "d2"})
    assert rules.needs_renewal(with_digest, known(Outcome.NOT_REFERRED, row_digest=None))
    assert rules.needs_renewal(with_digest, known(Outcome.REJECTED, row_digest="d1"))
    assert not rules.needs_renewal(with_digest, known(Outcome.NOT_REFERRED, row_digest="d1 d2"))
    assert not rules.needs_renewal(row(), known(Outcome.NOT_REFERRED, row_digest=None))


@pytest.mark.parametrize("outcome", [Outcome.RECORDED, Outcome.ALREADY_RECORDED, Outcome.FAILED])
def test_other_outcomes_need_no_renewal(outcome: Outcome) -> None:
    assert not PendingRules(KEY).needs_renewal(row(**{DIGEST_COLUMN: "d2"}), known(outcome))


def test_failed_refund_is_sent_again_whether_it_changed_or_not() -> None:
    for one in (row(), row(uid="cus_2"), row(amount=7)):
        assert action(one, known(Outcome.FAILED)) is Action.SEND_AGAIN


def test_unchanged_rejected_row_is_sent_with_retry_rejected_or_the_sensors_reason() -> None:
    assert action(row(), known(Outcome.REJECTED), retry_rejected=True) is Action.SEND_AGAIN
    assert action(row(**{REASON_COLUMN: REASON_RETRY}), known(Outcome.REJECTED)) is Action.SEND_AGAIN
    assert action(row(**{REASON_COLUMN: REASON_RECHECK}), known(Outcome.REJECTED)) is Action.STILL_REJECTED


def test_not_referred_refund_is_rechecked_only_with_recheck_unreferred_or_the_sensors_reason() -> None:
    assert action(row(), known(Outcome.NOT_REFERRED)) is Action.SETTLED
    assert action(row(), known(Outcome.NOT_REFERRED), recheck_unreferred=MONTH) is Action.RECHECK
    assert action(row(**{REASON_COLUMN: REASON_RECHECK}), known(Outcome.NOT_REFERRED)) is Action.RECHECK
    assert action(row(**{REASON_COLUMN: REASON_RETRY}), known(Outcome.NOT_REFERRED)) is Action.SETTLED


def test_sensors_reason_does_not_send_a_refund_twice_in_twenty_hours() -> None:
    """The task downstream of the sensor is cleared: its rows are the same, and the ledger knows better."""
    again = row(**{REASON_COLUMN: REASON_RECHECK})
    assert action(again, known(Outcome.NOT_REFERRED, last_sent_at=NOW - 19 * HOUR)) is Action.SETTLED


@pytest.mark.parametrize("outcome", [Outcome.RECORDED, Outcome.ALREADY_RECORDED])
@pytest.mark.parametrize("reason", [None, REASON_RECHECK, REASON_RETRY])
def test_recorded_refund_is_never_sent_again(outcome: Outcome, reason: str | None) -> None:
    again = row(**{REASON_COLUMN: reason})
    assert action(again, known(outcome), recheck_unreferred=MONTH, retry_rejected=True) is Action.SETTLED


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (5 * DAY, 5 * DAY, Action.RECHECK),
        (5 * DAY, DAY, Action.RECHECK),
        (5 * DAY, DAY - SECOND, Action.RECHECK),  # a daily task that reaches the row a second earlier
        (5 * DAY, 20 * HOUR, Action.RECHECK),
        (5 * DAY, 20 * HOUR - SECOND, Action.SETTLED),
        (30 * DAY - SECOND, 2 * DAY, Action.RECHECK),
        (30 * DAY, 2 * DAY, Action.SETTLED),  # until that long after it was first sent
        (90 * DAY, 2 * DAY, Action.SETTLED),
        (None, 2 * DAY, Action.SETTLED),
        (5 * DAY, None, Action.SETTLED),
    ],
)
def test_not_referred_refund_is_rechecked_every_twenty_hours_within_the_period(
    first: timedelta | None, last: timedelta | None, expected: Action
) -> None:
    record = known(Outcome.NOT_REFERRED, first_sent_at=first and NOW - first, last_sent_at=last and NOW - last)
    assert action(row(), record, recheck_unreferred=MONTH) is expected


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        (None, Action.RECHECK),
        (6 * DAY, Action.RECHECK),
        (30 * DAY, Action.SETTLED),  # a backfill
        (-DAY, Action.RECHECK),
    ],
)
def test_period_of_rechecks_begins_when_the_refund_happened(happened: timedelta | None, expected: Action) -> None:
    record = known(Outcome.NOT_REFERRED, happened_at=happened and NOW - happened)
    assert action(row(), record, recheck_unreferred=MONTH) is expected


def test_refund_of_the_future_is_not_rechecked_for_ever() -> None:
    record = known(Outcome.NOT_REFERRED, first=NOW - MONTH, last_sent_at=NOW - DAY, happened_at=NOW + 1000 * DAY)
    assert action(row(), record, recheck_unreferred=MONTH) is Action.SETTLED


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome.stored])
def test_every_outcome_of_a_row_in_the_ledger_has_an_action(outcome: Outcome) -> None:
    assert action(row(), known(outcome)) in Action


# --- what a row comes to ---


def decision(of: Row, record: LedgerRecord | None, how: Validation | None = None, **rules: Any) -> NextStep:
    from airflow_provider_firstpromoter.pending import ClassifiedRow

    return decide(ClassifiedRow(of, action(of, record, **rules), record), how or Validation())


def test_row_to_send_comes_to_its_refund() -> None:
    for record in (None, known(Outcome.FAILED), known(Outcome.REJECTED, row(amount=0))):
        assert decision(row(), record) == NextStep(event=Refund.from_row(row().values))


def test_row_that_validation_refuses_is_a_new_problem_until_the_ledger_has_it() -> None:
    bad = row(amount=0)
    first = decision(bad, None)
    assert first.result is not None
    assert (first.result.outcome, first.known) == (Outcome.REJECTED, False)
    again = decision(bad, known(Outcome.REJECTED, bad, http_status=None, first_sent_at=None, last_sent_at=None))
    assert again.result == first.result
    assert again.known
    other = decision(row(amount=-1), known(Outcome.REJECTED, bad, http_status=None))
    assert not other.known, "the row changed, and is still refused"


def test_row_that_validation_refuses_keeps_what_its_earlier_responses_left_open() -> None:
    """It is corrected and sent again: then a 404 after the lost response must not be believed."""
    found = decision(row(amount=0), known(Outcome.FAILED, lost=True, unmatched=True))
    assert found.result is not None
    assert (found.result.outcome, found.result.lost, found.result.unmatched) == (Outcome.REJECTED, True, True)


def test_row_that_validation_refused_is_sent_when_it_is_valid_now() -> None:
    """The row is unchanged: the connection's currency was set meanwhile, or the rule is another one."""
    major = row(amount="19.99")
    refused = known(Outcome.REJECTED, major, http_status=None, first_sent_at=None, last_sent_at=None)
    assert decision(major, refused).result is not None
    assert decision(major, refused, Validation("major", "USD")).event is not None


def test_row_that_firstpromoter_rejected_comes_to_the_stored_reason() -> None:
    stored = Result(event_id="re_1", outcome=Outcome.REJECTED, http_status=422, message="amount: is odd", sent=True)
    record = known(Outcome.REJECTED, http_status=422, message=stored.message)
    found = decision(row(), record)
    assert found.known
    assert found.result == stored.model_copy(update={"sent": False})


def test_changed_refund_is_a_known_problem_only_with_the_amount_that_the_ledger_has() -> None:
    for amount, stored, is_known in [
        (1500, None, False),
        (1500, "1500", True),
        (1600, "1500", False),
        (None, "", True),
    ]:
        found = decision(row(amount=amount), known(Outcome.RECORDED, changed_amount=stored))
        assert found.result is not None
        assert found.result.outcome is Outcome.CHANGED
        assert found.known is is_known


@pytest.mark.parametrize(
    ("sent", "recorded", "row_values", "how", "same"),
    [
        (1000, None, {"amount": "10.00", "currency": "USD"}, Validation("major"), True),
        (1000, None, {"amount": "10.01", "currency": "USD"}, Validation("major"), False),
        (None, -1000, {"amount": 1000}, Validation(), True),
        (None, -1000, {"amount": 1001}, Validation(), False),
        (None, -1000, {"amount": 1001, "currency": "EUR"}, Validation(currency="EUR"), False),
        (None, -1000, {"amount": 900, "currency": "EUR"}, Validation(currency="USD"), True),
        (None, -1000, {"amount": 900, "currency": "EUR"}, Validation(), True),
        (None, None, {"amount": 900}, Validation(), True),
    ],
    ids=[
        "another-unit",
        "another-amount",
        "adopted",
        "adopted-with-another-amount",
        "adopted-in-the-accounts-currency",
        "adopted-and-converted",
        "adopted-in-an-account-of-unknown-currency",
        "adopted-without-an-amount",
    ],
)
def test_recorded_refund_is_compared_as_money(
    sent: int | None, recorded: int | None, row_values: dict[str, Any], how: Validation, same: bool
) -> None:
    record = known(
        Outcome.ALREADY_RECORDED, row_amount="1000" if sent else None, sent_amount=sent, recorded_amount=recorded
    )
    found = decision(row(**row_values), record, how)
    assert (found.result is None) is same
    if found.result is not None:
        assert found.result.outcome is Outcome.CHANGED
