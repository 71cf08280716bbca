"""TrackRefundOperator: the refunds that it takes, its parameters, and its results in XCom."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_firstpromoter.exceptions import (
    EventsRejectedError,
    InputError,
)
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.operators.tracking import outcomes, requests_of, track_task
from tests.support import BOTH_SHAPES, refund

pytestmark = pytest.mark.usefixtures("firstpromoter")

RESULT_FIELDS = {
    "event_id",
    "outcome",
    "sent",
    "http_status",
    "recorded_amount",
    "firstpromoter_id",
    "lead_id",
    "commissions",
    "rewards",
    "message",
    "lead_differs",
    "matched_by",
    "reported_by",
}


# --- what goes in, and what comes out ---


@BOTH_SHAPES
def test_mapping_returns_one_result(sandbox: Sandbox) -> None:
    result = track_task(refunds=refund(0, amount=1999)).run()

    recorded = sandbox.recorded()[0]
    assert set(result) == RESULT_FIELDS
    assert (result["event_id"], result["outcome"], result["sent"], result["http_status"]) == (
        "re_0",
        "recorded",
        True,
        200,
    )
    assert result["recorded_amount"] == recorded.amount_cents == -1999
    assert (result["commissions"][0]["id"], result["rewards"]["cash"]) == (recorded.reward_id, recorded.reward_amount)
    assert result["commissions"][0]["promoter_id"] == recorded.promoter_id
    assert result["commissions"][0]["promoter_ref"] in ("anna", None), "the newer shape does not name it"


class Lazy(Sequence[Any]):
    """A sequence that is no list, as Airflow's lazy XComs are."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]


@pytest.mark.parametrize("kind", [list, tuple, Lazy])
def test_sequence_returns_results_in_its_order(kind: Callable[[Sequence[Any]], Any], sandbox: Sandbox) -> None:
    sandbox.fault("latency", times=None, probability=0.5, max_seconds=0.05)  # the answers come in another order
    numbers = [7, 3, 42, 0, 9, 77, 1]

    results = track_task(refunds=kind([refund(number) for number in numbers])).run()

    assert [result["event_id"] for result in results] == [f"re_{number}" for number in numbers]
    assert outcomes(results) == ["recorded" if number < 10 else "not_referred" for number in numbers]


def test_list_returns_a_list_of_the_same_length(sandbox: Sandbox) -> None:
    assert len(track_task(refunds=[refund(0)]).run()) == 1
    assert track_task(refunds=[]).run() == []
    assert track_task(refunds=()).run() == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{{ ti.xcom_pull(task_ids='find') }}", r"a text.*refunds=find_refunds\.output"),
        (b"[]", r"\.output"),
        (None, "None: the upstream task pushed nothing"),
        (42, "a mapping or a list of mappings, not int"),
        ({"re_1", "re_2"}, "not set"),
        (iter([]), "not list_iterator"),
        ([refund(0), "re_1"], r"refunds\[1\] must be a mapping, not str"),
        ([[refund(0)]], r"refunds\[0\] must be a mapping, not list"),
        ([{"amount": 1, "uid": "u"}], "refunds lack event_id$"),
        ([{"event_id": "e", "uid": "u"}], "refunds lack amount$"),
        ({"event_id": "e", "amount": 1}, "refunds lack uid or email$"),
        ([{"id": 1}, {"total": 2}], "refunds lack event_id, amount, uid or email$"),
        ({**refund(0), "Amount": 9900}, r"refunds\[0\] has amount more than once, in different case"),
        ([refund(0), {**refund(1), "AMOUNT": 1001, "Uid": "cus_2"}], r"refunds\[1\] has uid and amount more than once"),
        ([{**refund(0), "EVENT_ID": "re_0"}], r"has event_id more than once"),
    ],
)
def test_invalid_refunds_raise_before_any_request(wrong: Any, message: str, sandbox: Sandbox) -> None:
    task = track_task(refunds=wrong)

    with pytest.raises(InputError, match=message) as refused:
        task.run()

    assert isinstance(refused.value, AirflowFailException), "no retry mends it"
    assert sandbox.request_counts() == {}
    assert list(task.ti.pushed) == ["summary"], "only the error, for the page"
    assert task.summary["error"].startswith("InputError: ")


def test_column_outside_identify_by_is_ignored(sandbox: Sandbox) -> None:
    with pytest.raises(InputError, match="lack email"):
        track_task(refunds=[refund(0)], identify_by="email").run()
    assert requests_of(sandbox) == 0


@BOTH_SHAPES
def test_repeated_row_has_no_reward(sandbox: Sandbox) -> None:
    task = track_task(refunds=[refund(0), refund(1), refund(0)])

    first, other, again = task.run()

    assert requests_of(sandbox) == 2
    assert first["rewards"]["cash"] < 0
    assert other["rewards"]["cash"] < 0
    assert (again["event_id"], again["outcome"], again["sent"], again["rewards"]) == ("re_0", "recorded", False, {})
    assert again["message"] == "the same event_id as another row"
    assert task.summary["rewards"] == {"cash": first["rewards"]["cash"] + other["rewards"]["cash"]}


def test_upper_case_and_additional_columns_are_accepted(sandbox: Sandbox) -> None:
    result = track_task(refunds={"EVENT_ID": "re_0", "AMOUNT": 5, "UID": "cus_0", "STATUS": "succeeded"}).run()

    assert result["outcome"] == "recorded"
    assert sandbox.refund_requests()[0].body == {"event_id": "re_0", "amount": "5", "uid": "cus_0"}


# --- XCom ---


def leaves(value: Any) -> Iterator[Any]:
    """Everything in a JSON value that is neither list nor dict."""
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    else:
        yield value


@BOTH_SHAPES
def test_results_in_xcom_are_plain_json_without_emails_and_uids(sandbox: Sandbox) -> None:
    task = track_task(refunds=[refund(n, email=f"c{n}@example.com") for n in (0, 1, 50)] + [refund(2, amount=0)])

    with pytest.raises(EventsRejectedError):
        task.run()

    results = task.ti.pushed["return_value"]
    assert {type(value) for value in leaves(results)} <= {str, int, bool, type(None)}
    text = json.dumps(task.ti.pushed)
    assert "example.com" not in text
    assert "cus_" not in text


@BOTH_SHAPES
def test_settled_refund_returns_the_same_values_without_a_request(sandbox: Sandbox) -> None:
    """Clearing the task and running it again hands the very same rewards on."""
    given = [refund(0), refund(50), refund(1), refund(0)]
    first = track_task(refunds=given)
    first.run()
    before = requests_of(sandbox)

    again = track_task(refunds=given)
    results = again.run()

    assert requests_of(sandbox) == before
    assert results == [{**result, "sent": False} for result in first.ti.pushed["return_value"]]
    for name in ("outcomes", "rewards", "amounts", "rewards_unknown", "without_sale_event_id", "repeated"):
        assert again.summary[name] == first.summary[name]


# --- parameters ---


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"amount_unit": "cents"}, "amount_unit must be 'minor' or 'major', not 'cents'"),
        ({"identify_by": ("uid", "name")}, "identify_by takes 'uid' and 'email'"),
        ({"identify_by": ()}, "identify_by takes 'uid' and 'email'"),
        ({"identify_by": "phone"}, "identify_by takes 'uid' and 'email', not 'phone'"),
        ({"max_in_flight": 0}, "max_in_flight must be at least 1, not 0"),
        ({"fail_on": "old"}, "fail_on must be 'new' or 'any', not 'old'"),
        ({"recheck_unreferred": timedelta(hours=20)}, "recheck_unreferred must be longer than 20:00:00"),
        ({"recheck_unreferred": timedelta(0)}, "recheck_unreferred must be longer than 20:00:00"),
        ({"recheck_unreferred": timedelta(days=999_999)}, "at most 3653 days"),
        ({"recheck_unreferred": timedelta(days=-1)}, r"recheck_unreferred .* timedelta\(days=30\) is usual"),
    ],
)
def test_parameters_are_checked_when_the_dag_is_parsed(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrackRefundOperator(task_id="track", refunds=[], **parameters)


def test_parameters_reach_the_request(sandbox: Sandbox) -> None:
    given = {
        "event_id": 10_001,
        "amount": "19.99",
        "currency": "eur",
        "uid": "cus_0",
        "email": "c1@example.com",
        "quantity": 2,
        "sale_event_id": "ch_1",
    }
    track_task(refunds=given, amount_unit="major", identify_by=("email",), skip_email_notification=True).run()

    assert [request.body for request in sandbox.refund_requests()] == [
        {
            "event_id": "10001",
            "amount": "1999",
            "currency": "EUR",
            "email": "c1@example.com",
            "quantity": "2",
            "sale_event_id": "ch_1",
            "skip_email_notification": True,
        }
    ]


def test_customer_known_by_email_only_is_found_from_a_row_with_a_uid(sandbox: Sandbox) -> None:
    sandbox.add_lead(email="by-mail@example.com")

    result = track_task(refunds=refund(50, email="by-mail@example.com")).run()

    assert result["outcome"] == "recorded"
    assert [sorted(request.body.keys() & {"uid", "email"}) for request in sandbox.refund_requests()] == [
        ["uid"],
        ["email"],
    ]
