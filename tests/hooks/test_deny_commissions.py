"""FirstPromoterHook.deny_commissions."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.api import Batch, batches
from airflow_provider_firstpromoter.calls import Commission
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, EventsFailedError, SyncInterruptedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import EMAIL, HTML, Server, says

UID = "uid-of-jane"


@pytest.fixture
def commissions(sandbox: Sandbox) -> list[int]:
    """A hundred negative commissions."""
    sandbox.add_lead(uid="cus_1")
    return list(
        sandbox.add_commissions({"uid": "cus_1", "sale_amount": -1000, "event_id": f"re_{n}"} for n in range(100))
    )


def statuses(hook: Any, ids: list[int]) -> list[str]:
    return [one.status for one in sorted(hook.iter_commissions(ids=ids), key=lambda one: one.id)]


def test_deny_commissions_with_five_ids_is_completed_at_once(hook: Any, commissions: list[int]) -> None:
    batch = hook.deny_commissions(commissions[:5])

    assert (batch.status, batch.ended, batch.total, batch.processed_count, batch.failed_count) == (
        "completed",
        True,
        5,
        5,
        0,
    )
    assert statuses(hook, commissions[:6]) == ["denied"] * 5 + ["approved"]


def test_deny_commissions_follows_a_batch_to_its_end(
    sandbox: Sandbox, hook: Any, commissions: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "FIRST_POLL", 0.01)
    sandbox.change_settings(batch_polls=4)

    batch = hook.deny_commissions(commissions)

    assert (batch.status, batch.processed_count) == ("completed", 100)
    assert statuses(hook, commissions) == ["denied"] * 100
    assert hook.deny_commissions(commissions[:3]).processed_count == 3, "the call can be repeated"


def test_deny_commissions_returns_a_batch_that_does_not_end_in_time(
    sandbox: Sandbox, hook: Any, commissions: list[int]
) -> None:
    sandbox.change_settings(batch_seconds=3600)

    batch = hook.deny_commissions(commissions, timeout=1)

    assert (batch.status in ("pending", "in_progress"), batch.ended) == (True, False)


def test_deny_commissions_ends_soon_after_a_kill(sandbox: Sandbox, hook: Any, commissions: list[int]) -> None:
    sandbox.change_settings(batch_seconds=3600)
    hook.account  # noqa: B018
    timer = threading.Timer(1.0, hook.cancelled.set)
    timer.start()
    started = time.monotonic()

    with pytest.raises(SyncInterruptedError):
        hook.deny_commissions(commissions)

    assert time.monotonic() - started < 5


@pytest.mark.parametrize("count", [0, 101])
def test_deny_commissions_with_no_or_too_many_ids_raises(hook: Any, count: int) -> None:
    with pytest.raises(ValueError, match=f"not {count}"):
        hook.deny_commissions(list(range(1, count + 1)))


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, b"", "answered 500 in 1 try"),
        (200, HTML, "answered 200, but not as FirstPromoter does"),
        (200, b"[]", "answered 200, but not as FirstPromoter does"),
        (202, b'{"status": "pending"}', "answered 202, but not as FirstPromoter does"),
        (202, b'{"id": 5}', "answered 202, but not as FirstPromoter does"),
        (422, says(f"no commission of {UID}", code="unprocessable_entity"), r"commissions: 422$"),
    ],
)
def test_deny_commissions_raises_if_the_response_is_no_batch(
    status: int,
    body: bytes,
    message: str,
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
) -> None:
    hook = hook_on(serve(status=status, body=body), max_attempts=1)

    with pytest.raises(EventsFailedError, match=message):
        hook.deny_commissions([1])


def test_deny_commissions_without_permission_names_the_connection(
    serve: Callable[..., Server], hook_on: Callable[..., FirstPromoterHook]
) -> None:
    hook = hook_on(serve(status=403, body=says("Forbidden", code="forbidden")))

    with pytest.raises(AccessRefusedError, match="may lack the permission to change commissions"):
        hook.deny_commissions([1])


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"id": 5, "status": "completed", "processing_errors": [f"Commission of {UID} <{EMAIL}> is locked"]}),
        (422, {"message": f"Commission of {UID} <{EMAIL}> is locked", "code": "unprocessable_entity"}),
        (404, {"message": f"Commission of {UID} <{EMAIL}> is locked", "code": "not_found"}),
        (403, {"message": f"Commission of {UID} <{EMAIL}> is locked", "code": "forbidden"}),
        (401, {"message": f"Commission of {UID} <{EMAIL}> is locked"}),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_denial_shows_firstpromoters_words_only_if_their_customers_can_be_masked(
    known: bool,
    status: int,
    body: dict[str, Any],
    serve: Callable[..., Server],
    hook_on: Callable[..., FirstPromoterHook],
    logged: Callable[[], str],
) -> None:
    hook = hook_on(serve(status=status, body=json.dumps(body).encode()))
    commission = Commission(id=1, lead_uid=UID, lead_email=EMAIL)

    try:
        said = repr(hook.deny_commissions([commission if known else commission.id]))
    except (AccessRefusedError, EventsFailedError) as error:
        said = str(error)

    assert ("Commission of *** <***> is locked" in said) is known
    assert UID not in said + logged()
    assert EMAIL not in said + logged()


def test_batch_keeps_only_the_fields_that_are_known() -> None:
    body = {
        "id": 7,
        "status": "failed",
        "total": [],
        "processed_count": "many",
        "processing_errors": ["one", 2, None],
        "meta": {"email": EMAIL},
    }

    batch = Batch.model_validate(json.loads(json.dumps(body)))

    assert (batch.id, batch.ended, batch.total, batch.processed_count) == (7, True, None, None)
    assert batch.processing_errors == ["one"]
    assert EMAIL not in repr(batch)
