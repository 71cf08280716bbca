"""Tests of the settings that can change while the sandbox runs: lead first, and a listing that lags."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox, Settings, running_sandbox
from airflow_provider_firstpromoter.sandbox.__main__ import parse_settings
from tests.sandbox.client import Client


def listed(client: Client, **parameters: object) -> list[str]:
    commissions = client("GET", "/company/commissions", params=parameters).json()
    return [commission["event_id"] for commission in commissions]


def test_refund_with_used_event_id_and_lead_first_returns_409_only_for_a_lead_with_a_sale(
    sandbox: Sandbox, client: Client
) -> None:
    sandbox.add_lead(uid="u2", bought=False)
    assert client.refund("r1", email="one@example.com").status_code == 200
    identities = ({"email": "one@example.com"}, {"uid": "u1"}, {"uid": "u2"}, {"uid": "nobody"})
    assert [client.refund("r1", **identity).status_code for identity in identities] == [409] * 4
    sandbox.change_settings(lead_first=True)
    assert [client.refund("r1", **identity).status_code for identity in identities] == [409, 409, 204, 404]
    assert [refund.event_id for refund in sandbox.recorded()] == ["r1"]


def test_refund_with_lead_first_and_consume_event_id_on_204_uses_event_id_once(
    sandbox: Sandbox, client: Client
) -> None:
    sandbox.change_settings(lead_first=True, consume_event_id_on_204=True)
    sandbox.add_lead(uid="u2", bought=False)
    assert [client.refund("r1", uid=uid).status_code for uid in ("u2", "u2", "u1")] == [204, 204, 409]


def test_listing_with_lag_in_requests_omits_a_new_commission_that_often(sandbox: Sandbox, client: Client) -> None:
    sandbox.change_settings(listing_lag_requests=2)
    sandbox.add_commission(uid="u1", event_id="seed", sale_amount=-1)
    client.refund("r1")
    assert [listed(client, q="r1") for _ in range(2)] == [[], []]
    client.refund("r2")
    client("GET", "/company/promoters")
    assert [listed(client) for _ in range(3)] == [["r1", "seed"], ["r1", "seed"], ["r2", "r1", "seed"]]


def test_listing_with_lag_in_requests_counts_each_account_for_itself(
    sandbox: Sandbox, client: Client, client_of: Callable[..., Client]
) -> None:
    sandbox.change_settings(listing_lag_requests=1)
    client.refund("r1")
    assert listed(client_of(sandbox, sandbox.settings.accounts[1])) == []
    assert [listed(client) for _ in range(2)] == [[], ["r1"]]


def test_listing_with_lag_in_seconds_omits_a_new_commission_for_that_time(sandbox: Sandbox, client: Client) -> None:
    sandbox.change_settings(listing_lag_seconds=0.5)
    sandbox.add_commission(uid="u1", event_id="seed", sale_amount=-1)
    assert client("POST", "/track/sale", json={"event_id": "s1", "amount": 100, "uid": "u1"}).status_code == 200
    assert listed(client) == ["seed"]
    assert client.refund("s1").status_code == 200
    time.sleep(0.6)
    assert listed(client) == ["s1", "s1", "seed"]


def test_listing_after_lag_is_switched_off_shows_every_commission(sandbox: Sandbox, client: Client) -> None:
    sandbox.change_settings(listing_lag_seconds=3600, listing_lag_requests=1000)
    client.refund("r1")
    assert listed(client) == []
    sandbox.change_settings(listing_lag_seconds=0, listing_lag_requests=0)
    assert listed(client) == ["r1"]


def test_listing_lag_survives_a_restart_with_a_state_file(tmp_path: Path, client_of: Callable[..., Client]) -> None:
    settings = Settings(state=tmp_path / "state.db", listing_lag_requests=1)
    with running_sandbox(settings) as sandbox:
        sandbox.add_lead(uid="u1")
        client_of(sandbox).refund("r1")
        assert listed(client_of(sandbox)) == []
    with running_sandbox(settings) as sandbox:
        assert listed(client_of(sandbox)) == ["r1"]


def test_settings_endpoint_shows_and_changes_them_and_reset_restores_them(sandbox: Sandbox, client: Client) -> None:
    before = client.control("GET", "/settings").json()
    assert before["lead_first"] is False
    assert "accounts" not in before
    changed = client.control("PATCH", "/settings", json={"lead_first": True, "listing_lag_seconds": 1.5})
    assert changed.json() == before | {"lead_first": True, "listing_lag_seconds": 1.5}
    assert sandbox.settings.listing_lag_seconds == 1.5
    client.control("POST", "/reset")
    assert client.control("GET", "/settings").json() == before


@pytest.mark.parametrize(
    "change", [{"lead_frist": True}, {"port": 1}, {"listing_lag_requests": -1}, {"listing_lag_seconds": "soon"}]
)
def test_settings_endpoint_with_invalid_change_is_rejected(client: Client, change: dict[str, object]) -> None:
    before = client.control("GET", "/settings").json()
    assert client.control("PATCH", "/settings", json=change).status_code in (400, 422)
    assert client.control("GET", "/settings").json() == before


def test_parse_settings_with_behaviour_options_sets_them() -> None:
    settings = parse_settings("--lead-first --listing-lag-seconds 2.5 --listing-lag-requests 3".split())
    assert (settings.lead_first, settings.listing_lag_seconds, settings.listing_lag_requests) == (True, 2.5, 3)


def test_settings_with_negative_lag_raise() -> None:
    with pytest.raises(ValueError, match="listing_lag_seconds"):
        Settings(listing_lag_seconds=-1)
