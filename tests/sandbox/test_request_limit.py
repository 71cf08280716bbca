"""Tests of the rate limit per account."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

import pytest

from airflow_provider_firstpromoter.sandbox import Account, Settings, running_sandbox
from airflow_provider_firstpromoter.sandbox.auth import RateLimit

if TYPE_CHECKING:
    from tests.sandbox.client import Client


def test_calls_over_limit_return_429_and_record_nothing(client_of: Callable[..., Client]) -> None:
    with running_sandbox(Settings(requests_per_minute=3)) as sandbox:
        sandbox.add_lead(uid="u1")
        client = client_of(sandbox)
        assert [client.refund(f"r{i}").status_code for i in range(5)] == [200, 200, 200, 429, 429]
        refused = client.refund("r9")
        assert list(refused.json()) == ["message"]
        assert "retry-after" not in refused.headers
        assert [refund.event_id for refund in sandbox.recorded()] == ["r0", "r1", "r2"]


def test_call_after_window_has_passed_is_accepted(client_of: Callable[..., Client]) -> None:
    with running_sandbox(Settings(requests_per_minute=1, window_seconds=0.2)) as sandbox:
        client = client_of(sandbox)
        client.refund()
        time.sleep(0.2)
        assert client.refund().status_code == 404


def test_acquire_in_sliding_window_ignores_rejected_requests() -> None:
    now = 0.0
    limit = RateLimit(2, 60, clock=lambda: now)
    waits = {}
    for now in (0, 30, 40, 59, 60, 61, 89, 90, 91):
        waits[now] = limit.acquire("a")
    assert waits == {0: 0, 30: 0, 40: 20, 59: 1, 60: 0, 61: 29, 89: 1, 90: 0, 91: 29}
    assert limit.acquire("b") == 0


def test_limit_applies_per_account_across_paths_and_ignores_unauthorized_calls(
    client_of: Callable[..., Client],
) -> None:
    accounts = (Account(), Account("other-account", "other-api-key"))
    with running_sandbox(Settings(accounts=accounts, requests_per_minute=2)) as sandbox:
        client, other = client_of(sandbox), client_of(sandbox, accounts[1])
        assert client("GET", "/company/promoters", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client("GET", "/company/promoters").status_code == 200
        assert client.refund().status_code == 404
        assert client("POST", "/track/signup", json={}).status_code == 429
        assert other("GET", "/company/promoters").status_code == 200


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_429_with_retry_after_setting_sends_header_in_that_form(
    client_of: Callable[..., Client], form: Literal["seconds", "date"]
) -> None:
    with running_sandbox(Settings(requests_per_minute=1, window_seconds=30, retry_after=form)) as sandbox:
        client = client_of(sandbox)
        client.refund()
        header = client.refund().headers["retry-after"]
        if form == "seconds":
            assert 28 <= int(header) <= 30
        else:
            assert 28 <= (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds() <= 32


def test_limit_with_concurrent_threads_is_not_exceeded(client_of: Callable[..., Client]) -> None:
    statuses: list[int] = []

    def work() -> None:
        client = client_of(sandbox)
        statuses.extend(client("GET", "/company/promoters").status_code for _ in range(10))

    with running_sandbox(Settings(requests_per_minute=25)) as sandbox:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (statuses.count(200), statuses.count(429)) == (25, 15)
