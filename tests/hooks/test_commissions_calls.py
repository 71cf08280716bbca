"""FirstPromoterHook.iter_commissions and find_commissions."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from airflow_provider_firstpromoter import calls
from airflow_provider_firstpromoter.calls import SALE
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, ReadError, UnreadableCommissionError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import EMAIL, HTML, REFUND, Server, listing, says


def test_find_commissions_matches_the_event_id_exactly(sandbox: Sandbox, hook: Any) -> None:
    sandbox.add_lead(uid="cus_1")
    sandbox.add_commission(uid="cus_1", sale_amount=5000, event_id="re_1", amount=1000)
    sandbox.add_commission(uid="cus_1", sale_amount=-7000, event_id="re_10", amount=-1400)
    sandbox.add_commission(uid="cus_1", sale_amount=-5000, event_id="re_1", amount=-1000)
    sandbox.add_commission(uid="cus_1", sale_amount=-5000, event_id="re_1", amount=-50, tier=2)

    def amounts(event_id: str) -> list[int]:
        return [one.amount for one in hook.find_commissions(event_id)]

    assert amounts("re_1") == [-1000, -50], "all its tiers, and not its sale"
    assert amounts("re_10") == [-1400]
    assert amounts("re_100") == []


def test_iter_commissions_reads_pages_on_demand(sandbox: Sandbox, hook: Any) -> None:
    sandbox.add_lead(uid="cus_1")
    ids = sandbox.add_commissions(
        {"uid": "cus_1", "sale_amount": 100 if number % 2 else -100, "event_id": f"e_{number}"} for number in range(250)
    )

    def request_count() -> int:
        return sandbox.request_counts()["GET /api/v2/company/commissions"]["200"]

    assert [one.id for one in islice(hook.iter_commissions(), 100)] == list(ids)[:100]
    assert request_count() == 1
    assert Counter(one.id for one in hook.iter_commissions()) == Counter(ids)
    assert request_count() == 5, "only an empty page is the last one"
    assert {one.is_of(calls.REFUND) for one in hook.iter_commissions(refunded=True)} == {True}
    assert [one.event_id for one in hook.iter_commissions(q="e_17")][:2] == ["e_17", "e_170"]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, b"", "answered 500 in 1 try"),
        (200, HTML, "answered 200, but not as FirstPromoter does"),
        (200, b'{"id": 1}', "answered 200, but not as FirstPromoter does"),
        (404, b"", "answered 404, but not as FirstPromoter does"),
    ],
)
def test_iter_commissions_raises_if_commissions_cannot_be_read(
    status: int,
    body: bytes,
    message: str,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
) -> None:
    hook = hook_on(serve(status=status, body=body))

    with pytest.raises(ReadError, match=message):
        list(hook.iter_commissions())


MALFORMED: list[Any] = [
    None,
    "re_1",
    [],
    {},
    {"id": None, "event_id": "re_1", "sale_amount": -1000, "amount": -200},
    {"id": True, "event_id": "re_2", "amount": -200},
    {"id": 0, "event_id": "re_2", "amount": -200},
    {"id": 2**63, "event_id": "re_2", "amount": -200},
    {"id": "jane@example.com", "event_id": "re_2", "amount": -200},
]


def _commission(**values: Any) -> dict[str, Any]:
    return {"id": 7, "event_id": "re_7", "sale_amount": -1000, "amount": -200, "unit": "cash", **values}


def test_iter_commissions_skips_malformed_items_with_one_warning(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook], logged: Callable[[], str]
) -> None:
    items = [*MALFORMED, _commission(), _commission(id=8, referral="none", promoter_campaign=[], created_at=5)]
    hook = hook_on(serve(body=listing(*items)))

    assert [one.id for one in hook.iter_commissions()] == [7, 8]

    log = logged()
    warning = f"{len(MALFORMED)} commissions on page 1 could not be read"
    assert log.count("could not be read") == log.count(warning) >= 1
    assert EMAIL not in log
    assert "re_1" not in log


def test_find_commissions_ignores_malformed_items_of_other_refunds(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    hook = hook_on(serve(body=listing(*MALFORMED, _commission())))

    assert [one.id for one in hook.find_commissions("re_7")] == [7]
    assert hook.find_commissions("re_8") == []


def test_find_commissions_raises_if_the_commission_itself_is_malformed(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    hook = hook_on(serve(body=listing(*MALFORMED)))

    with pytest.raises(UnreadableCommissionError, match="refund 're_1'"):
        hook.find_commissions("re_1")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [HTML, says("Forbidden", code="forbidden"), says("Forbidden"), b""])
def test_find_commissions_without_access_to_commissions_raises(
    status: int, body: bytes, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    hook = hook_on(serve(status=status, body=body))

    with pytest.raises((AccessRefusedError, ReadError), match="FirstPromoter's commissions could not be read"):
        hook.find_commissions("re_1")


def test_iter_commissions_without_access_says_that_the_key_may_not_read_commissions(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    hook = hook_on(serve(status=403, body=says("Forbidden", code="forbidden")))

    with pytest.raises(AccessRefusedError, match=r"commissions .*'firstpromoter_default'.*403.*may lack"):
        list(hook.iter_commissions())


def test_track_refund_without_access_to_commissions_is_already_recorded_with_an_unknown_reward(
    sandbox: Sandbox, hook: FirstPromoterHook
) -> None:
    sandbox.add_lead(uid="cus_1")
    hook.track_refund(REFUND)
    sandbox.fault("status", status=403, times=None, path="/company/commissions")

    result = hook.track_refund(REFUND)

    assert (result.outcome, result.commissions) == ("already_recorded", ())


def test_find_commissions_reads_negative_commissions_only(sandbox: Sandbox, hook: FirstPromoterHook) -> None:
    """A short event_id is the beginning of many others: thousands of sales must not be read for one refund."""
    sandbox.add_lead(uid="cus_1")
    sandbox.add_commissions({"uid": "cus_1", "sale_amount": 100, "event_id": f"7{n:04}"} for n in range(7000))
    sandbox.add_commission(uid="cus_1", sale_amount=-5000, event_id="7", amount=-1000)

    assert [one.amount for one in hook.find_commissions("7")] == [-1000]
    assert sandbox.request_counts()["GET /api/v2/company/commissions"] == {"200": 2}
    assert hook.find_commissions("70000") == [], "that is a sale"
    assert sandbox.request_counts()["GET /api/v2/company/commissions"] == {"200": 4}
    assert [one.amount for one in hook.find_commissions("70000", SALE)] != []


def test_find_commissions_finds_a_commission_without_a_sale_amount(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    """A filter by sale_amount leaves out commissions that have none."""

    def answer(path: str) -> bytes:
        return b"[]" if "sale_amount" in path else listing(_commission(sale_amount=None))(path)

    hook = hook_on(serve(body=answer))

    (commission,) = hook.find_commissions("re_7")
    assert commission.amount == -200


def test_page_that_is_shorter_than_asked_does_not_end_a_reading(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    """A server may return fewer commissions than were asked for, and skip those that it removed."""
    items = [_commission(id=number, event_id="re_7" if number > 175 else "re_70") for number in range(1, 181)]
    sizes = [50, 1, 49, 30, 50]
    pages = {number: items[sum(sizes[: number - 1]) : sum(sizes[:number])] for number in range(1, len(sizes) + 1)}

    def page(path: str) -> bytes:
        found = re.search(r"[?&]page=(\d+)", path)
        assert found
        return json.dumps(pages.get(int(found[1]), [])).encode()

    hook = hook_on(serve(body=page))

    assert [one.id for one in hook.iter_commissions()] == list(range(1, 181))
    assert [one.id for one in hook.find_commissions("re_7")] == [176, 177, 178, 179, 180]


@pytest.mark.parametrize("count", [1, 3, 60])
def test_iter_commissions_ends_if_its_pages_begin_again(
    count: int, serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    """As a server does that ignores the page's number, or counts on from the first after the last one."""

    def page(path: str) -> bytes:
        found = re.search(r"[?&]page=(\d+)", path)
        assert found
        first = int(found[1]) % count * 100
        return json.dumps([_commission(id=number) for number in range(first + 1, first + 101)]).encode()

    server = serve(body=page)
    hook = hook_on(server)

    with pytest.raises(ReadError, match="repeat"):
        list(hook.iter_commissions())
    assert len(server.asked) < count + 20
