"""FirstPromoterHook.track_refund: what a failed or interrupted refund tells the next run that sends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import SyncInterruptedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import EMAIL, REFUND


@pytest.fixture
def hook(connect: Callable[..., str], impatient: None) -> FirstPromoterHook:
    """On the sandbox; a request is tried at most twice."""
    connect(max_attempts=2)
    return FirstPromoterHook()


# --- a failure ---


@pytest.mark.parametrize(
    ("fault", "lost"),
    [
        ({"kind": "reset_before"}, True),
        ({"kind": "reset_after"}, True),
        ({"kind": "truncated"}, True),
        ({"kind": "status", "status": 500}, True),
        ({"kind": "html", "status": 200}, True),
        ({"kind": "html", "status": 403}, False),
        ({"kind": "bare_404"}, False),
        ({"kind": "redirect", "location": "https://example.com/"}, False),
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}" if isinstance(fault, dict) else "",
)
def test_failed_refund_says_whether_a_response_was_lost(
    fault: dict[str, Any], lost: bool, sandbox: Sandbox, hook: Any
) -> None:
    sandbox.add_lead(uid="cus_1")
    sandbox.fault(**fault, times=None)

    result = hook.track_refund(REFUND)

    assert (result.outcome, result.lost, result.unmatched) == ("failed", lost, False)


def test_failed_refund_keeps_what_earlier_runs_and_ids_left(sandbox: Sandbox, hook: Any) -> None:
    sandbox.fault("html", status=403, times=None)
    result = hook.track_refund(REFUND, unmatched=True, lost=True)
    assert (result.outcome, result.unmatched, result.lost) == ("failed", True, True)
    sandbox.clear_faults()

    sandbox.add_lead(uid="cus_1", bought=False)
    sandbox.fault("latency")  # lets the request for the uid through
    sandbox.fault("html", status=403)
    result = hook.track_refund({**REFUND, "email": EMAIL})
    assert [request.status for request in sandbox.refund_requests()][-2:] == [204, 403]
    assert (result.outcome, result.unmatched, result.lost) == ("failed", True, False)


def test_rejected_refund_keeps_what_was_lost_before(sandbox: Sandbox, hook: Any) -> None:
    """The row is corrected and sent again: its 404 must not be believed then."""
    sandbox.fault("status", status=422)

    result = hook.track_refund(REFUND, unmatched=True, lost=True)

    assert (result.outcome, result.unmatched, result.lost) == ("rejected", True, True)


# --- a kill ---


def interrupted(hook: FirstPromoterHook, ready: Callable[[], bool], **options: Any) -> SyncInterruptedError:
    """Track a refund with two ids, and cancel it as soon as the sandbox is ready for that."""
    _ = hook.account
    errors: list[SyncInterruptedError] = []

    def track() -> None:
        try:
            hook.track_refund({**REFUND, "email": EMAIL}, **options)
        except SyncInterruptedError as error:
            errors.append(error)

    thread = threading.Thread(target=track, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not ready() and time.monotonic() < until:
        time.sleep(0.02)
    hook.cancelled.set()
    thread.join(20)
    (error,) = errors
    return error


def test_kill_before_the_second_id_says_that_the_first_was_unmatched(
    sandbox: Sandbox, connect: Callable[..., str]
) -> None:
    """The 204 for the uid may have used up the event_id."""
    sandbox.add_lead(uid="cus_1", bought=False)
    connect(requests_per_minute=1)

    error = interrupted(FirstPromoterHook(), lambda: bool(sandbox.refund_requests()))

    assert (error.lost, error.unmatched) == (False, True)


def test_kill_during_the_lookup_says_why_it_was_needed(sandbox: Sandbox, connect: Callable[..., str]) -> None:
    connect(requests_per_minute=2)

    error = interrupted(FirstPromoterHook(), lambda: len(sandbox.refund_requests()) == 2, lost=True)

    assert (error.lost, error.unmatched) == (True, True)


def test_kill_before_the_first_request_says_that_nothing_is_known(
    sandbox: Sandbox, connect: Callable[..., str]
) -> None:
    connect(requests_per_minute=1)
    hook = FirstPromoterHook()
    hook.track_refund({"event_id": "re_other", "amount": 1, "uid": "cus_9"})

    error = interrupted(hook, lambda: True)

    assert (error.lost, error.unmatched) == (False, False)
