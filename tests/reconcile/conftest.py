"""Fixtures for reconciliations."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.http_server import Server, logged, serve
from tests.reconcile.account import AccountWithLedger

__all__ = ["account", "logged", "serve", "served_account"]


@pytest.fixture
def account(sandbox: Sandbox, connect: Callable[..., str], warehouse: Any) -> AccountWithLedger:
    connect(ledger_conn_id="warehouse", max_attempts=3)
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(1000))
    return AccountWithLedger(sandbox, warehouse)


@pytest.fixture
def served_account(
    account: AccountWithLedger, serve: Callable[..., Server], connect: Callable[..., str]
) -> Callable[..., AccountWithLedger]:
    """
    ``served_account(answer)``: the commissions then come from a function, for what the sandbox would never send.

    The function gets the parameters of a request for commissions, and returns the JSON of the first page or, if
    ``paged``, of any. Refunds have to be sent before.
    """

    def served_account(answer: Callable[[dict[str, str]], Any], *, paged: bool = False) -> AccountWithLedger:
        def body(path: str) -> bytes:
            query = dict(parse_qsl(urlsplit(path).query))
            return json.dumps(answer(query) if paged or query["page"] == "1" else []).encode()

        server = serve(body=body)
        connect(host=server.url, login=account.sandbox.account_id, ledger_conn_id="warehouse", max_attempts=1)
        # The ledger's name for an account depends on the host.
        key = FirstPromoterHook().account.key
        account.database.run(f"UPDATE firstpromoter_refunds SET account = '{key}'")
        # What the ledger knows are the commissions that the function returns: 901 of re_0001.
        account.database.run(
            f"UPDATE firstpromoter_refunds_commissions SET account = '{key}', "
            "commission_id = 900 + CAST(SUBSTR(event_id, 4) AS INTEGER)"
        )
        return account

    return served_account
