"""Result: the fields that are kept of a response, and how it is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_firstpromoter.api.responses import ApiResponse
from airflow_provider_firstpromoter.calls import REFUND as CALL
from airflow_provider_firstpromoter.calls import Commission, Outcome, Refund, Result
from airflow_provider_firstpromoter.hooks.tracking_call import result_from

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
    return result_from(CALL, ApiResponse(200, {**ANSWER, **fields}), [REFUND], "uid", 1)


def test_result_has_exactly_the_allow_listed_fields() -> None:
    assert recorded().to_json() == {
        "event_id": "re_1",
        "outcome": "recorded",
        "sent": True,
        "http_status": 200,
        "recorded_amount": -1000,
        "firstpromoter_id": 33847726,
        "lead_id": 20738339,
        "rewards": {"cash": -200},
        "commissions": [
            {
                "id": 10940148,
                "amount": -200,
                "unit": "cash",
                "status": "approved",
                "is_paid": None,
                "tier": 1,
                "is_split": None,
                "promoter_id": 3920164,
                "promoter_ref": "8yi2epelut",
                "lead_id": 20738339,
                "sale_amount": -1000,
                "original_sale_amount": None,
                "original_sale_currency": None,
                "commission_type": None,
                "created_at": "2024-09-11T14:36:01.016Z",
            }
        ],
        "message": None,
        "matched_by": "uid",
        "lead_differs": False,
        "reported_by": None,
    }


@pytest.mark.parametrize(
    "written",
    [
        lambda result: json.dumps(result.to_json()),
        lambda result: str(result.model_dump()),
        repr,
        str,
        lambda result: repr(result.commissions),
    ],
    ids=["xcom", "dump", "repr", "str", "parts"],
)
def test_written_result_has_no_credential_tax_form_or_email(written: Any) -> None:
    text = written(recorded())
    assert "8yi2epelut" in text
    assert "SECRET" not in text


def test_result_in_python_has_the_lead_but_no_credentials() -> None:
    result = recorded()
    (commission,) = result.commissions
    assert (commission.lead_email, commission.lead_uid) == ("SECRET lead@example.com", "SECRET uid")
    for credential in ("temp_password", "auth_token", "w8_form_url", "w9_form_url", "new_credential"):
        assert not hasattr(commission, credential)


def test_result_is_the_same_after_xcom() -> None:
    result = recorded()
    assert Result.model_validate(json.loads(json.dumps(result.to_json()))).to_json() == result.to_json()


def test_result_in_xcom_does_not_show_what_makes_a_later_response_ambiguous() -> None:
    result = recorded().model_copy(update={"unmatched": True, "lost": True, "reported_by": {"dag_id": "dag"}})
    assert not {"unmatched", "lost"} & result.to_json().keys()
    assert result.to_json()["reported_by"] == {"dag_id": "dag"}


@pytest.mark.parametrize("length", [499, 500, 501, 5000])
def test_result_fitted_has_a_message_that_the_ledger_can_hold(length: int) -> None:
    result = Result(event_id="re_1", outcome=Outcome.FAILED, message="x" * length)
    assert result.fitted().message == ("x" * length if length <= 500 else "x" * 497 + "...")


@pytest.mark.parametrize("part", ["reward", "lead", "promoter"])
@pytest.mark.parametrize("unexpected", [None, "a text", 7, [], [1], True], ids=repr)
def test_part_of_an_unexpected_type_is_absent_and_the_refund_recorded(part: str, unexpected: object) -> None:
    result = recorded(**{part: unexpected})
    assert result.outcome is Outcome.RECORDED
    absent = {
        "reward": result.commissions,
        "lead": result.lead_id,
        "promoter": result.commissions and result.commissions[0].promoter_id,
    }
    assert not absent[part]
    assert result.firstpromoter_id == 33847726


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
def test_field_of_an_unexpected_type_is_null_and_others_are_kept(field: str, unexpected: object) -> None:
    commissions = recorded(reward={**ANSWER["reward"], field: unexpected}).to_json()["commissions"]
    expected = [{**recorded().to_json()["commissions"][0], field: None}]
    assert commissions == ([] if field == "id" else expected), "without an id it cannot be told from others"


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"status": "pending", "is_paid": False}, "pending"),
        ({"status": "approved", "is_paid": False}, "approved"),
        ({"status": "denied", "is_paid": False}, "denied"),
        ({"status": "approved", "is_paid": True}, "paid"),
        ({"status": "approved", "is_paid": 1}, "unknown"),
        ({"status": "approved", "is_paid": "true"}, "unknown"),
        ({"status": "approved"}, "unknown"),
        ({"status": "PAID", "is_paid": False}, "unknown"),
        ({"status": "locked", "is_paid": False}, "unknown"),
        ({"is_paid": False}, "unknown"),
    ],
    ids=repr,
)
def test_commission_state_is_unknown_unless_plainly_said(values: dict[str, Any], state: str) -> None:
    assert Commission.model_validate({"id": 1, **values}).state == state


def test_result_rewards_are_the_sums_by_unit_of_the_commissions_in_effect() -> None:
    commissions = (
        Commission(id=1, amount=-200, unit="cash"),
        Commission(id=2, amount=-50, unit="cash", tier=2),
        Commission(id=3, amount=-7, unit="cash", status="denied"),
        Commission(id=4, amount=-3, unit="points"),
        Commission(id=5),
    )
    result = Result(event_id="re_1", outcome=Outcome.RECORDED, commissions=commissions)
    assert result.rewards == {"cash": -250, "points": -3}
    assert result.to_json()["rewards"] == {"cash": -250, "points": -3}


@pytest.mark.parametrize("unexpected", ["33847726", True, 1.5, [1], 2**63], ids=repr)
def test_id_of_an_unexpected_type_still_means_recorded(unexpected: object) -> None:
    result = recorded(id=unexpected, amount_cents=unexpected)
    assert result.outcome is Outcome.RECORDED
    assert result.firstpromoter_id is None
    assert result.recorded_amount is None
