"""The table of answers: what each means for a refund, whether it is tried again, and when."""

from __future__ import annotations

import io
import json

import pytest
import requests
import urllib3

from airflow_provider_firstpromoter.api.responses import BROKEN_JSON, NO_JSON, ApiResponse, read_response
from airflow_provider_firstpromoter.calls import REFUND as CALL
from airflow_provider_firstpromoter.calls import SALE, Outcome, Refund, Result
from airflow_provider_firstpromoter.hooks.tracking_call import outcome_of, result_from

REFUND = Refund.from_row({"event_id": "re_1", "amount": 1000, "uid": "cus_1", "email": "jane@example.com"})
KINDS = ["refund", "sale"]
HTML = "<html><body>502 Bad Gateway</body></html>"

RECORDED, ALREADY, NOT_REFERRED, REJECTED, FAILED = (
    Outcome.RECORDED,
    Outcome.ALREADY_RECORDED,
    Outcome.NOT_REFERRED,
    Outcome.REJECTED,
    Outcome.FAILED,
)


def read(status: int, body: object = b"", **headers: str) -> ApiResponse:
    """What the hook makes of a response: bytes go as they are, anything else as JSON."""
    response = requests.Response()
    response.status_code = status
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    text = body.encode() if isinstance(body, str) else body
    file = io.BytesIO(text if isinstance(text, bytes) else json.dumps(body).encode())
    response.raw = urllib3.HTTPResponse(file, preload_content=False)
    return read_response(response, ("cus_1", "jane@example.com"))


def result_of(response: ApiResponse, attempts: int = 1) -> Result:
    """What the refund's last response shows by itself."""
    return result_from(CALL, response, [REFUND], "uid", attempts)


@pytest.mark.parametrize(
    ("status", "body", "outcome", "transient"),
    [
        (200, {"id": 1}, RECORDED, False),
        (200, {"id": 0}, RECORDED, False),
        (200, {"id": None}, FAILED, False),
        (200, {}, FAILED, False),
        (200, {"status": "ok"}, FAILED, False),
        (200, [{"id": 1}], FAILED, False),
        (200, [], FAILED, False),
        (200, b"null", FAILED, False),
        (200, b'"ok"', FAILED, False),
        (200, b"", FAILED, False),
        (200, HTML, FAILED, False),
        # Broken off: the refund was recorded, and the 409 of the next try will say so.
        (200, b'{"id": 1, "rewa', FAILED, True),
        (200, b' \n[{"id": 1', FAILED, True),
        (200, b'{"id": \xff}', FAILED, True),
        (201, {"id": 1}, FAILED, False),
        (202, {"id": 1}, FAILED, False),
        (204, b"", NOT_REFERRED, False),
        (301, b"", FAILED, False),
        (302, HTML, FAILED, False),
        (307, {"id": 1}, FAILED, False),
        (308, {"message": "moved"}, FAILED, False),
        (400, {"message": "Error. Amount blank or invalid."}, REJECTED, False),
        (400, {"error": "bad"}, REJECTED, False),
        (400, HTML, FAILED, False),
        (400, b"", FAILED, False),
        (400, ["bad"], REJECTED, False),
        (400, {}, REJECTED, False),
        (408, b"", FAILED, True),
        (404, {"message": "Referral not found", "code": "not_found"}, NOT_REFERRED, False),
        (404, {"message": "Not found", "code": "not_found"}, NOT_REFERRED, False),
        (404, {"message": "Lead not found"}, NOT_REFERRED, False),
        # A gateway says as much of a path that it doesn't know.
        (404, {"message": "Not Found"}, FAILED, False),
        (404, {"message": "not found."}, FAILED, False),
        (404, {"message": "404 Not Found"}, FAILED, False),
        (404, {"message": ""}, FAILED, False),
        (404, {"message": None, "code": "not_found"}, NOT_REFERRED, False),
        (404, {"code": "not_found"}, NOT_REFERRED, False),
        (404, {"code": 404}, FAILED, False),
        (404, {"message": "Not Found", "code": None}, FAILED, False),
        (404, {"error": "Not Found", "status": 404}, FAILED, False),
        (404, {"detail": "Not Found"}, FAILED, False),
        (404, {}, FAILED, False),
        (404, ["Lead not found"], FAILED, False),
        (404, b"", FAILED, False),
        (404, "Not Found", FAILED, False),
        (404, HTML, FAILED, False),
        (405, {"message": "Method Not Allowed"}, FAILED, False),
        (409, {"message": "The 'refund' event with the id 're_1' already exists."}, ALREADY, False),
        (409, {"message": 'the "Refund" Event with the id "re_1" already exists'}, ALREADY, False),
        # An event of another type keeps the id from being used for a refund, on every run.
        (409, {"message": "The 'sale' event with the id 're_1' already exists."}, REJECTED, False),
        (409, {"message": "The 'cancellation' event with the id 're_1' already exists."}, REJECTED, False),
        # None of these says that this refund is recorded.
        (409, {"message": "The 'refund' event with the id 're_2' already exists."}, FAILED, False),
        (409, {"message": "The 'refund' event with the id 'RE_1' already exists. re_1"}, FAILED, False),
        (409, {"message": "The 'refund' event with the id 're_12' already exists."}, FAILED, False),
        (409, {"message": "The 'refund' event with the id 'are_1' already exists."}, FAILED, False),
        (409, {"message": "The 'sale' event with the id 're_2' already exists."}, FAILED, False),
        (409, {"message": "The 'refund' event with the id 're_2' already exists; you sent re_1."}, FAILED, False),
        (409, {"message": "The event with the id 're_1' already exists."}, FAILED, False),
        (409, {"message": "The 'refund' event 're_1' is being processed, try again."}, FAILED, False),
        (409, {"message": "Conflict"}, FAILED, False),
        (409, {"message": ""}, FAILED, False),
        (409, {"message": ["The 'refund' event with the id 're_1' already exists."]}, FAILED, False),
        (409, {"error": "conflict"}, FAILED, False),
        (409, {}, FAILED, False),
        (409, b"", FAILED, False),
        (409, HTML, FAILED, False),
        (410, {"message": "Gone"}, FAILED, False),
        (422, {"message": "Validation failed", "errors": {"amount": ["is invalid"]}}, REJECTED, False),
        (422, {"errors": {"amount": ["is invalid"]}}, REJECTED, False),
        (422, {"errors": ["Amount is invalid"]}, REJECTED, False),
        (422, HTML, FAILED, False),
        (429, b"", FAILED, True),
        (429, {"message": "Too many requests"}, FAILED, True),
        (429, HTML, FAILED, True),
        (500, b"", FAILED, True),
        (500, {"id": 1}, FAILED, True),
        (502, HTML, FAILED, True),
        (503, {"message": "down"}, FAILED, True),
        (504, HTML, FAILED, True),
        (520, HTML, FAILED, True),
    ],
    ids=repr,
)
def test_response_has_one_outcome_and_is_transient_or_not(
    status: int, body: object, outcome: Outcome, transient: bool
) -> None:
    answer = read(status, body)
    assert outcome_of(CALL, answer, "re_1") is outcome
    assert answer.transient is transient


@pytest.mark.parametrize(
    "event_id",
    ["7", "re_1", "it's 'quoted'", 'say "re"', "(re.*)[1]+", "r\u00e9 \U0001f4b8", "already exists", "a  b", "e" * 255],
)
def test_conflict_is_this_refunds_only_with_exactly_its_event_id(event_id: str) -> None:
    def outcome(named: str) -> Outcome:
        return outcome_of(
            CALL, read(409, {"message": f"The 'refund' event with the id '{named}' already exists."}), event_id
        )

    assert outcome(event_id) is ALREADY
    for other in (f"1{event_id}", f"{event_id}1", f"x-{event_id}", f"{event_id}-x", event_id[:-1], ""):
        assert outcome(other) is FAILED


def test_conflict_of_a_sale_is_the_sale_calls_own() -> None:
    conflict = {kind: read(409, {"message": f"The '{kind}' event with the id 'x' already exists."}) for kind in KINDS}
    assert [outcome_of(SALE, conflict[kind], "x") for kind in KINDS] == [REJECTED, ALREADY]
    assert [outcome_of(CALL, conflict[kind], "x") for kind in KINDS] == [ALREADY, REJECTED]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [b"", HTML, {"message": "Unauthorized", "code": "unauthorized"}, {"id": 1}], ids=repr)
def test_refused_access_settles_nothing_and_is_not_retried(status: int, body: object) -> None:
    answer = read(status, body)  # the hook raises before it asks; should it forget, nothing is lost
    assert outcome_of(CALL, answer, "re_1") is FAILED
    assert not answer.transient


def test_missing_response_is_retried_and_fails_in_the_end() -> None:
    answer = ApiResponse(problem="timed out")
    assert answer.transient
    result = result_of(answer, 6)
    assert (result.outcome, result.http_status, result.sent) == (FAILED, None, True)
    assert result.message == "no response in 6 tries: timed out"


# --- messages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (204, b"", None),
        (404, {"message": "No referral", "code": "not_found"}, "No referral"),
        (404, {"message": "No referral jane@example.com", "code": "not_found"}, "No referral ***"),
        (
            409,
            {"message": "The 'refund' event with the id 're_1' already exists."},
            "The 'refund' event with the id 're_1' already exists.",
        ),
        (
            409,
            {"message": "The event 're_1' already exists."},
            "answered 409, but not that this refund exists: The event 're_1' already exists.",
        ),
        (400, {"message": "Error. Amount blank or invalid."}, "Error. Amount blank or invalid."),
        (400, {"error": "bad"}, "answered 400 without a message"),
        (400, {"message": ["bad"]}, "answered 400 without a message"),
        (422, {"message": "Invalid", "errors": {"amount": ["is bad", "is low"]}}, "Invalid (amount: is bad is low)"),
        (422, {"errors": {"amount": "is bad", "uid": ["cus_1 is unknown"]}}, "amount: is bad, uid: *** is unknown"),
        (422, {"errors": ["x"]}, "answered 422 without a message"),
        (422, {"message": "two\nlines\x00", "errors": {}}, "two lines ()"),
    ],
    ids=repr,
)
def test_result_message_is_one_line(status: int, body: object, message: str | None) -> None:
    assert result_of(read(status, body)).message == message


def test_customer_data_echoed_by_the_server_is_masked() -> None:
    body = {"message": "no cus_1 / jane@example.com", "errors": {"email": ["jane@example.com is unknown"]}}
    for status in (400, 404, 409, 422):
        message = result_of(read(status, {**body, "code": "x"})).message
        assert message is not None
        assert "jane" not in message
        assert "cus_1" not in message


def test_long_error_message_is_truncated() -> None:
    errors = {f"field{number}": ["x" * 50_000] for number in range(15)}
    message = result_of(read(422, {"message": "m" * 100_000, "errors": errors})).message
    assert message is not None
    assert len(message) <= 500


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ApiResponse(503), "answered 503 in 6 tries"),
        (ApiResponse(429, {"message": "slow down"}), "answered 429 in 6 tries"),
        (ApiResponse(200, problem=BROKEN_JSON), "answered 200 in 6 tries: the response is not whole JSON"),
        (ApiResponse(302), "answered 302, but not as FirstPromoter does; is the connection's host right?"),
        (ApiResponse(404), "answered 404, but not as FirstPromoter does; is the connection's host right?"),
        (
            ApiResponse(200, problem=NO_JSON),
            "answered 200, but not as FirstPromoter does; is the connection's host right?",
        ),
    ],
    ids=repr,
)
def test_failure_message_says_what_was_tried_or_what_to_check(answer: ApiResponse, message: str) -> None:
    assert result_of(answer, 6).message == message


def test_failure_message_uses_the_singular_for_one_try() -> None:
    assert result_of(ApiResponse(503)).message == "answered 503 in 1 try"


# --- reading --------------------------------------------------------------------------------------------


def test_deeply_nested_json_is_a_malformed_response() -> None:
    assert read(200, b"[" * 200_000).problem == BROKEN_JSON


def test_retry_after_is_read_with_the_response() -> None:
    assert read(429, HTML, Retry_After="7").retry_after == 7
    assert read(503, {"message": "x"}, Retry_After="8").retry_after == 8
    assert read(200, {"id": 1}).retry_after is None
