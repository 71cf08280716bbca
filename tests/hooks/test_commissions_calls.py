"""FirstPromoterHook.iter_commissions and find_reward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import ReadError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import HTML, Server


def test_find_reward_matches_the_event_id_exactly(sandbox: Sandbox, hook: Any) -> None:
    sandbox.add_lead(uid="cus_1")
    sandbox.add_commission(uid="cus_1", sale_amount=5000, event_id="re_1", amount=1000)
    sandbox.add_commission(uid="cus_1", sale_amount=-7000, event_id="re_10", amount=-1400)
    sandbox.add_commission(uid="cus_1", sale_amount=-5000, event_id="re_1", amount=-1000)
    sandbox.add_commission(uid="cus_1", sale_amount=-5000, event_id="re_1", amount=-50, tier=2)

    assert hook.find_reward("re_1").amount == -1050, "with all its tiers, and without its sale"
    assert hook.find_reward("re_10").amount == -1400
    assert hook.find_reward("re_100") is None


def test_iter_commissions_reads_pages_on_demand(sandbox: Sandbox, hook: Any) -> None:
    sandbox.add_lead(uid="cus_1")
    ids = sandbox.add_commissions(
        {"uid": "cus_1", "sale_amount": 100 if number % 2 else -100, "event_id": f"e_{number}"} for number in range(250)
    )

    def asked() -> int:
        return sandbox.request_counts()["GET /api/v2/company/commissions"]["200"]

    assert [one.id for one in islice(hook.iter_commissions(), 100)] == list(ids)[:100]
    assert asked() == 1
    assert Counter(one.id for one in hook.iter_commissions()) == Counter(ids)
    assert asked() == 4
    assert {one.is_reversal for one in hook.iter_commissions(refunded=True)} == {True}
    assert [one.event_id for one in hook.iter_commissions(q="e_17")][:2] == ["e_17", "e_170"]


@pytest.mark.parametrize(
    ("status", "body", "told"),
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
    told: str,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
) -> None:
    hook = hook_on(serve(status=status, body=body))

    with pytest.raises(ReadError, match=told):
        list(hook.iter_commissions())
