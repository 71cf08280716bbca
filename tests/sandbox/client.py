"""The HTTP client with which the tests call a sandbox."""

from __future__ import annotations

from typing import Any

import requests

from airflow_provider_firstpromoter.sandbox import Account, Sandbox


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
