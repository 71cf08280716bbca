"""A preview: what would be sent, without sending or writing."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from sqlalchemy import inspect

from airflow_provider_firstpromoter.sync import log_text
from tests.support import refund, refunds
from tests.sync.runs import Refunds, Run, on_both


def would(run: Run) -> dict[str, Any]:
    """What would be sent, as it comes out of XCom."""
    told: dict[str, Any] = json.loads(json.dumps(run.summary.to_json()))["would_be_sent"]
    return told


@on_both
def test_preview_sends_and_writes_nothing(track: Refunds) -> None:
    run = track(refund(0), refund(1, amount=-1), preview=True)

    assert track.sandbox.request_counts() == {}
    assert inspect(track.ledger.engine).get_table_names() == []
    assert run.outcomes == {"pending": 1, "rejected": 1}
    assert run.summary.preview
    assert run.summary.left_pending == 0, "a preview leaves nothing behind"
    run.sync.raise_for_summary()


@on_both
def test_preview_has_the_sum_the_largest_and_the_number_of_refunds_by_currency(track: Refunds) -> None:
    run = track(
        refund(0, amount=500, currency="EUR"),
        refund(1, amount=2500, currency="eur"),
        refund(2, amount=700, currency="JPY"),
        refund(3, amount=40),
        refund(4, amount=0),
        preview=True,
    )

    assert would(run)["events"] == 4
    assert would(run)["by_currency"] == {
        "EUR": {"events": 2, "sum": 3000, "largest": 2500},
        "JPY": {"events": 1, "sum": 700, "largest": 700},
        "account": {"events": 1, "sum": 40, "largest": 40},
    }


def test_preview_counts_refunds_without_a_currency_as_the_accounts_own(track: Refunds) -> None:
    track.connect(max_attempts=1, currency="USD")
    run = track(refund(0, amount="5.00"), refund(1, amount="1.50", currency="USD"), amount_unit="major", preview=True)
    assert would(run)["by_currency"] == {"USD": {"events": 2, "sum": 650, "largest": 500}}


def test_preview_shows_ten_refunds_and_which_id_identifies_each_but_no_id(track: Refunds) -> None:
    given = [refund(number, event_id=f"re_{number}") for number in range(10)]
    given.insert(0, {"event_id": "re_mail", "amount": 10, "email": "jane@example.com", "currency": "EUR"})

    run = track(*given, preview=True)

    sample = would(run)["sample"]
    assert len(sample) == 10
    assert sample[0] == {"event_id": "re_mail", "amount": 10, "currency": "EUR", "identified_by": "email"}
    assert sample[1] == {"event_id": "re_0", "amount": 1000, "currency": "account", "identified_by": "uid"}
    text = json.dumps(run.summary.to_json()) + log_text.table(run.summary)
    assert "jane" not in text
    assert "cus_" not in text


def test_preview_says_whether_firstpromoter_has_the_sale_of_each_refund_of_its_sample(track: Refunds) -> None:
    track.sandbox.add_commission(uid="cus_9", event_id="ch_0", amount=200, sale_amount=1000)

    run = track(*(refund(number, sale_event_id=f"ch_{number}") for number in range(2)), refund(2), preview=True)

    assert [one.get("sale_found") for one in would(run)["sample"]] == [True, False, None]
    assert "FirstPromoter lists no commission of its sale" in log_text.table(run.summary)
    assert run.summary.warnings == []
    wrong = track(refund(1, sale_event_id="in_1"), preview=True)
    assert wrong.summary.warnings[0].startswith("FirstPromoter lists no commission of any of the 1 sales")
    track.sandbox.fault("status", status=403, message="Forbidden", path="/company/commissions")
    unknown = track(refund(1, sale_event_id="in_1"), preview=True)
    assert unknown.summary.warnings[0].startswith("The sales of the sample could not be looked up: ")
    assert track.sent() == []


def test_preview_shows_the_id_that_identify_by_prefers(track: Refunds) -> None:
    both = refund(0, email="jane@example.com")
    run = track(both, identify_by=("email", "uid"), preview=True)
    assert would(run)["sample"][0]["identified_by"] == "email"


def test_preview_names_account_and_host(track: Refunds) -> None:
    run = track(refund(0), preview=True)
    host = track.sandbox.base_url.split("/")[2]
    assert run.summary.host == host
    assert run.summary.account == track.ledger.account
    assert f"(account {track.ledger.account} at {host})" in log_text.table(run.summary)


@on_both
def test_preview_leaves_out_what_is_settled_and_says_what_would_be_rejected_and_why(track: Refunds) -> None:
    track(refund(0), refund(99))
    before = track.stored()
    requests = track.sandbox.request_counts()

    new = refund(0, amount=5, event_id="re_5")
    run = track(refund(0), refund(99), refund(1), refund(2, amount=0), new, preview=True)

    assert would(run)["events"] == 2
    assert [(problem.event_id, problem.reason) for problem in run.summary.problems] == [
        ("re_2", "amount must be above zero; leave reversed and failed rows out of the query")
    ]
    assert (track.stored(), track.sandbox.request_counts()) == (before, requests)
    assert len(track.history()) == 1


def test_preview_does_not_use_up_what_the_next_run_has_to_report(track: Refunds) -> None:
    track(refund(0))
    for _ in range(2):
        preview = track(refund(0, amount=5), refund(1, amount=0), preview=True)
        assert preview.summary.new_problems == 2

    assert track(refund(0, amount=5), refund(1, amount=0)).summary.new_problems == 2


def test_preview_counts_what_a_limit_would_send(track: Refunds) -> None:
    run = track(*refunds(5), limit=2, preview=True)
    assert would(run)["events"] == 2
    assert run.summary.left_pending == 3


def test_preview_never_says_that_refunds_are_sent(track: Refunds, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    run = track(*refunds(3), preview=True)

    text = "\n".join([*(record.getMessage() for record in caplog.records), log_text.table(run.summary)])
    assert "3 refunds are pending; a preview sends nothing" in text
    assert "Preview: nothing was sent or written" in text
    assert "are sent" not in text
    assert "at least" not in text, "how long it takes is not said either"


def test_preview_beyond_max_pending_warns_and_shows_all_the_same(track: Refunds) -> None:
    run = track(*refunds(5, amount=100, currency="EUR"), max_pending=4, preview=True)

    (warning,) = run.summary.warnings
    assert warning == ("5 refunds are pending, more than max_pending=4: 5.00 EUR (5 refunds, the largest 1.00 EUR)")
    assert would(run)["events"] == 5


# --- cents that are taken for a major unit ---


@pytest.mark.parametrize(
    ("amounts", "warns"),
    [
        ([19900, 4900, 100], True),
        (["19900.00", "4900"], True),
        ([19900], True),
        ([19900, 99], False),  # below 100: cents of less than one unit are rare
        ([19900, "49.50"], False),
        ([19900, "149.50"], False),
        (["199.00"], True),
        (["99.00"], False),
    ],
    ids=repr,
)
def test_preview_warns_if_major_amounts_look_like_cents(track: Refunds, amounts: list[Any], warns: bool) -> None:
    given = [refund(number, amount=amount, currency="EUR") for number, amount in enumerate(amounts)]

    run = track(*given, amount_unit="major", preview=True)

    assert [warning for warning in run.summary.warnings if "is the column in cents?" in warning] == (
        run.summary.warnings if warns else []
    )
    if warns:
        assert "every amount is whole and large" in run.summary.warnings[0]
        assert " EUR (" in run.summary.warnings[0]


def test_preview_in_minor_units_never_warns_of_cents(track: Refunds) -> None:
    run = track(refund(0, amount=1_990_000), preview=True)
    assert run.summary.warnings == []
