"""Several rows of one event_id, as a join makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import Outcome
from airflow_provider_firstpromoter.exceptions import EventsRejectedError
from tests.support import BOTH_CALLS, refund, refunds
from tests.sync.runs import EVERY_TIME, UNKNOWN_CURRENCY, Refunds, on_both

OLD, NEW = "old@example.com", "new@example.com"


def by_email(email: str | None, **values: Any) -> dict[str, Any]:
    return refund(0, uid=None, email=email, **values)


def emails_sent(track: Refunds) -> list[str]:
    return [request.body.get("email", request.body.get("uid")) for request in track.sandbox.refund_requests()]


# --- rows that differ in the e-mail alone ---


@on_both
@pytest.mark.parametrize("order", [(OLD, NEW), (NEW, OLD)], ids=["old-first", "new-first"])
def test_refund_with_an_old_and_a_new_email_is_recorded_by_the_one_that_is_known(
    track: Refunds, order: tuple[str, str]
) -> None:
    track.sandbox.add_lead(email=NEW)

    run = track(*(by_email(email) for email in order))

    assert run.outcomes == {"recorded": 1}
    assert run.summary.repeated == 1
    assert len(track.sandbox.recorded()) == 1
    run.sync.raise_for_summary()


def test_refund_is_not_referred_only_when_every_address_was_tried(track: Refunds) -> None:
    rows = [refund(0, uid="u1", email=f"{number}@example.com") for number in range(5)]

    run = track(*rows)

    assert run.outcomes == {"not_referred": 1}
    assert emails_sent(track) == ["u1", *(f"{number}@example.com" for number in range(5))], "each id once, in order"
    track.sent()
    assert track(*rows).outcomes == {"not_referred": 1}
    assert track.sent() == [], "all of the contents are remembered"


def test_further_email_of_a_not_referred_refund_is_tried_and_counts_once(track: Refunds) -> None:
    track(by_email(OLD))
    track.sandbox.add_lead(email=NEW)
    track.seen = len(track.sandbox.refund_requests())

    run = track(by_email(OLD), by_email(NEW))

    assert emails_sent(track)[-1] == NEW
    assert run.outcomes == {"recorded": 1}
    assert run.summary.repeated == 1


def test_row_without_any_id_beside_one_with_an_id_is_repeated(track: Refunds) -> None:
    """A LEFT JOIN with the contacts, one of which has no address."""
    rows = [by_email(None), by_email(OLD)]

    for _ in range(3):
        run = track(*rows)
        assert run.outcomes == {"not_referred": 1}
        run.sync.raise_for_summary()
    assert track.sent() == ["re_0"]


# --- rows that repeat each other ---


def test_row_repeated_in_another_notation_is_sent_once(track: Refunds) -> None:
    run = track(refund(0, amount=1000), refund(0, amount="1000.0"), refund(0, amount=1000, note="x"))

    assert track.sent() == ["re_0"]
    assert (run.outcomes, run.summary.repeated) == ({"recorded": 1}, 2)


# --- rows that a join has multiplied ---


def many_addresses() -> list[dict[str, Any]]:
    return [by_email(f"c{number}@example.com") for number in range(6)]


def other_customers() -> list[dict[str, Any]]:
    return [refund(0, uid="cus_1"), refund(0, uid="cus_2")]


def valid_and_invalid_uid() -> list[dict[str, Any]]:
    return [refund(0), refund(0, uid="undefined")]


@BOTH_CALLS
@on_both
@pytest.mark.parametrize(
    ("multiplied", "reason"),
    [
        (many_addresses, "6 rows have this event_id and differ in more than 5 ways"),
        (other_customers, "2 rows have this event_id and name 2 different uids"),
        (valid_and_invalid_uid, "2 rows have this event_id and name 2 different uids"),
    ],
)
def test_rows_of_other_customers_are_rejected_together_once_and_none_is_sent(
    track: Refunds, multiplied: Callable[[], list[dict[str, Any]]], reason: str
) -> None:
    rows = multiplied()
    first = track(*rows)

    assert (first.outcomes, first.summary.repeated) == ({"rejected": 1}, len(rows) - 1)
    assert first.results[0].message == f"{reason}: does a join lack its condition? None of them was sent"
    with pytest.raises(EventsRejectedError, match="re_0"):
        first.sync.raise_for_summary()
    for again in (rows, rows[::-1]):
        run = track(*again)
        assert (run.summary.still_open, run.summary.new_problems) == (1, 0)
        run.sync.raise_for_summary()
    assert track.sent() == []

    assert track(rows[0]).outcomes == {"recorded": 1}, "each of the rows may be the right one"


def test_join_without_a_condition_sends_nothing_and_a_preview_says_so(track: Refunds) -> None:
    rows = [refund(number, uid=f"cus_{customer}") for number in range(3) for customer in range(1000)]

    preview = track(*rows, preview=True, max_pending=2)
    run = track(*rows, max_pending=2)

    for each in (preview, run):
        assert each.outcomes == {"rejected": 3}
        assert each.summary.repeated == 3 * 999
    assert preview.summary.would_be_sent is not None
    assert preview.summary.would_be_sent["events"] == 0
    assert "1000 rows have this event_id and name 1000 different uids" in (preview.results[0].message or "")
    assert track.sent() == []


def test_not_referred_refund_whose_rows_multiply_is_reported_once_and_sent_when_they_do_not(track: Refunds) -> None:
    track(refund(77))
    rows = [refund(77, uid="cus_1"), refund(77, uid="cus_2")]
    track.sent()

    first, *later = (track(*rows) for _ in range(3))

    assert first.summary.new_problems == 1
    assert [(run.outcomes, run.summary.new_problems) for run in later] == [({"rejected": 1}, 0)] * 2
    assert track.sent() == []
    assert track(refund(77)).outcomes == {"not_referred": 1}


def test_refunds_that_share_a_placeholder_as_event_id_are_all_rejected(track: Refunds) -> None:
    """Taken for one refund with five ids, four of them were "repeated", and the next day's were settled."""
    first = track(*(refund(number, event_id="undefined", amount=500) for number in range(5)))
    second = track(*(refund(number, event_id="undefined", amount=500) for number in range(5, 8)))

    assert (first.outcomes, first.summary.repeated) == ({"rejected": 5}, 0)
    assert (second.outcomes, second.summary.repeated) == ({"rejected": 3}, 0)
    assert "event_id is a placeholder" in (first.results[0].message or "")


def test_many_refunds_of_one_uid_are_a_warning(track: Refunds) -> None:
    rows = [refund(number, uid="everybody") for number in range(50)]

    for preview in (True, False):
        run = track(*rows, preview=preview)
        assert run.summary.warnings[0].startswith("50 of 50 pending refunds name one and the same uid")
    assert track(*rows[:49], preview=True).summary.warnings == []


# --- rows that contradict each other ---


@on_both
def test_contradicting_amount_is_named_once_and_then_open(track: Refunds) -> None:
    rows = [refund(0, amount=500), refund(0, amount=700)]
    first = track(*rows)
    assert first.outcomes == {"recorded": 1, "changed": 1}
    assert first.results[1].message == "another row of the query has this event_id and was sent; they differ in amount"
    with pytest.raises(EventsRejectedError, match="re_0"):
        first.sync.raise_for_summary()

    for _ in range(2):
        again = track(*rows)
        assert again.outcomes == {"recorded": 1, "changed": 1}
        assert again.summary.still_open == 1
        again.sync.raise_for_summary()
    assert track.sandbox.recorded()[0].original_amount == -500


def test_several_contradicting_amounts_are_named_once_and_then_open(track: Refunds) -> None:
    rows = [refund(0, amount=amount) for amount in (500, 700, 800, 900)]
    track(*rows)

    for order in (rows, rows[::-1], rows):
        again = track(*order)
        assert again.outcomes == {"recorded": 1, "changed": 3}
        assert again.summary.new_problems == 0
        again.sync.raise_for_summary()
    assert track.sent() == ["re_0"]


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"currency": "EUR"}, "currency"),
        ({"quantity": 2}, "quantity"),
        ({"sale_event_id": "ch_1"}, "sale_event_id"),
        ({"amount": 7, "currency": "EUR"}, "amount, currency"),
    ],
    ids=repr,
)
def test_contradiction_names_the_columns(track: Refunds, columns: dict[str, Any], named: str) -> None:
    run = track(refund(0), refund(0, **columns))

    assert run.outcomes == {"recorded": 1, "changed": 1}
    assert (run.results[1].message or "").endswith(f"they differ in {named}")


@on_both
@pytest.mark.parametrize("invalid", [{"amount": None}, {"amount": -5}, {"amount": "a lot"}], ids=repr)
@pytest.mark.parametrize("first", [True, False], ids=["invalid-first", "valid-first"])
def test_invalid_row_beside_a_valid_one_is_named_and_keeps_nothing_from_being_sent(
    track: Refunds, invalid: dict[str, Any], first: bool
) -> None:
    rows = [refund(0, **invalid), refund(0)]
    run = track(*(rows if first else rows[::-1]))

    assert track.sent() == ["re_0"]
    assert run.outcomes == {"recorded": 1, "changed": 1}
    assert track.stored() == {"re_0": "recorded"}
    assert run.summary.new_problems == 1
    again = track(*rows)
    assert again.outcomes == {"recorded": 1, "changed": 1}
    assert again.summary.new_problems == 0, "it was reported"


def test_failed_refund_beside_an_invalid_row_keeps_that_its_response_was_lost(track: Refunds) -> None:
    """The ledger would prefer the rejection, and believe the 404 of the next run."""
    rows = [refund(0, amount=None), refund(0)]
    track.sandbox.fault("reset_after", event_id="re_0")

    run = track(*rows)

    assert run.summary.outcomes[Outcome("failed")] == 1
    assert track.stored() == {"re_0": "failed"}
    assert track.records()["re_0"].result().lost


def test_not_referred_refund_beside_an_invalid_row_stays_settled(track: Refunds) -> None:
    rows = [refund(77, amount=None), refund(77)]
    first = track(*rows)
    assert first.outcomes == {"not_referred": 1, "changed": 1}
    track.sent()

    for _ in range(2):
        track(*rows).sync.raise_for_summary()
    assert track.sent() == []
    assert track.stored() == {"re_77": "not_referred"}


def test_invalid_row_that_joins_a_settled_one_is_reported_once_and_changes_nothing(track: Refunds) -> None:
    track(refund(77))
    track.sent()

    run = track(refund(77), refund(77, amount=None))
    assert run.outcomes == {"not_referred": 1, "rejected": 1}
    assert run.summary.new_problems == 1
    assert track.stored() == {"re_77": "not_referred"}

    track(refund(77), refund(77, amount=None)).sync.raise_for_summary()
    assert track.sent() == []


def test_several_invalid_rows_of_one_refund_are_reported_once(track: Refunds) -> None:
    rows = [refund(0, amount=0), refund(0, amount=None), refund(0, currency="EU")]
    first = track(*rows)
    assert first.outcomes == {"rejected": 3}

    again = track(*rows)
    assert (again.outcomes, again.summary.new_problems) == ({"rejected": 3}, 0)


def test_few_refunds_with_an_invalid_and_a_failing_row_do_not_use_up_the_limit(track: Refunds) -> None:
    given = [row for number in range(5) for row in (refund(number, amount=None), refund(number))]
    track.sandbox.fault("status", status=500, event_id=[f"re_{number}" for number in range(5)], **EVERY_TIME)
    track(*given)
    track.sent()

    track(*given, *refunds(3, start=5), limit=3, max_in_flight=1)

    assert track.sent() == ["re_5", "re_6", "re_7"]


def test_row_that_firstpromoter_rejected_beside_a_corrected_one_keeps_nothing_from_being_sent(track: Refunds) -> None:
    wrong = refund(0, currency=UNKNOWN_CURRENCY)
    track(wrong)
    track.sent()

    run = track(wrong, refund(0, currency="USD"))

    assert track.sent() == ["re_0"]
    assert run.summary.outcomes[Outcome("recorded")] == 1
    assert track.stored() == {"re_0": "recorded"}


# --- without event_id ---


def test_rows_without_event_id_are_never_taken_for_each_other(track: Refunds) -> None:
    run = track(refund(0, event_id=None), refund(0, event_id=None), refund(1, event_id=""))

    assert run.outcomes == {"rejected": 3}
    assert run.summary.repeated == 0


# --- a preview ---


def test_preview_counts_a_refund_once_and_names_contradictions(track: Refunds) -> None:
    run = track(by_email(OLD), by_email(NEW), refund(1, amount=5), refund(1, amount=7), preview=True)

    assert run.summary.would_be_sent is not None
    assert run.summary.would_be_sent["events"] == 2
    assert run.summary.outcomes[Outcome("changed")] == 1
    assert track.sent() == []
