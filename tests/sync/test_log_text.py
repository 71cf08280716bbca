"""A run in words."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, Commission, Outcome, Result, Summary
from airflow_provider_firstpromoter.sync import log_text
from airflow_provider_firstpromoter.sync.log_text import Progress, announcement, duration, failure, progress, table


def summary_of(*outcomes: Outcome, **fields: object) -> Summary:
    summary = Summary(**fields)
    for number, outcome in enumerate(outcomes):
        summary.add(Result(event_id=f"re_{number}", outcome=outcome, sent=True, message=f"reason {number}"))
    return summary


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (7.4, "7 s"),
        (59.6, "1 min 0 s"),
        (250, "4 min 10 s"),
        (3600, "1 h 0 min"),
        (11_520, "3 h 12 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_duration_has_at_most_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_progress_has_count_rate_and_time_left() -> None:
    summary = summary_of(*[Outcome.RECORDED] * 60, *[Outcome.NOT_REFERRED] * 40, repeated=1)
    summary.add(Result(event_id="re_bad", outcome=Outcome.REJECTED, message="amount is missing"))
    assert progress(summary, 400, 5.0) == (
        "100 of 400 sent, 60 recorded, 40 not_referred, 1 rejected, 300 a minute, 1 min 0 s left"
    )
    assert progress(summary, None, 5.0) == "100 sent, 60 recorded, 40 not_referred, 1 rejected, 300 a minute"
    assert progress(Summary(), 400) == "0 of 400 sent"
    assert progress(Summary(), 400, 0.0) == "0 of 400 sent"


def test_progress_past_the_total_has_no_time_left() -> None:
    assert progress(summary_of(*[Outcome.RECORDED] * 5), 4, 1.0).endswith(", 0 s left")


def test_table_has_every_count_above_zero() -> None:
    summary = Summary(
        account="acc",
        host="api.example.com",
        currency="USD",
        left_pending=3,
        repeated=2,
        rechecked=1,
        requests=7,
        seconds=1.25,
    )
    reward = Commission(id=1, amount=-200, unit="cash")
    recorded = Result(event_id="re_1", outcome=Outcome.RECORDED, sent=True, commissions=(reward,))
    found = Result(event_id="re_2", outcome=Outcome.ALREADY_RECORDED, sent=False)
    for result in (recorded, found):
        summary.add(result)
    summary.add_sums(recorded, amount=1000, currency="EUR", names_no_sale=True)
    summary.add_sums(found)
    summary.add(Result(event_id=None, outcome=Outcome.REJECTED, message="row 3 of the input: event_id is missing"))
    summary.add(Result(event_id="re_4", outcome=Outcome.CHANGED, message="is recorded with amount 1"), new=False)
    summary.warnings.append("look at this")
    summary.stopped_because = "of this"
    assert [" ".join(line.split()) for line in table(summary).splitlines()] == [
        "Summary (account acc at api.example.com)",
        "recorded 1",
        "already_recorded 1",
        "rejected 1",
        "changed 1",
        "of the rejected and changed, reported before 1",
        "sent in this try 1",
        "settled before 1",
        "sent again, not_referred before 1",
        "repeated rows 2",
        "left for the next run 3",
        "recorded, reward unknown 1",
        "recorded without sale_event_id 1",
        "reversed -2.00 USD",
        "refunded 10.00 EUR",
        "HTTP requests 7",
        "seconds 1.2",
        "warning: look at this",
        "stopped early: of this",
    ]


def test_table_puts_what_was_reported_before_below_what_it_is_a_part_of() -> None:
    summary = Summary()
    summary.add(Result(event_id="re_1", outcome=Outcome.REJECTED), new=False)
    summary.add(Result(event_id="re_2", outcome=Outcome.FAILED))
    assert [line.rstrip("0123456789").rstrip() for line in table(summary).splitlines()[1:4]] == [
        "  rejected",
        "    of the rejected, reported before",
        "  failed",
    ]


def test_table_names_no_problem_again() -> None:
    summary = summary_of(Outcome.REJECTED, Outcome.FAILED)
    assert "re_0" not in table(summary)
    assert "reason" not in table(summary)


def test_table_of_an_empty_run_says_that_nothing_was_sent() -> None:
    assert [" ".join(line.split()) for line in table(Summary()).splitlines()[1:]] == [
        "sent in this try 0",
        "HTTP requests 0",
        "seconds 0.0",
    ]


def test_table_of_a_preview_has_what_would_be_sent() -> None:
    would = {
        "events": 3,
        "by_currency": {
            "EUR": {"events": 2, "sum": 3500, "largest": 2500},
            "account": {"events": 1, "sum": 70, "largest": 70},
        },
        "sample": [{"event_id": "re_1", "amount": 2500, "currency": "EUR", "identified_by": "email"}],
    }
    lines = [" ".join(line.split()) for line in table(Summary(preview=True, would_be_sent=would)).splitlines()]
    assert lines[0].startswith("Preview: nothing was sent or written")
    assert [line for line in lines if "would" in line or "sum" in line or "largest" in line] == [
        "would be sent 3",
        "sum 35.00 EUR",
        "largest 25.00 EUR",
        "sum 70 minor units of the account currency",
        "largest 70 minor units of the account currency",
        "would send 're_1' by email: 25.00 EUR",
    ]


@pytest.mark.parametrize(
    ("pending", "limit", "preview", "words"),
    [
        (0, None, False, "No refund is pending"),
        (0, 5, False, "No refund is pending"),
        (1, None, False, "1 refund is pending"),
        (400, None, False, "400 refunds are pending"),
        (401, None, False, "401 refunds are pending; at 400 requests a minute this takes at least 1 min 0 s"),
        (
            900,
            801,
            False,
            "900 refunds are pending, of which this run sends 801; "
            "at 400 requests a minute this takes at least 2 min 0 s",
        ),
        (900, 400, True, "900 refunds are pending; a preview sends nothing"),
        (1, None, True, "1 refund is pending; a preview sends nothing"),
        (0, None, True, "0 refunds are pending; a preview sends nothing"),
    ],
)
def test_announcement_says_how_many_are_sent_and_how_long_it_takes(
    pending: int, limit: int | None, preview: bool, words: str
) -> None:
    assert announcement(pending, limit, 400, REFUND, preview=preview) == words


def test_table_columns_are_aligned() -> None:
    lines = table(summary_of(Outcome.RECORDED, Outcome.ALREADY_RECORDED)).splitlines()[1:]
    assert len({len(line) for line in lines}) == 1


WHERE = ". The reasons are in this task's log, in XCom 'summary' and in the ledger's column 'message'"
HOW_TO_ACCEPT = (
    ". A changed amount is not sent. If it is the total of several refunds, send each difference under an event_id "
    "of its own; only if the recorded amount may stay as it is: accept re_3"
)


def test_failure_has_the_reason_of_one_refund_and_says_where_those_of_several_are() -> None:
    summary = summary_of(Outcome.REJECTED, Outcome.RECORDED, Outcome.FAILED, Outcome.CHANGED)
    assert failure(summary, Outcome.FAILED) == "1 failed: 're_2': reason 2"
    assert failure(summary, Outcome.REJECTED, Outcome.CHANGED) == (
        "1 rejected and 1 changed: 're_0', 're_3'" + WHERE + HOW_TO_ACCEPT
    )


def test_failure_by_another_lead_says_nothing_of_amounts_and_how_to_accept_it_once() -> None:
    summary = Summary()
    other_lead = log_text.other_lead("revert re_1", "accept re_1")
    summary.add(Result(event_id="re_1", outcome=Outcome.CHANGED, message=other_lead))
    text = failure(summary, Outcome.REJECTED, Outcome.CHANGED)
    assert text == f"1 changed: 're_1': {other_lead}"
    summary.add(Result(event_id="re_3", outcome=Outcome.CHANGED, message="is recorded with amount 1"))
    text = failure(summary, Outcome.REJECTED, Outcome.CHANGED)
    assert text == "2 changed: 're_1', 're_3'" + WHERE + HOW_TO_ACCEPT


def test_failure_names_five_refunds_and_counts_the_rest() -> None:
    text = failure(summary_of(*[Outcome.REJECTED] * 30), Outcome.REJECTED, Outcome.CHANGED)
    assert text == "30 rejected: 're_0', 're_1', 're_2', 're_3', 're_4' and 25 more" + WHERE


def test_failure_names_the_commonest_reason_and_its_count() -> None:
    summary = Summary()
    for number in range(17):
        reason = "no response in 6 tries: the connection was refused" if number else "answered 503 in 6 tries"
        summary.add(Result(event_id=f"re_{number}", outcome=Outcome.FAILED, message=reason))
    text = failure(summary, Outcome.FAILED)
    assert text == (
        "17 failed: 're_0', 're_1', 're_2', 're_3', 're_4' and 12 more: 16 of them: no response in 6 tries: the "
        "connection was refused" + WHERE
    )
    all_alike = Summary()
    for number in range(2):
        all_alike.add(Result(event_id=f"re_{number}", outcome=Outcome.FAILED, message="answered 503 in 6 tries"))
    assert failure(all_alike, Outcome.FAILED) == "2 failed: 're_0', 're_1': all of them: answered 503 in 6 tries"


def test_failure_by_new_problems_names_only_those_and_counts_the_open_ones() -> None:
    summary = Summary()
    for number in range(30):
        result = Result(event_id=f"re_{number}", outcome=Outcome.REJECTED, message=f"reason {number}")
        summary.add(result, new=number >= 28)
    text = failure(summary, Outcome.REJECTED, Outcome.CHANGED, new_only=True)
    assert text == "2 new of 30 rejected: 're_28', 're_29' (28 reported before and still open)" + WHERE


def test_failure_names_the_new_problem_behind_twenty_open_ones() -> None:
    summary = Summary()
    for number in range(26):
        result = Result(event_id=f"re_{number}", outcome=Outcome.REJECTED, message=f"reason {number}")
        summary.add(result, new=number == 25)
    text = failure(summary, Outcome.REJECTED, Outcome.CHANGED, new_only=True)
    assert text == "1 new of 26 rejected: 're_25' (25 reported before and still open): reason 25"


def test_failure_of_a_row_without_event_id_says_so() -> None:
    summary = Summary()
    summary.add(Result(event_id=None, outcome=Outcome.REJECTED, message="row 3 of the input: event_id is missing"))
    assert failure(summary, Outcome.REJECTED) == (
        "1 rejected: one without event_id: row 3 of the input: event_id is missing"
    )


def test_failure_names_failed_refunds_even_after_many_rejected_ones() -> None:
    assert "re_20" in failure(summary_of(*[Outcome.REJECTED] * 20, Outcome.FAILED), Outcome.FAILED)


def test_failure_says_why_the_run_stopped() -> None:
    summary = summary_of(Outcome.FAILED, stopped_because="10 refunds failed in a row")
    assert failure(summary, Outcome.FAILED).endswith("reason 0. The run stopped early: 10 refunds failed in a row")


def test_progress_of_an_api_that_does_not_answer_has_no_time_left(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_text, "PROGRESS_EVERY_SECONDS", 0.0)
    client: Any = SimpleNamespace(requests=0, rate_limiter=SimpleNamespace(waited=0.0))
    log = logging.getLogger("progress")
    hook: Any = SimpleNamespace(client=client, firstpromoter_conn_id="fp")
    summary = summary_of(Outcome.RECORDED)
    of_run = Progress(hook, summary, log)
    of_run.expected = 8
    with caplog.at_level(logging.INFO, "progress"):
        of_run.report_if_due(summary.outcomes)
        of_run.report_if_due(summary.outcomes)

    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("1 of 8 sent, 1 recorded, ")
    assert first.endswith(" left")
    assert second == "1 of 8 sent, 1 recorded"
