"""Tests of the call that denies commissions, and of its batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Balance, Sandbox, Settings, running_sandbox
from airflow_provider_firstpromoter.sandbox.__main__ import parse_settings
from airflow_provider_firstpromoter.sandbox.faults import Kind
from tests.sandbox.client import Client

FIELDS = set(
    "id status total selected_total processed_count failed_count action_label created_at updated_at meta progress "
    "processing_errors".split()
)


def refund(client: Client, count: int) -> list[int]:
    """Track refunds r0, r1 ... of 10.00 each; return the ids of their commissions, of -2.00 each."""
    return [client.refund(f"r{number}").json()["reward"]["id"] for number in range(count)]


def deny(client: Client, ids: Any, status: int) -> Any:
    response = client("POST", "/company/commissions/deny", json={"ids": ids})
    assert response.status_code == status, response.text
    return response.json()


def batch(client: Client, batch_id: int) -> Any:
    response = client("GET", f"/company/batch_processes/{batch_id}")
    assert response.status_code == 200, response.text
    return response.json()


def statuses(client: Client) -> dict[str, str]:
    commissions = client("GET", "/company/commissions", params={"per_page": 100}).json()
    return {commission["event_id"]: commission["status"] for commission in commissions}


def balance(sandbox: Sandbox) -> int:
    """Return the cash balance of the only promoter; checks that the API reports the same."""
    amount = sum(each.amount for each in sandbox.balances())
    [stored] = sandbox.store.execute("SELECT balance FROM promoters")
    assert stored["balance"] == amount
    return amount


def test_deny_with_five_commissions_completes_at_once(sandbox: Sandbox, client: Client) -> None:
    ids = refund(client, 6)
    assert balance(sandbox) == -1200
    result = deny(client, ids[:5], 200)
    assert set(result) == FIELDS
    counts = {name: result[name] for name in ("status", "total", "selected_total", "processed_count", "failed_count")}
    assert counts == {
        "status": "completed",
        "total": 5,
        "selected_total": 5,
        "processed_count": 5,
        "failed_count": 0,
    }
    assert (result["action_label"], result["progress"], result["processing_errors"]) == ("commission/deny", 100, [])
    assert statuses(client) == {**{f"r{number}": "denied" for number in range(5)}, "r5": "approved"}
    assert balance(sandbox) == -200
    assert batch(client, result["id"]) == result


def test_deny_with_six_commissions_is_a_batch_that_polls_complete(sandbox: Sandbox, client: Client) -> None:
    sandbox.change_settings(batch_polls=3)
    ids = refund(client, 6)
    first = deny(client, ids, 202)
    assert (first["status"], first["total"], first["processed_count"], first["progress"]) == ("pending", 6, 0, 0)
    assert set(statuses(client).values()) == {"approved"}
    seen = []
    for _ in range(4):
        polled = batch(client, first["id"])
        denied = list(statuses(client).values()).count("denied")
        assert denied == polled["processed_count"]
        seen.append((polled["status"], denied, polled["progress"]))
    assert seen == [("in_progress", 2, 33), ("in_progress", 4, 66), ("completed", 6, 100), ("completed", 6, 100)]
    assert balance(sandbox) == 0


def test_batch_with_duration_progresses_without_being_polled(sandbox: Sandbox, client: Client) -> None:
    ids = refund(client, 10)
    sandbox.change_settings(batch_seconds=3600)
    deny(client, ids, 202)
    assert balance(sandbox) == -2000
    sandbox.change_settings(batch_seconds=0.001)
    time.sleep(0.01)
    assert balance(sandbox) == 0
    assert {refund.reward_status for refund in sandbox.recorded()} == {"denied"}
    assert set(statuses(client).values()) == {"denied"}


def test_batch_after_half_its_duration_has_processed_half(sandbox: Sandbox, client: Client) -> None:
    sandbox.change_settings(batch_seconds=3600)
    started = deny(client, refund(client, 20), 202)
    sandbox.store.execute("UPDATE batches SET started_at = started_at - 1800")
    polled = batch(client, started["id"])
    assert (polled["status"], polled["processed_count"], polled["progress"]) == ("in_progress", 10, 50)
    assert list(statuses(client).values()).count("denied") == 10


def test_batch_in_a_state_file_continues_after_a_restart(tmp_path: Path, client_of: Callable[..., Client]) -> None:
    settings = Settings(requests_per_minute=0, state=tmp_path / "state.db", batch_polls=2)
    with running_sandbox(settings) as sandbox:
        sandbox.add_lead(uid="u1")
        started = deny(client_of(sandbox), refund(client_of(sandbox), 6), 202)
        assert batch(client_of(sandbox), started["id"])["processed_count"] == 3
    with running_sandbox(settings) as sandbox:
        assert batch(client_of(sandbox), started["id"])["status"] == "completed"
        assert balance(sandbox) == 0


def test_deny_sent_again_changes_nothing(sandbox: Sandbox, client: Client) -> None:
    ids = refund(client, 3)
    deny(client, ids, 200)
    before = client("GET", "/company/commissions").json()
    again = deny(client, [*ids, *ids], 200)
    assert (again["total"], again["processed_count"], again["failed_count"]) == (3, 3, 0)
    assert client("GET", "/company/commissions").json() == before
    assert balance(sandbox) == 0


def test_denied_refund_keeps_its_event_id_used(sandbox: Sandbox, client: Client) -> None:
    deny(client, refund(client, 1), 200)
    assert client.refund("r0").status_code == 409


def test_deny_with_unknown_paid_or_foreign_commission_names_each_and_processes_the_rest(
    sandbox: Sandbox, client: Client, client_of: Callable[..., Client]
) -> None:
    sandbox.add_lead(uid="u1", account="other-account")
    foreign = client_of(sandbox, sandbox.settings.accounts[1]).refund().json()["reward"]["id"]
    paid, good = refund(client, 2)
    sandbox.change_commission(paid, is_paid=True)
    result = deny(client, [paid, 999, foreign, good], 200)
    assert (result["status"], result["processed_count"], result["failed_count"]) == ("completed", 1, 3)
    assert result["processing_errors"] == [
        f"Commission {paid}: is paid",
        "Commission 999: not found",
        f"Commission {foreign}: not found",
    ]
    assert statuses(client) == {"r0": "approved", "r1": "denied"}


def test_balances_name_account_promoter_and_unit(
    sandbox: Sandbox, client: Client, client_of: Callable[..., Client]
) -> None:
    sandbox.add_lead(uid="u2", promoter="saver", unit="credits")
    sandbox.add_lead(uid="u3", promoter="other", account="other-account")
    sandbox.add_commission(uid="u1", sale_amount=5000)
    sandbox.add_commission(uid="u1", sale_amount=9000, status="denied")
    client.refund("r1")
    client.refund("r2", uid="u2")
    client_of(sandbox, sandbox.settings.accounts[1]).refund("r1", uid="u3")
    expected = [
        Balance("sandbox-account", 1, "ref1", "cash", 800),
        Balance("sandbox-account", 2, "saver", "credits", -200),
        Balance("other-account", 3, "other", "cash", -200),
    ]
    assert sandbox.balances() == expected
    assert sandbox.balances(account="other-account") == expected[2:]
    assert [Balance(**each) for each in client.control("GET", "/balances").json()] == expected
    promoter = client("GET", "/company/promoters").json()[0]
    assert promoter["current_balance"] == {"cash": 800}


def test_change_commission_to_denied_and_back_moves_the_balance(sandbox: Sandbox, client: Client) -> None:
    [number] = refund(client, 1)
    sandbox.change_commission(number, status="denied")
    assert balance(sandbox) == 0
    sandbox.change_commission(number, status="pending", is_paid=True)
    assert balance(sandbox) == -200


@pytest.mark.parametrize(("kind", "status"), [("batch_failed", "failed"), ("batch_stopped", "stopped")])
def test_batch_fault_ends_a_batch_early(sandbox: Sandbox, client: Client, kind: Kind, status: str) -> None:
    sandbox.change_settings(batch_polls=2)
    ids = refund(client, 10)
    sandbox.fault(kind, after=3)
    assert deny(client, ids[:2], 200)["status"] == "completed"  # too small: it uses the fault up and ignores it
    sandbox.fault(kind, after=3)
    started = deny(client, ids[2:], 202)
    ended = [batch(client, started["id"]) for _ in range(2)]
    assert {(each["status"], each["processed_count"], each["progress"]) for each in ended} == {(status, 3, 37)}
    assert list(statuses(client).values()).count("denied") == 5
    rest = deny(client, ids, 202)
    assert [batch(client, rest["id"])["status"] for _ in range(2)] == ["in_progress", "completed"]
    assert balance(sandbox) == 0


@pytest.mark.parametrize("count", [3, 8])
def test_batch_errors_fault_fails_its_ids_with_its_message(sandbox: Sandbox, client: Client, count: int) -> None:
    sandbox.change_settings(batch_polls=1)
    ids = refund(client, count)
    fault = {"kind": "batch_errors", "ids": ids[1:3], "message": "cannot be denied", "times": 1}
    assert client.control("POST", "/faults", json=fault).status_code == 200
    assert client("GET", "/company/commissions").status_code == 200
    result = batch(client, deny(client, ids, 200 if count < 6 else 202)["id"])
    assert (result["status"], result["processed_count"], result["failed_count"]) == ("completed", count - 2, 2)
    assert result["processing_errors"] == [f"Commission {each}: cannot be denied" for each in ids[1:3]]
    assert {event_id for event_id, status in statuses(client).items() if status == "approved"} == {"r1", "r2"}
    assert sandbox.faults.active() == []


def test_deny_whose_response_is_lost_is_carried_out(sandbox: Sandbox, client: Client) -> None:
    ids = refund(client, 2)
    sandbox.fault("reset_after", path="/company/commissions/deny")
    with pytest.raises(OSError, match="reset"):
        deny(client, ids, 200)
    assert set(statuses(client).values()) == {"denied"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"ids": []}', b'{"ids": ["1"]}', b'{"ids": [true]}', b'{"ids": [1e99]}', b"\xff"]
)
def test_deny_without_valid_ids_returns_422(client: Client, body: bytes) -> None:
    response = client("POST", "/company/commissions/deny", data=body)
    assert (response.status_code, set(response.json())) == (422, {"message", "code"})


def test_batch_of_other_account_or_unknown_id_returns_404(
    sandbox: Sandbox, client: Client, client_of: Callable[..., Client]
) -> None:
    sandbox.change_settings(batch_polls=1)
    started = deny(client, refund(client, 6), 202)
    other = client_of(sandbox, sandbox.settings.accounts[1])
    for caller, batch_id in ((other, started["id"]), (client, 99)):
        response = caller("GET", f"/company/batch_processes/{batch_id}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert client("GET", "/company/batch_processes/abc").status_code == 422
    assert set(statuses(client).values()) == {"approved"}


def test_parse_settings_with_batch_options_sets_them() -> None:
    settings = parse_settings("--batch-seconds 9 --batch-polls 2".split())
    assert (settings.batch_seconds, settings.batch_polls) == (9, 2)
