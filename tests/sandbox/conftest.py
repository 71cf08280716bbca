from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from airflow_provider_firstpromoter.sandbox import Account, Sandbox, Settings, running_sandbox
from tests.sandbox.client import Client

OTHER_ACCOUNT = Account("other-account", "other-api-key", "EUR")


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
