"""Tests of authentication and of the accounts' API keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from airflow_provider_firstpromoter.sandbox import Account, Sandbox, Settings, running_sandbox

if TYPE_CHECKING:
    from tests.sandbox.client import Client

CALLS = [
    ("POST", "/track/refund"),
    ("POST", "/track/sale"),
    ("POST", "/track/signup"),
    ("POST", "/track/cancellation"),
    ("GET", "/company/commissions"),
    ("GET", "/company/promoters"),
    ("POST", "/company/commissions/deny"),
    ("GET", "/company/batch_processes/1"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer wrong-api-key"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "sandbox-api-key"}, 401),
        ({"Authorization": "Basic sandbox-api-key"}, 401),
        ({"Account-ID": None}, 403),
        ({"Account-ID": "nobody"}, 403),
        ({"Account-ID": "other-account"}, 403),
        ({"Authorization": "Bearer other-api-key"}, 403),
    ],
)
def test_call_with_wrong_header_is_rejected(
    sandbox: Sandbox, client: Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = client(method, path, headers=headers)
    assert response.status_code == status
    assert set(response.json()) == {"message", "code"}


def test_account_with_key_too_short_for_airflow_to_mask_raises() -> None:
    with pytest.raises(ValueError, match="more than 5 characters"):
        Account("account", "12345")


def test_settings_repr_does_not_contain_api_key() -> None:
    assert "sandbox-api-key" not in repr(Settings())


def test_account_with_two_keys_accepts_both(client_of: Callable[..., Client]) -> None:
    account = Account(further_keys=("another-api-key",))
    with running_sandbox(Settings(accounts=(account,))) as sandbox:
        sandbox.add_lead(uid="u1")
        second = client_of(sandbox, Account(api_key="another-api-key"))
        assert [client.refund("r1").status_code for client in (client_of(sandbox), second)] == [200, 409]


def test_published_paths_are_served_and_need_authentication(client: Client) -> None:
    document = client.session.get(f"{client.root}/openapi.json", timeout=5).json()
    published = [
        (method.upper(), path.replace("{id}", "1")) for path, methods in document["paths"].items() for method in methods
    ]
    assert sorted(published) == sorted(CALLS)
