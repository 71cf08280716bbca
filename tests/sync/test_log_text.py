"""A run in words."""

from __future__ import annotations

import pytest

from airflow_provider_firstpromoter.refunds import Outcome, Result, Reward, Summary
from airflow_provider_firstpromoter.sync.log_text import duration, failure, progress, table


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
    summary = summary_of(*[Outcome.RECORDED] * 60, *[Outcome.NOT_REFERRED] * 39, repeated=1)
    assert progress(summary, 400, 5.0) == (
        "100 of 400 done, 60 recorded, 39 not_referred, 300 a minute, 1 min 0 s left"
    )
    assert progress(summary, None, 5.0) == "100 done, 60 recorded, 39 not_referred, 300 a minute"
    assert progress(Summary(), 400) == "0 of 400 done"
    assert progress(Summary(), 400, 0.0) == "0 of 400 done"


def test_progress_past_the_total_has_no_time_left() -> None:
    assert progress(summary_of(*[Outcome.RECORDED] * 5), 4, 1.0).endswith(", 0 s left")


def test_table_has_every_count_above_zero() -> None:
    summary = Summary(left_pending=3, repeated=2, rechecked=1, requests=7, seconds=1.25)
    reward = Reward(amount=-200, unit="cash")
    summary.add(
        Result(event_id="re_1", outcome=Outcome.RECORDED, sent=True, reward=reward), amount=1000, currency="EUR"
    )
    summary.add(Result(event_id="re_2", outcome=Outcome.ALREADY_RECORDED, sent=False))
    summary.add(Result(event_id=None, outcome=Outcome.REJECTED, message="row 3 of the input: event_id is missing"))
    summary.warnings.append("look at this")
    summary.stopped_because = "of this"
    assert [line.split() for line in table(summary).splitlines()[1:17]] == [
        ["recorded", "1"],
        ["already_recorded", "1"],
        ["rejected", "1"],
        ["sent", "1"],
        ["skipped", "1"],
        ["rechecked", "1"],
        ["repeated", "2"],
        ["left_pending", "3"],
        ["rewards_unknown", "1"],
        ["reversed,", "cash", "-200"],
        ["refunded,", "EUR", "1000"],
        ["without", "sale_event_id", "1"],
        ["requests", "7"],
        ["seconds", "1.2"],
        ["rejected:", "None:", "row", "3", "of", "the", "input:", "event_id", "is", "missing"],
        ["warning:", "look", "at", "this"],
    ]
    assert table(summary).splitlines()[0] == "Summary"
    assert table(summary).splitlines()[-1] == "  stopped early: of this"


def test_table_of_an_empty_run_says_that_nothing_was_sent() -> None:
    assert [line.split() for line in table(Summary()).splitlines()] == [
        ["Summary"],
        ["sent", "0"],
        ["skipped", "0"],
        ["requests", "0"],
        ["seconds", "0.0"],
    ]


def test_table_of_a_preview_says_preview() -> None:
    assert table(Summary(preview=True)).startswith("Preview: nothing was sent or written\n")


def test_table_columns_are_aligned() -> None:
    lines = table(summary_of(Outcome.RECORDED, Outcome.ALREADY_RECORDED)).splitlines()[1:]
    assert len({len(line) for line in lines}) == 1


def test_failure_names_event_ids_and_reasons() -> None:
    summary = summary_of(Outcome.REJECTED, Outcome.RECORDED, Outcome.FAILED, Outcome.CHANGED)
    assert failure(summary, Outcome.FAILED) == "1 failed: 're_2': reason 2"
    assert failure(summary, Outcome.REJECTED, Outcome.CHANGED) == (
        "1 rejected and 1 changed: 're_0': reason 0; 're_3': reason 3"
    )


def test_failure_names_five_refunds_and_counts_the_rest() -> None:
    told = failure(summary_of(*[Outcome.REJECTED] * 30), Outcome.REJECTED, Outcome.CHANGED)
    assert told.startswith("30 rejected: 're_0': reason 0; ")
    assert told.endswith("'re_4': reason 4; and 25 more")


def test_failure_names_failed_refunds_even_after_many_rejected_ones() -> None:
    assert "re_20" in failure(summary_of(*[Outcome.REJECTED] * 20, Outcome.FAILED), Outcome.FAILED)


def test_failure_says_why_the_run_stopped() -> None:
    summary = summary_of(Outcome.FAILED, stopped_because="10 refunds failed in a row")
    assert failure(summary, Outcome.FAILED).endswith("reason 0. The run stopped early: 10 refunds failed in a row")
