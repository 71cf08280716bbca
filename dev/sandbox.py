"""The sandbox that answers in FirstPromoter's place: a process of its own, asked over HTTP what it has seen."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from dev.demo.warehouse import Row
from dev.home import Home, free_port
from dev.processes import Failed, running

ACCOUNT_ID = "demo-account"
API_KEY = "demo-api-key"
#: Who referred the customers, by referral id.
PROMOTERS = ("amara", "bruno", "chidi", "dana")
#: Seconds that it may take to come up.
PATIENCE = 30


@dataclass(frozen=True)
class Recorded:
    """A refund in FirstPromoter's books. `promoter` is a name; `reward` is negative, in cents."""

    event_id: str
    promoter_id: str
    promoter: str
    reward: int


class Sandbox:
    """A running sandbox; see `python -m airflow_provider_firstpromoter.sandbox --help`."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between two processes of one machine
        self._promoters = itertools.cycle(PROMOTERS)

    @classmethod
    @contextmanager
    def started(cls, home: Home) -> Iterator[Sandbox]:
        """Start one, and stop it on the way out."""
        port = free_port()
        command = [sys.executable, "-m", "airflow_provider_firstpromoter.sandbox", "--port", str(port)]
        command += ["--account-id", ACCOUNT_ID, "--api-key", API_KEY]
        log = home.log("sandbox")
        with running(command, env=home.environment(), log=log) as process:
            sandbox = cls(f"http://127.0.0.1:{port}", log)
            deadline = time.monotonic() + PATIENCE
            while not sandbox._healthy():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Failed("The sandbox did not start", log)
                time.sleep(0.1)
            yield sandbox

    @property
    def connection(self) -> dict[str, str]:
        """What an Airflow connection needs to know of it."""
        return {"login": ACCOUNT_ID, "password": API_KEY, "host": f"{self.url}/api/v2"}

    def learn(self, rows: Iterable[Row]) -> None:
        """Make the customers of these refunds known, and send by hand what was sent by hand."""
        customers = {row.customer: row for row in rows}
        self._ask(
            "POST",
            "/sandbox/leads",
            json=[
                {
                    customer.known_by: getattr(customer, customer.known_by),
                    "promoter": next(self._promoters),
                    "bought": customer.bought,
                }
                for customer in customers
                if customer.known_by
            ],
        )
        for row in customers.values():
            if row.outcome == "already_recorded":
                self._ask(
                    "POST",
                    "/api/v2/track/refund",
                    json={"event_id": row.event_id, "amount": str(row.values["amount"]), "uid": row.customer.uid},
                    headers={"Authorization": f"Bearer {API_KEY}", "Account-ID": ACCOUNT_ID},
                )

    def refund_requests(self, after: int = 0) -> list[str]:
        """The event_id of every `POST /track/refund` that came, in order."""
        return [request["body"]["event_id"] for request in self._ask("GET", f"/sandbox/refund-requests?after={after}")]

    def recorded(self) -> list[Recorded]:
        """The refunds in the books."""
        return [
            Recorded(refund["event_id"], str(refund["promoter_id"]), refund["promoter_ref_id"], refund["reward_amount"])
            for refund in self._ask("GET", "/sandbox/recorded")
        ]

    def _healthy(self) -> bool:
        try:
            self._ask("GET", "/sandbox/health")
        except Failed:
            return False
        return True

    def _ask(self, method: str, path: str, **how: Any) -> Any:
        try:
            answer = self._session.request(method, self.url + path, timeout=10, **how)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise Failed(f"The sandbox did not answer {method} {path}: {error}", self._log) from error
        return answer.json()
