"""Whatever a row or an answer holds: what is sent satisfies the published schema, and a result stays as it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from airflow_provider_firstpromoter.api.responses import ApiResponse
from airflow_provider_firstpromoter.calls import REFUND as CALL
from airflow_provider_firstpromoter.calls import (
    Call,
    Cancellation,
    Outcome,
    Refund,
    Result,
    Signup,
    TrackedEvent,
    Validation,
    amount_text,
    fingerprint,
)
from airflow_provider_firstpromoter.exceptions import InvalidRowError
from airflow_provider_firstpromoter.hooks.tracking_call import result_from
from airflow_provider_firstpromoter.ledger import Ledger, LedgerWrite, RunKey
from airflow_provider_firstpromoter.sandbox.schema import DOCUMENT
from tests.ledger.rows import THEN
from tests.support import BOTH_CALLS

# Airflow 3 serializes for XCom in its SDK, Airflow 2 in its models.
try:
    from airflow.sdk.bases.xcom import BaseXCom
except ImportError:
    from airflow.models.xcom import BaseXCom  # type: ignore[no-redef]

#: By the name of the call.
PUBLISHED = {
    name: Draft202012Validator(DOCUMENT["components"]["schemas"][name.capitalize()])
    for name in ("refund", "sale", "signup", "cancellation")
}

TEXTS = st.text(st.characters(codec=None), max_size=300)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    TEXTS,
    st.text("0123456789.eE+- ", max_size=12),
    st.binary(max_size=20),
    st.uuids(),
    st.datetimes(),
    st.sampled_from(["USD", "jpy", "KWD", "true", "0", 1, 1.0, "1999", "19.99", "x" * 255, "x" * 256]),
)
IDS = {"uid": "cus_1", "email": "jane@example.com"}
GOOD: list[dict[str, Any]] = [
    {"event_id": "re_1", "amount": 5, **IDS},
    {"event_id": "re_1", "amount": "19.99", "currency": "EUR", "email": "jane@example.com"},
]


def rows_of(columns: Iterable[str], good: Sequence[dict[str, Any]] = GOOD) -> st.SearchStrategy[dict[str, Any]]:
    """Rows that are good but for a column or two."""
    odd = st.dictionaries(st.sampled_from(sorted(columns)), VALUES, max_size=3)
    return st.builds(lambda good, odd: {**good, **odd}, st.sampled_from(good), odd)


ROWS = rows_of(CALL.columns)
HOWS = st.builds(
    Validation,
    amount_unit=st.sampled_from(["minor", "major"]),
    currency=st.sampled_from([None, "USD", "JPY"]),
    skip_email_notification=st.sampled_from([None, True, False]),
)


def read(row: dict[str, Any], how: Validation, call: Call = CALL) -> TrackedEvent | tuple[str | None, str]:
    """The refund or sale, or why it is none."""
    try:
        return call.read(row, how)
    except InvalidRowError as invalid:
        return invalid.event_id, invalid.reason


def through_xcom(value: Any) -> Any:
    """As Airflow hands it to the next task."""
    return BaseXCom.deserialize_value(SimpleNamespace(value=BaseXCom.serialize_value(value)))


@BOTH_CALLS
@settings(max_examples=settings().max_examples // 2)
@given(data=st.data(), how=HOWS)
def test_request_body_of_any_row_satisfies_the_published_schema(
    call: Call, data: st.DataObject, how: Validation
) -> None:
    event = read(data.draw(rows_of(call.columns)), how, call)
    if not isinstance(event, TrackedEvent):
        reject()
    for identity, _ in event.identities(how.identify_by):
        PUBLISHED[call.name].validate(event.body(identity))


@pytest.mark.parametrize("lead", [Signup, Cancellation])
@settings(max_examples=settings().max_examples // 4)
@given(data=st.data())
def test_request_body_of_any_lead_satisfies_the_published_schema(lead: type[Cancellation], data: st.DataObject) -> None:
    try:
        one = lead.read(data.draw(rows_of(lead.model_fields, [{**IDS, "tid": "t"}, {**IDS, "ref_id": "anna"}])))
    except InvalidRowError:
        reject()
    for identity, _ in one.identities():
        PUBLISHED[lead.call_name].validate(one.body(identity))


@BOTH_CALLS
@settings(max_examples=settings().max_examples // 2)
@given(data=st.data(), how=HOWS)
def test_row_means_the_same_after_xcom(call: Call, data: st.DataObject, how: Validation) -> None:
    """The reasons may differ, where an id is none, but never whether it is sent, and what."""
    row = data.draw(rows_of(call.columns))
    travelled = through_xcom([call.portable(row)])[0]
    before, after = read(row, how, call), read(travelled, how, call)
    assert isinstance(after, TrackedEvent) == isinstance(before, TrackedEvent)
    if isinstance(before, TrackedEvent):
        assert after == before


# --- answers ---

WORDS = st.text(st.characters(codec=None), max_size=80)
ODD = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.lists(st.integers(), max_size=2))
WHOLE = st.integers(min_value=-(2**63), max_value=2**63 - 1)


def part(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A part of an answer: mostly as it should be, and now and then not at all."""
    return st.fixed_dictionaries({}, optional={name: field | ODD for name, field in fields.items()}) | ODD


LEAD = part(id=WHOLE, state=WORDS, email=st.emails(), uid=WORDS)
BODIES = part(
    id=WHOLE,
    amount_cents=WHOLE,
    message=WORDS,
    code=WORDS,
    reward=part(id=WHOLE, status=WORDS, amount=WHOLE, unit=WORDS, created_at=WORDS, tier_level=WHOLE, split_type=WORDS),
    lead=LEAD,
    promoter=part(id=WHOLE, status=WORDS, default_ref_id=WORDS, email=st.emails(), auth_token=WORDS),
)
ANSWERS = st.builds(ApiResponse, st.sampled_from([200, 200, 204, 400, 404, 409, 422]), BODIES)
REFUND = Refund.from_row({"event_id": "re_1", "amount": 5, "uid": "cus_1", "email": "jane@example.com"})
RUN = RunKey("dag", "run", "task", -1)
numbers = itertools.count()


@given(ANSWERS)
def test_result_is_unchanged_by_xcom(answer: ApiResponse) -> None:
    result = result_from(CALL, answer, [REFUND], "uid", 1).to_json()
    assert through_xcom([result, {"rewards": [result]}]) == [result, {"rewards": [result]}]
    assert Result.model_validate(through_xcom(result)).to_json() == result


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_result_is_unchanged_by_the_ledger(kind: str, new_database: Callable[..., Any]) -> None:
    ledger = Ledger(new_database(kind).engine(), "acc", call=CALL)
    ledger.ensure()

    @settings(max_examples=settings().max_examples // 4)  # a statement or two for each
    @given(st.lists(st.tuples(ROWS, ANSWERS), max_size=5))
    def exchange(given: list[tuple[dict[str, Any], ApiResponse]]) -> None:
        entries: dict[str, Result] = {}
        writes: list[LedgerWrite] = []
        for row, answer in given:
            valid = read({**row, "event_id": f"re_{next(numbers)}"}, Validation())
            if isinstance(valid, TrackedEvent):
                refund, result = valid, result_from(CALL, answer, [valid], "uid", 1)
            else:
                refund, result = None, Result(event_id=valid[0], outcome=Outcome.REJECTED, message=valid[1])
            entries[result.event_id or ""] = result
            writes.append(
                LedgerWrite.of_result(
                    result,
                    RUN,
                    at=THEN,
                    event=refund,
                    row_amount=amount_text(row["amount"]),
                    fingerprint=fingerprint(row, b"key"),
                )
            )
        ledger.write(writes, RUN)
        kept = {event_id: result for event_id, result in entries.items() if result.outcome.stored}
        found = ledger.find(entries.keys())
        assert found.keys() == kept.keys()
        for event_id, known in found.items():
            result = kept[event_id]
            reported_by = RUN._asdict() if result.outcome.on_record else None
            assert known.result().to_json() == {**result.to_json(), "sent": False, "reported_by": reported_by}
            assert (known.result().lost, known.result().unmatched) == (result.lost, result.unmatched)

    exchange()
