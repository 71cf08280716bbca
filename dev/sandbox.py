"""FirstPromoter's sandbox in a process of its own, set up and inspected through its control endpoints."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from dev.airflow import ROOT
from dev.processes import Process, ProcessFailed, running, wait_for

#: The first account of a sandbox that was started without other arguments.
ACCOUNT_ID = "sandbox-account"
API_KEY = "sandbox-api-key"
#: The headers of a request to that account.
HEADERS = {"Authorization": f"Bearer {API_KEY}", "Account-ID": ACCOUNT_ID, "Content-Type": "application/json"}
#: Seconds that the sandbox may take to start.
START_TIMEOUT = 60


def firstpromoter_connection(
    base_url: str, account_id: str = ACCOUNT_ID, api_key: str = API_KEY, **extra: Any
) -> dict[str, Any]:
    """
    Return an Airflow connection to a FirstPromoter account; its ledger is in the connection ``warehouse``.

    :param base_url: the base URL of the API
    :param extra: fields of the connection's extra
    """
    return {
        "conn_type": "firstpromoter",
        "login": account_id,
        "password": api_key,
        "host": base_url,
        "extra": {"ledger_conn_id": "warehouse", **extra},
    }


@contextmanager
def running_sandbox(*arguments: str, log: Path) -> Iterator[SandboxProcess]:
    """
    Start a sandbox, wait until it listens, and stop it at the end of the block.

    :param arguments: see ``python -m airflow_provider_firstpromoter.sandbox --help``
    :param log: the file for its output
    """
    command = [sys.executable, "-m", "airflow_provider_firstpromoter.sandbox", "--port", "0", *arguments]
    # A log that was written before can name the address of an earlier sandbox.
    written = log.stat().st_size if log.exists() else 0
    with running(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, log=log, name="The sandbox") as process:

        def base_url() -> str | None:
            found = re.search(rb"http://\S+/api/v2", log.read_bytes()[written:])
            return found and found[0].decode()

        yield SandboxProcess(wait_for(base_url, "The start of the sandbox", process, timeout=START_TIMEOUT), process)


class SandboxProcess:
    """
    A running sandbox.

    :param base_url: the base URL of its API
    """

    def __init__(self, base_url: str, process: Process) -> None:
        self.base_url = base_url
        #: The address of its control endpoints.
        self.control_url = base_url.removesuffix("/api/v2") + "/sandbox"
        self._log = process.log
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between two processes of one machine

    def connection(self, **extra: Any) -> dict[str, Any]:
        """Return an Airflow connection to the first account; see :func:`firstpromoter_connection`."""
        return firstpromoter_connection(self.base_url, **extra)

    def add_leads(self, leads: Iterable[Mapping[str, Any]], account: str | None = None) -> None:
        """
        Add referred customers.

        :param leads: the fields of each; see ``airflow_provider_firstpromoter.sandbox.seeds.LeadSeed``
        :param account: the id of the account; the first account by default
        """
        self._control("POST", "/leads", params={"account": account} if account else {}, json=list(leads))

    def add_commissions(self, commissions: Iterable[Mapping[str, Any]]) -> None:
        """Add commissions of the past; see ``airflow_provider_firstpromoter.sandbox.seeds.CommissionSeed``."""
        self._control("POST", "/commissions", json=list(commissions))

    def track(self, call: str, **body: Any) -> None:
        """Send a refund, a sale or a sign-up to the first account, as another program would do it."""
        self._request("POST", f"{self.base_url}/track/{call}", json=body, headers=HEADERS)

    def delay_responses(self, seconds: float, max_seconds: float = 0) -> None:
        """
        Delay the response to every further request.

        :param max_seconds: if it is larger, each delay is a random number between the two
        """
        delay = {"kind": "latency", "times": None, "seconds": seconds, "max_seconds": max_seconds}
        self._control("POST", "/faults", json=delay)

    def refund_requests(self, after: int = 0, call: str = "refund") -> list[dict[str, Any]]:
        """
        Return the requests of a tracking call that were received, in order, each with ``body`` and response ``status``.

        :param after: the number of requests to leave out
        """
        found: list[dict[str, Any]] = self._control("GET", f"/{call}-requests", params={"after": after})
        return found

    def request_times(self, account: str | None = None) -> list[float]:
        """
        Return the time of each refund call, in seconds on the sandbox's own clock, in order.

        :param account: only those of this account
        """
        only = {"account": account} if account else {}
        return sorted(self._control("GET", "/request-times", params={"path": "/track/refund", **only}))

    def recorded(self, kind: str = "refund") -> list[dict[str, Any]]:
        """Return the refunds or sales that were recorded; see the sandbox's ``RecordedEvent``."""
        found: list[dict[str, Any]] = self._control("GET", "/recorded", params={"kind": kind})
        return found

    def balances(self) -> dict[tuple[int, str], int]:
        """Return what each promoter has earned in each unit, net of refunds, by promoter id and unit."""
        return {(each["promoter_id"], each["unit"]): each["amount"] for each in self._control("GET", "/balances")}

    def request_counts(self) -> dict[str, dict[str, int]]:
        """Return the number of requests by endpoint and status: ``{"POST /api/v2/track/refund": {"200": 3}}``."""
        found: dict[str, dict[str, int]] = self._control("GET", "/requests")
        return found

    def reset(self) -> None:
        """Remove all data."""
        self._control("POST", "/reset")

    def _control(self, method: str, path: str, **options: Any) -> Any:
        return self._request(method, self.control_url + path, **options)

    def _request(self, method: str, url: str, **options: Any) -> Any:
        try:
            response = self._session.request(method, url, timeout=60, **options)
            response.raise_for_status()
        except requests.RequestException as error:
            raise ProcessFailed(f"The sandbox did not respond to {method} {url}: {error}", self._log) from error
        return response.json()
