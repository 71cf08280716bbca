"""What comes back: an allow-list of FirstPromoter's answer, the same after any journey, and sums that add up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_firstpromoter.api.responses import ApiResponse, result_from
from airflow_provider_firstpromoter.refunds import Outcome, Refund, Result, Reward, Summary, masked

REFUND = Refund.from_row({"event_id": "re_1", "amount": 1000, "uid": "cus_1", "email": "jane@example.com"})
LEAD = {
    "id": 20738339,
    "state": "cancelled",
    "email": "SECRET lead@example.com",
    "uid": "SECRET uid",
    "customer_since": "2024-09-11T14:22:12.160Z",
    "plan_name": "SECRET plan",
    "username": "SECRET name",
    "website": "SECRET site",
    "custom_fields": "SECRET custom",
}
#: The contract's own example, with everything that must not travel on marked.
ANSWER: dict[str, Any] = {
    "id": 33847726,
    "type": "refund",
    "amount_cents": -1000,
    "reward": {
        "id": 10940148,
        "status": "approved",
        "amount": -200,
        "unit": "cash",
        "created_at": "2024-09-11T14:36:01.016Z",
        "lead": LEAD,
        "event_id": "re_1",
        "conversion_amount": -1000,
        "tier_level": 1,
        "split_type": None,
        "promoter": {"email": "SECRET nested@example.com"},
    },
    "lead": LEAD,
    "promoter": {
        "id": 3920164,
        "status": "active",
        "cust_id": "SECRET cust",
        "email": "SECRET promoter@example.com",
        "temp_password": "SECRET password",
        "auth_token": "SECRET token",
        "w8_form_url": "https://SECRET/w8",
        "w9_form_url": "https://SECRET/w9",
        "note": "SECRET note",
        "pref": "SECRET pref",
        "default_ref_id": "8yi2epelut",
        "earnings_balance": {"cash": 50744},
        "new_credential": "SECRET to come",
    },
    "api_key": "SECRET key",
}


def recorded(**fields: object) -> Result:
    return result_from(ApiResponse(200, {**ANSWER, **fields}), REFUND, 1)


def test_a_result_has_exactly_the_allow_listed_fields() -> None:
    assert recorded().to_json() == {
        "event_id": "re_1",
        "outcome": "recorded",
        "sent": True,
        "http_status": 200,
        "recorded_amount": -1000,
        "refund_id": 33847726,
        "reward": {
            "id": 10940148,
            "status": "approved",
            "amount": -200,
            "unit": "cash",
            "created_at": "2024-09-11T14:36:01.016Z",
            "conversion_amount": -1000,
            "tier_level": 1,
            "split_type": None,
        },
        "lead": {"id": 20738339, "state": "cancelled"},
        "promoter": {"id": 3920164, "status": "active", "default_ref_id": "8yi2epelut"},
        "message": None,
    }


@pytest.mark.parametrize(
    "written",
    [
        lambda result: json.dumps(result.to_json()),
        lambda result: result.model_dump_json(),  # the ledger's details
        lambda result: str(result.model_dump()),
        repr,
        str,
        lambda result: f"{result.reward!r} {result.lead!r} {result.promoter!r}",
    ],
    ids=["xcom", "ledger", "dump", "repr", "str", "parts"],
)
def test_no_credential_tax_form_or_email_is_written_anywhere(written: Any) -> None:
    text = written(recorded())
    assert "8yi2epelut" in text
    assert "SECRET" not in text


def test_python_code_has_the_emails_but_never_the_credentials() -> None:
    result = recorded()
    assert result.lead is not None
    assert result.promoter is not None
    assert (result.lead.email, result.lead.uid) == ("SECRET lead@example.com", "SECRET uid")
    assert result.promoter.email == "SECRET promoter@example.com"
    for credential in ("temp_password", "auth_token", "w8_form_url", "w9_form_url", "new_credential"):
        assert not hasattr(result.promoter, credential)


def test_a_result_is_the_same_out_of_xcom_and_out_of_the_ledger() -> None:
    result = recorded()
    assert Result.model_validate(json.loads(json.dumps(result.to_json()))).to_json() == result.to_json()
    assert Result.model_validate_json(result.model_dump_json()).to_json() == result.to_json()


@pytest.mark.parametrize("part", ["reward", "lead", "promoter"])
@pytest.mark.parametrize("unexpected", [None, "a text", 7, [], [1], True], ids=repr)
def test_a_part_of_an_unexpected_type_is_absent_and_the_refund_recorded_still(part: str, unexpected: object) -> None:
    result = recorded(**{part: unexpected})
    assert result.outcome is Outcome.RECORDED
    assert getattr(result, part) is None
    assert result.refund_id == 33847726


@pytest.mark.parametrize(
    ("field", "unexpected"),
    [
        ("id", "seven"),
        ("id", 1.5),
        ("id", [1]),
        ("id", 2**63),
        ("amount", {"cash": -200}),
        ("amount", float("nan")),
        ("amount", -(2**63) - 1),
        ("status", 7),
        ("status", ["approved"]),
        ("status", "x" * 65),
        ("unit", "ca\x00sh"),
        ("unit", "\ud83d"),
        ("created_at", {"date": "2024-09-11"}),
    ],
    ids=repr,
)
def test_a_field_of_an_unexpected_type_is_null_and_its_neighbours_are_kept(field: str, unexpected: object) -> None:
    reward = recorded(reward={**ANSWER["reward"], field: unexpected}).to_json()["reward"]
    assert reward == {**recorded().to_json()["reward"], field: None}


@pytest.mark.parametrize("unexpected", ["33847726", True, 1.5, [1], 2**63], ids=repr)
def test_an_id_of_an_unexpected_type_still_means_recorded(unexpected: object) -> None:
    result = recorded(id=unexpected, amount_cents=unexpected)
    assert result.outcome is Outcome.RECORDED
    assert result.refund_id is None
    assert result.recorded_amount is None


# --- masked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("No lead with jane@example.com.", "No lead with ***"),
        ("No lead with 'JANE@example.com'", "No lead with '***'"),
        ("email: other+tag@sub.example.co.uk, uid=x", "email: ***, uid=x"),
        ("<jane@example.com>", "<***>"),
        ("No lead with o'brien@example.com!", "No lead with ***"),
        ("No lead with uid cus_1", "No lead with uid ***"),
        ("No lead with uid two  words", "No lead with uid ***"),
        ("several\nlines\r\n\tof  text", "several lines of text"),
        ("nul\x00 and half \ud83d", "nul and half"),
        ("\u00e9t\u00e9 \U0001f4b8", "\u00e9t\u00e9 \U0001f4b8"),
        ("", None),
        (" \n ", None),
        (None, None),
        (7, None),
        (["x"], None),
        ({"message": "x"}, None),
    ],
    ids=repr,
)
def test_a_message_is_kept_on_one_line_without_ids_or_emails(message: object, kept: str | None) -> None:
    assert masked(message, "cus_1", None, "", "two  words") == kept


def test_the_longer_private_text_is_masked_first() -> None:
    assert masked("uid cus_12 is unknown", "cus_1", "cus_12") == "uid *** is unknown"


def test_a_megabyte_of_message_is_cut() -> None:
    text = masked("word " * 200_000)
    assert text is not None
    assert len(text) <= 500
    assert text.endswith("…")


def test_a_message_that_fits_is_not_cut() -> None:
    assert masked("x" * 500) == "x" * 500


# --- Summary --------------------------------------------------------------------------------------------


def result(outcome: Outcome, sent: bool = True, reward: Reward | None = None, event_id: str | None = "re") -> Result:
    return Result(event_id=event_id, outcome=outcome, sent=sent, reward=reward, message=f"is {outcome}")


CASH = Reward(amount=-200, unit="cash")


def test_a_summary_adds_up() -> None:
    summary = Summary()
    summary.add(result(Outcome.RECORDED, reward=CASH), amount=1000, currency="EUR", sale_event_id="ch_1")
    summary.add(result(Outcome.RECORDED, reward=CASH), amount=500, currency="JPY")
    summary.add(result(Outcome.RECORDED, sent=False, reward=CASH), amount=100, currency="EUR")
    summary.add(result(Outcome.RECORDED, reward=Reward(amount=-3, unit="credits")), amount=7)
    summary.add(result(Outcome.RECORDED, reward=Reward(amount=-1)))
    summary.add(result(Outcome.RECORDED, reward=Reward(unit="cash")), amount=40, currency="EUR", sale_event_id="ch_2")
    summary.add(result(Outcome.ALREADY_RECORDED), amount=60, currency="EUR", sale_event_id="ch_3")
    summary.add(result(Outcome.NOT_REFERRED), amount=9999, currency="EUR")
    summary.add(result(Outcome.NOT_REFERRED, sent=False), amount=9999, currency="EUR")
    summary.add(result(Outcome.REJECTED, sent=False))
    summary.add(result(Outcome.REJECTED), amount=9999, currency="EUR")
    summary.add(result(Outcome.CHANGED, sent=False))
    summary.add(result(Outcome.FAILED), amount=9999, currency="EUR")
    summary.add(result(Outcome.PENDING, sent=False))

    told = summary.to_json()
    assert told["outcomes"] == {
        "recorded": 6,
        "already_recorded": 1,
        "not_referred": 2,
        "rejected": 2,
        "changed": 1,
        "failed": 1,
        "pending": 1,
    }
    assert (told["sent"], told["skipped"]) == (9, 2)
    assert told["reversed"] == {"cash": -600, "credits": -3, "unknown": -1}
    assert told["rewards_unknown"] == 2
    assert told["refunded"] == {"EUR": 1200, "JPY": 500, "account": 7}
    assert told["without_sale_event_id"] == 3
    assert summary.need_attention == 3
    assert [problem["outcome"] for problem in told["problems"]] == ["rejected", "rejected", "changed", "failed"]
    assert json.loads(json.dumps(told)) == told


def test_every_outcome_is_counted_in_a_summary_if_as_zero() -> None:
    assert Summary().to_json()["outcomes"] == {outcome.value: 0 for outcome in Outcome}


def test_a_summary_names_the_first_twenty_problems_and_counts_all() -> None:
    summary = Summary()
    for number in range(25):
        summary.add(result(Outcome.REJECTED, event_id=f"re_{number}"))
    assert [problem.event_id for problem in summary.problems] == [f"re_{number}" for number in range(20)]
    assert summary.problems[0].reason == "is rejected"
    assert summary.outcomes[Outcome.REJECTED] == 25


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_what_needs_nothing_more_is_settled(outcome: Outcome) -> None:
    assert outcome.settled == (outcome in ("recorded", "already_recorded", "not_referred"))
