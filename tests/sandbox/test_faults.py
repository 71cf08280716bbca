"""Tests of each kind of fault: what the client receives, and whether the refund is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_firstpromoter.sandbox import Sandbox, Settings, running_sandbox
from airflow_provider_firstpromoter.sandbox.faults import Kind
from tests.sandbox.client import Client

REFUND = {"event_id": "r1", "amount": "1", "uid": "u1"}


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, for at most five seconds."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_fault_with_times_applies_to_that_many_requests(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("status", status=503, times=2)
    assert [client.refund("r1").status_code for _ in range(3)] == [503, 503, 200]


def test_fault_with_event_id_or_path_applies_to_matching_requests_only(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("status", status=500, event_id="r2", times=None)
    sandbox.fault("status", status=502, path="/company/promoters", times=None)
    assert [client.refund(event_id).status_code for event_id in ("r1", "r2", "r2", "r3")] == [200, 500, 500, 200]
    assert client("GET", "/company/promoters").status_code == 502
    sandbox.clear_faults()
    assert client.refund("r2").status_code == 200


def test_fault_with_list_of_event_ids_applies_to_each(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("status", status=400, event_id=["r1", "r3"], times=None)
    statuses = [client.refund(event_id).status_code for event_id in ("r1", "r2", "r3", "r1", "r4")]
    assert statuses == [400, 200, 400, 400, 200]


def test_fault_with_event_id_applies_to_the_search_for_it(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("status", status=503, event_id="r1", path="/company/commissions", times=None)
    searches = [client("GET", "/company/commissions", params={"q": q} if q else {}) for q in ("r1", "r2", "", "r1")]
    assert [search.status_code for search in searches] == [503, 200, 200, 503]
    assert client.refund("r1").status_code == 200


@pytest.mark.parametrize(
    ("kind", "options", "content_type"),
    [
        ("status", {"status": 503}, "application/json"),
        ("status", {"status": 403, "message": "Forbidden", "code": "forbidden"}, "application/json"),
        ("html", {"status": 403}, "text/html; charset=utf-8"),
    ],
)
def test_fault_on_listing_leaves_refunds_alone(
    sandbox: Sandbox, client: Client, kind: Kind, options: dict[str, Any], content_type: str
) -> None:
    sandbox.fault(kind, path="/company/commissions", times=None, **options)
    response = client("GET", "/company/commissions")
    assert (response.status_code, response.headers["content-type"]) == (options["status"], content_type)
    if "code" in options:
        assert response.json() == {"message": "Forbidden", "code": "forbidden"}
    assert client.refund().status_code == 200


def test_html_403_fault_with_event_id_stops_that_refund_only(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("html", status=403, event_id="r2", times=None)
    responses = [client.refund(event_id) for event_id in ("r1", "r2", "r2", "r3")]
    assert [response.status_code for response in responses] == [200, 403, 403, 200]
    assert [refund.event_id for refund in sandbox.recorded()] == ["r1", "r3"]


def test_status_fault_with_event_id_in_message_names_the_refund(sandbox: Sandbox, client: Client) -> None:
    message = "The 'sale' event with the id '{event_id}' already exists."
    sandbox.fault("status", status=409, message=message, times=None)
    assert [client.refund(event_id).json()["message"] for event_id in ("r1", "{event_id}")] == [
        "The 'sale' event with the id 'r1' already exists.",
        "The 'sale' event with the id '{event_id}' already exists.",
    ]


def test_changed_item_fault_replaces_fields_of_first_or_chosen_commissions(sandbox: Sandbox, client: Client) -> None:
    first, second = (client.refund(event_id).json()["reward"]["id"] for event_id in ("r1", "r2"))
    sandbox.fault("changed_item", item={"id": None})
    assert client("GET", "/company/promoters").status_code == 200
    assert [each["id"] for each in client("GET", "/company/commissions").json()] == [None, first]
    assert [each["id"] for each in client("GET", "/company/commissions").json()] == [second, first]
    sandbox.fault("changed_item", item={"is_paid": "true", "status": "PAID"}, ids=(first,), path="/commissions")
    assert [(each["is_paid"], each["status"]) for each in client("GET", "/company/commissions").json()] == [
        (False, "approved"),
        ("true", "PAID"),
    ]
    sandbox.fault("changed_item", item={"id": None})
    assert client("GET", "/company/commissions", params={"q": "r9"}).json() == []


@pytest.mark.parametrize("shape", ["older", "newer"])
def test_changed_item_fault_replaces_fields_in_the_200_of_a_refund(
    sandbox: Sandbox, client: Client, shape: Any
) -> None:
    sandbox.change_settings(shape=shape)
    sandbox.fault("changed_item", item={"status": None}, path="/track/refund")
    body = client.refund().json()
    (commission,) = body.get("commissions") or [body["reward"]]
    assert (commission["status"], commission["amount"]) == (None, -200)


@pytest.mark.parametrize(("kind", "found"), [("missing_item", "r2"), ("repeated_item", "r2 r1 r1")])
def test_missing_and_repeated_item_faults_change_one_page(
    sandbox: Sandbox, client: Client, kind: Kind, found: str
) -> None:
    first, _ = (client.refund(event_id).json()["reward"]["id"] for event_id in ("r1", "r2"))
    sandbox.fault(kind, ids=(first,))
    pages = [client("GET", "/company/commissions").json() for _ in range(2)]
    assert [" ".join(each["event_id"] for each in page) for page in pages] == [found, "r2 r1"]


@pytest.mark.parametrize("item", [None, "a text", 7, ["a", "list"]])
def test_stray_item_fault_inserts_item_before_first_commission(sandbox: Sandbox, client: Client, item: object) -> None:
    client.refund("r1")
    client.control("POST", "/faults", json={"kind": "stray_item", "item": item, "times": 2})
    assert client("GET", "/company/commissions", params={"q": "nothing"}).json() == [item]
    first, second = client("GET", "/company/commissions").json()
    assert (first, second["event_id"]) == (item, "r1")
    assert client("GET", "/company/commissions", params={"page": 0}).status_code == 422


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503, 504])
def test_status_fault_returns_that_status_and_records_nothing(sandbox: Sandbox, client: Client, status: int) -> None:
    sandbox.fault("status", status=status, message="No.")
    response = client.refund()
    assert response.status_code == status
    assert response.content == b"" if status in (204, 304) else response.json() == {"message": "No."}
    assert sandbox.recorded() == []


def test_status_fault_with_recorded_keeps_the_refund(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("status", status=503, recorded=True)
    assert client.refund().status_code == 503
    assert len(sandbox.recorded()) == 1
    assert client.refund().status_code == 409


@pytest.mark.parametrize("retry_after", ["3", "Wed, 21 Oct 2015 07:28:00 GMT", None])
def test_status_fault_with_retry_after_sends_the_header(
    sandbox: Sandbox, client: Client, retry_after: str | None
) -> None:
    sandbox.fault("status", status=429, retry_after=retry_after)
    assert client.refund().headers.get("Retry-After") == retry_after


@pytest.mark.parametrize(("kind", "recorded"), [("reset_before", 0), ("reset_after", 1)])
def test_reset_fault_closes_connection_before_or_after_recording(
    sandbox: Sandbox, client: Client, kind: Any, recorded: int
) -> None:
    sandbox.fault(kind)
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        client.refund()
    assert len(sandbox.recorded()) == recorded
    assert sandbox.refund_requests()[0].status is None
    assert client.refund().status_code == (409 if recorded else 200)


def test_truncated_fault_ends_body_early_after_recording(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("truncated")
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        client.refund()
    assert len(sandbox.recorded()) == 1


def test_malformed_fault_sends_invalid_json_after_recording(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("malformed")
    response = client.refund()
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json; charset=utf-8")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        response.json()
    assert len(sandbox.recorded()) == 1


@pytest.mark.parametrize("status", [0, 200, 404, 502])
def test_html_fault_sends_page_and_records_nothing(sandbox: Sandbox, client: Client, status: int) -> None:
    sandbox.fault("html", status=status)
    response = client.refund()
    assert response.status_code == (status or 502)
    assert response.headers["content-type"].startswith("text/html")
    assert response.text.startswith("<!DOCTYPE html>")
    assert sandbox.recorded() == []


@pytest.mark.parametrize("status", [0, 301, 302, 303, 307, 308])
def test_redirect_fault_sends_location_and_records_nothing(sandbox: Sandbox, client: Client, status: int) -> None:
    sandbox.fault("redirect", status=status, location="http://elsewhere.example/")
    response = client.refund()
    assert (response.status_code, response.headers["location"]) == (status or 307, "http://elsewhere.example/")
    assert sandbox.recorded() == []


def test_bare_404_fault_sends_plain_text(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("bare_404")
    response = client.refund()
    assert (response.status_code, response.text) == (404, "Not Found")


def test_huge_fault_sends_body_of_given_size_after_recording(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("huge", size=3_000_000)
    assert len(client.refund().content) == 3_000_000
    assert len(sandbox.recorded()) == 1


def test_bomb_fault_sends_small_body_that_unzips_to_given_size(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("bomb", size=3_000_000)
    response = client.refund()
    assert int(response.headers["content-length"]) < 10_000
    assert len(response.content) == 3_000_000


def test_gzip_fault_sends_same_response_compressed(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("gzip")
    response = client.refund()
    assert response.headers["content-encoding"] == "gzip"
    assert response.json()["type"] == "refund"


@pytest.mark.parametrize("kind", ["malformed", "huge", "bomb", "gzip", "truncated", "drip"])
def test_body_fault_on_204_affects_only_that_response(sandbox: Sandbox, client: Client, kind: Any) -> None:
    sandbox.add_lead(uid="u2", bought=False)
    sandbox.fault(kind, size=100)
    assert client.refund(uid="u2").status_code in (200, 204)
    assert client.refund(uid="u1").status_code == 200


def test_latency_fault_delays_response(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("latency", seconds=0.3)
    start = time.monotonic()
    assert client.refund().status_code == 200
    assert time.monotonic() - start >= 0.3


def test_latency_fault_after_client_timeout_still_records_refund(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("latency", seconds=0.6)
    with pytest.raises(requests.ReadTimeout):
        client("POST", "/track/refund", json=REFUND, timeout=0.1)
    assert sandbox.recorded() == []
    wait_until(sandbox.recorded)


def test_latency_fault_interrupted_by_reset_records_nothing(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("latency", seconds=0.4)
    with pytest.raises(requests.ReadTimeout):
        client("POST", "/track/refund", json=REFUND, timeout=0.1)
    sandbox.reset()
    sandbox.add_lead(uid=REFUND["uid"])
    time.sleep(0.5)
    assert sandbox.recorded() == []


def test_latency_fault_with_recorded_does_not_block_other_requests(client_of: Callable[..., Client]) -> None:
    with running_sandbox(Settings()) as sandbox:
        sandbox.add_lead(uid="u1")
        sandbox.fault("latency", seconds=600, recorded=True)
        with pytest.raises(requests.ReadTimeout):
            client_of(sandbox)("POST", "/track/refund", json=REFUND, timeout=0.1)
        wait_until(sandbox.recorded)
        assert sandbox.refund_requests()[0].status is None
        assert client_of(sandbox).refund("r1").status_code == 409


def test_drip_fault_outlasts_client_read_timeout(sandbox: Sandbox, client: Client) -> None:
    sandbox.fault("drip", seconds=0.01)
    start = time.monotonic()
    body = client("POST", "/track/refund", json=REFUND | {"uid": "nobody"}, timeout=0.4)
    assert body.json()["code"] == "not_found"
    # The client has the whole body before the delay of its last byte.
    assert time.monotonic() - start >= 0.01 * (len(body.content) - 1) > 0.4


def test_fault_probability_with_same_seed_repeats_same_faults(sandbox: Sandbox, client: Client) -> None:
    def run() -> list[int]:
        sandbox.reset()
        sandbox.add_lead(uid="u1")
        sandbox.fault("status", status=503, probability=0.3, times=None)
        sandbox.fault("status", status=500, probability=0.2, times=None)
        return [client.refund(f"r{i}").status_code for i in range(60) for _ in range(2)]

    first = run()
    assert first == run()
    assert {500, 503, 200, 409} == set(first)
    sandbox.faults.seed = 1
    try:
        assert run() != first
    finally:
        sandbox.faults.seed = 0


def test_faults_endpoint_adds_lists_and_clears_faults(client: Client) -> None:
    added = client.control("POST", "/faults", json={"kind": "status", "status": 503, "times": 2})
    assert [fault["times"] for fault in added.json()] == [2]
    assert client.refund().status_code == 503
    assert [fault["times"] for fault in client.control("GET", "/faults").json()] == [1]
    client.control("DELETE", "/faults")
    assert client.refund().status_code == 200


@pytest.mark.parametrize("fault", [{"kind": "earthquake"}, {"kind": "redirect"}, {"kind": "status", "times": "x"}])
def test_faults_endpoint_with_invalid_fault_is_rejected(client: Client, fault: dict[str, Any]) -> None:
    assert client.control("POST", "/faults", json=fault).status_code in (400, 422)
    assert client.control("GET", "/faults").json() == []


def test_fault_with_unknown_kind_raises_and_names_it(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="earthquake"):
        sandbox.fault("earthquake")  # type: ignore[arg-type]
