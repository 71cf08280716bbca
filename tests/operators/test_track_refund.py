"""TrackRefundOperator: what it takes, what it hands on by XCom, and when the task fails."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    RefundInputError,
    RefundsFailedError,
    RefundsRejectedError,
)
from airflow_provider_firstpromoter.operators.refund import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.support import Task, refund

RESULT_FIELDS = {
    "event_id",
    "outcome",
    "sent",
    "http_status",
    "recorded_amount",
    "refund_id",
    "reward",
    "lead",
    "promoter",
    "message",
}


def track_task(**parameters: Any) -> Task:
    """Return the operator as a task."""
    return Task(TrackRefundOperator(task_id="track", **parameters))


def outcomes(results: Sequence[dict[str, Any]]) -> list[str]:
    return [result["outcome"] for result in results]


def requests_of(sandbox: Sandbox) -> int:
    return len(sandbox.refund_requests())


@pytest.fixture(autouse=True)
def firstpromoter(sandbox: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]) -> None:
    """A FirstPromoter that knows ``cus_0`` to ``cus_9``, and a ledger in SQLite that its connection names."""
    new_database("sqlite", "ledger")
    connect(max_attempts=1, ledger_conn_id="ledger")
    sandbox.add_leads({"uid": f"cus_{n}", "email": f"c{n}@example.com", "promoter": "anna"} for n in range(10))


# --- what goes in, and what comes out ---


def test_a_mapping_gives_one_result(sandbox: Sandbox) -> None:
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
    assert (result["reward"]["id"], result["reward"]["amount"]) == (recorded.reward_id, recorded.reward_amount)
    assert result["promoter"]["id"] == recorded.promoter_id
    assert result["promoter"]["default_ref_id"] == "anna"


class Lazy(Sequence[Any]):
    """A sequence that is no list, as Airflow's lazy XComs are."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]


@pytest.mark.parametrize("kind", [list, tuple, Lazy])
def test_a_sequence_gives_a_list_in_its_order(kind: Callable[[Sequence[Any]], Any], sandbox: Sandbox) -> None:
    sandbox.fault("latency", times=None, probability=0.5, max_seconds=0.05)  # the answers come in another order
    numbers = [7, 3, 42, 0, 9, 77, 1]

    results = track_task(refunds=kind([refund(number) for number in numbers])).run()

    assert [result["event_id"] for result in results] == [f"re_{number}" for number in numbers]
    assert outcomes(results) == ["recorded" if number < 10 else "not_referred" for number in numbers]


def test_a_list_of_one_gives_a_list_and_an_empty_one_an_empty_one(sandbox: Sandbox) -> None:
    assert len(track_task(refunds=[refund(0)]).run()) == 1
    assert track_task(refunds=[]).run() == []
    assert track_task(refunds=()).run() == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{{ ti.xcom_pull(task_ids='find') }}", r"a text.*refunds=find_refunds\.output"),
        (b"[]", r"\.output"),
        (None, "None: the task that should hand them on pushed nothing"),
        (42, "a mapping or a list of them, not int"),
        ({"re_1", "re_2"}, "not set"),
        (iter([]), "not list_iterator"),
        ([refund(0), "re_1"], r"refunds\[1\] must be a mapping, not str"),
        ([[refund(0)]], r"refunds\[0\] must be a mapping, not list"),
        ([{"amount": 1, "uid": "u"}], "refunds lack event_id$"),
        ([{"event_id": "e", "uid": "u"}], "refunds lack amount$"),
        ({"event_id": "e", "amount": 1}, "refunds lack uid or email$"),
        ([{"id": 1}, {"total": 2}], "refunds lack event_id, amount, uid or email$"),
    ],
)
def test_what_is_no_refund_is_an_error_before_any_call(wrong: Any, told: str, sandbox: Sandbox) -> None:
    task = track_task(refunds=wrong)

    with pytest.raises(RefundInputError, match=told) as refused:
        task.run()

    assert isinstance(refused.value, AirflowFailException), "no retry mends it"
    assert sandbox.request_counts() == {}
    assert task.ti.pushed == {}


def test_a_column_that_identify_by_leaves_out_does_not_count(sandbox: Sandbox) -> None:
    with pytest.raises(RefundInputError, match="lack email"):
        track_task(refunds=[refund(0)], identify_by="email").run()
    assert requests_of(sandbox) == 0


def test_repeated_rows_do_not_bear_the_reward_twice(sandbox: Sandbox) -> None:
    task = track_task(refunds=[refund(0), refund(1), refund(0)])

    first, other, again = task.run()

    assert requests_of(sandbox) == 2
    assert first["reward"]["amount"] < 0
    assert other["reward"]["amount"] < 0
    assert (again["event_id"], again["outcome"], again["sent"], again["reward"]) == ("re_0", "recorded", False, None)
    assert again["message"] == "the same event_id as an earlier row"
    assert task.summary["reversed"] == {"cash": first["reward"]["amount"] + other["reward"]["amount"]}


def test_upper_case_columns_and_further_ones_do_no_harm(sandbox: Sandbox) -> None:
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


def test_results_in_xcom_are_plain_json_without_emails_and_uids(sandbox: Sandbox) -> None:
    task = track_task(refunds=[refund(n, email=f"c{n}@example.com") for n in (0, 1, 50)] + [refund(2, amount=0)])

    with pytest.raises(RefundsRejectedError):
        task.run()

    results = task.ti.pushed["return_value"]
    assert {type(value) for value in leaves(results)} <= {str, int, bool, type(None)}
    text = json.dumps(task.ti.pushed)
    assert "example.com" not in text
    assert "cus_" not in text


def test_a_settled_refund_gives_the_same_values_without_a_request(sandbox: Sandbox) -> None:
    """Clearing the task and running it again hands the very same rewards on."""
    given = [refund(0), refund(50), refund(1), refund(0)]
    first = track_task(refunds=given)
    first.run()
    before = requests_of(sandbox)

    again = track_task(refunds=given)
    results = again.run()

    assert requests_of(sandbox) == before
    assert results == [{**result, "sent": False} for result in first.ti.pushed["return_value"]]
    for name in ("outcomes", "reversed", "refunded", "rewards_unknown", "without_sale_event_id", "repeated"):
        assert again.summary[name] == first.summary[name]


# --- when the task fails ---


def test_a_page_on_which_most_were_referred_by_nobody_is_green(sandbox: Sandbox) -> None:
    task = track_task(refunds=[refund(number) for number in range(100)])

    results = task.run()

    assert outcomes(results) == ["recorded"] * 10 + ["not_referred"] * 90
    assert task.summary["warnings"] == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [({"amount": 0}, "amount must be above zero"), ({"currency": "ZZZ"}, "Error. Currency blank or invalid.")],
    ids=["by-ourselves", "by-the-api"],
)
def test_one_rejected_row_fails_the_task_after_all_others_were_sent(
    wrong: dict[str, Any], reason: str, sandbox: Sandbox
) -> None:
    task = track_task(refunds=[refund(0), refund(1, **wrong), refund(2), refund(3)])

    with pytest.raises(RefundsRejectedError) as failed:
        task.run()

    assert isinstance(failed.value, AirflowFailException), "no retry mends it"
    assert f"1 rejected: 're_1': {reason}" in str(failed.value)
    assert {recorded.event_id for recorded in sandbox.recorded()} == {"re_0", "re_2", "re_3"}
    assert outcomes(task.ti.pushed["return_value"]) == ["recorded", "rejected", "recorded", "recorded"]
    assert task.summary["outcomes"]["rejected"] == 1


@pytest.mark.parametrize(("max_rejected", "fails"), [(0, True), (1, True), (2, False), (None, False)])
def test_max_rejected_says_how_many_are_too_many(max_rejected: int | None, fails: bool) -> None:
    task = track_task(refunds=[refund(0), refund(1, amount=0), refund(2, amount=-1)], max_rejected=max_rejected)

    if fails:
        with pytest.raises(RefundsRejectedError, match=rf"max_rejected={max_rejected}"):
            task.run()
    else:
        task.run()

    assert outcomes(task.ti.pushed["return_value"]) == ["recorded", "rejected", "rejected"]


def test_a_failed_refund_fails_the_task_so_that_airflow_tries_again(sandbox: Sandbox) -> None:
    sandbox.fault("status", status=502, event_id="re_1")
    given = [refund(0), refund(1), refund(2, amount=0)]
    task = track_task(refunds=given)

    with pytest.raises(RefundsFailedError, match="1 failed: 're_1': answered 502") as failed:
        task.run()

    assert isinstance(failed.value, AirflowException)
    assert not isinstance(failed.value, AirflowFailException), "the retry takes it up, rejected rows or not"
    assert outcomes(task.ti.pushed["return_value"]) == ["recorded", "failed", "rejected"]

    retry = track_task(refunds=given, max_rejected=None)
    assert outcomes(retry.run()) == ["recorded", "recorded", "rejected"]
    assert [request.body["event_id"] for request in sandbox.refund_requests()[2:]] == ["re_1"]


def test_results_are_handed_on_before_a_wrong_key_fails_the_task(connect: Callable[..., str]) -> None:
    connect(password="not-the-right-key", ledger_conn_id="ledger")
    task = track_task(refunds=[refund(0), refund(1)])

    with pytest.raises(AccessRefusedError):
        task.run()

    assert outcomes(task.ti.pushed["return_value"]) == ["pending", "pending"]
    assert task.summary["stopped_because"] == "FirstPromoter refused access"


def test_xcom_is_left_alone_if_that_is_asked_for() -> None:
    task = track_task(refunds=refund(0), do_xcom_push=False)

    assert task.run()["outcome"] == "recorded"
    assert task.ti.pushed == {}


# --- with and without a ledger ---


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What a task has logged: Airflow 2 uses Python's logging, Airflow 3 prints."""
    caplog.set_level(logging.WARNING)
    return lambda: caplog.text + capsys.readouterr().out


def test_without_a_ledger_409_alone_keeps_refunds_apart_and_the_log_says_so(
    sandbox: Sandbox, connect: Callable[..., str], logged: Callable[[], str]
) -> None:
    connect()

    first = track_task(refunds=[refund(0)]).run()
    second = track_task(refunds=[refund(0)]).run()

    assert (outcomes(first), outcomes(second)) == (["recorded"], ["already_recorded"])
    assert requests_of(sandbox) == 2
    assert len(sandbox.recorded()) == 1
    assert "No ledger: FirstPromoter's 409 alone keeps a refund from being sent twice" in logged()


def test_with_a_ledger_the_log_does_not_warn(logged: Callable[[], str]) -> None:
    track_task(refunds=[refund(0, currency="ZZZ")], max_rejected=None).run()

    log = logged()
    assert "Refund 're_0' is rejected" in log
    assert "No ledger" not in log


def test_the_tasks_own_ledger_goes_before_the_connections(new_database: Callable[..., Any]) -> None:
    other = new_database("sqlite", "other_ledger")

    track_task(refunds=[refund(0)], ledger_conn_id="other_ledger", ledger_table="told").run()

    assert other.run("SELECT event_id, outcome, dag_id, run_id, task_id, map_index FROM told") == [
        ("re_0", "recorded", "dag", "manual__1", "track", -1)
    ]


def test_preview_reports_and_neither_sends_nor_writes(sandbox: Sandbox, new_database: Callable[..., Any]) -> None:
    ledger = new_database("sqlite", "ledger")
    task = track_task(refunds=[refund(0), refund(1, amount=0)], preview=True)

    results = task.run()

    assert outcomes(results) == ["pending", "rejected"]
    assert task.summary["preview"] is True
    assert requests_of(sandbox) == 0
    assert ledger.run("SELECT name FROM sqlite_master") == []


# --- parameters ---


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"amount_unit": "cents"}, "amount_unit must be 'minor' or 'major', not 'cents'"),
        ({"identify_by": ("uid", "name")}, "identify_by takes 'uid' and 'email'"),
        ({"identify_by": ()}, "identify_by takes 'uid' and 'email'"),
        ({"identify_by": "phone"}, "identify_by takes 'uid' and 'email', not 'phone'"),
        ({"max_in_flight": 0}, "max_in_flight must be at least 1, not 0"),
    ],
)
def test_parameters_are_checked_when_the_dag_is_parsed(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
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


def test_a_customer_who_is_known_by_email_only_is_found_though_the_row_has_a_uid(sandbox: Sandbox) -> None:
    sandbox.add_lead(email="by-mail@example.com")

    result = track_task(refunds=refund(50, email="by-mail@example.com")).run()

    assert result["outcome"] == "recorded"
    assert [sorted(request.body.keys() & {"uid", "email"}) for request in sandbox.refund_requests()] == [
        ["uid"],
        ["email"],
    ]
