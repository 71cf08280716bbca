from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from airflow_provider_firstpromoter.sandbox import Account, Sandbox, Settings, running_sandbox

OTHER_ACCOUNT = Account("other-account", "other-api-key", "EUR")


class Client:
    """A minimal HTTP client of a sandbox: it adds the base URL and the two authentication headers."""

    def __init__(self, sandbox: Sandbox, account: Account | None = None) -> None:
        account = account or sandbox.settings.accounts[0]
        self.base_url = sandbox.base_url
        self.root = sandbox.base_url.removesuffix("/api/v2")
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers.update({"Authorization": f"Bearer {account.api_key}", "Account-ID": account.id})

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        options = {"timeout": 5, "allow_redirects": False} | options
        return self.session.request(method, self.base_url + path, **options)

    def refund(self, event_id: str = "r1", amount: Any = "1000", **body: Any) -> requests.Response:
        if not {"email", "uid"} & set(body):
            body["uid"] = "u1"
        return self("POST", "/track/refund", json={"event_id": event_id, "amount": amount, **body})

    def control(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, f"{self.root}/sandbox{path}", timeout=30, **options)


@pytest.fixture(scope="session")
def served() -> Iterator[Sandbox]:
    with running_sandbox(Settings(accounts=(Account(), OTHER_ACCOUNT), requests_per_minute=0)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(served: Sandbox) -> Sandbox:
    """A sandbox without a rate limit, whose only lead is ``u1`` (e-mail ``one@example.com``)."""
    served.reset()
    served.add_lead(uid="u1", email="one@example.com")
    return served


@pytest.fixture
def client(sandbox: Sandbox) -> Client:
    return Client(sandbox)


@pytest.fixture
def client_of() -> Callable[..., Client]:
    return Client
