"""The example DAG that sends alerts, with a real mail server."""

from __future__ import annotations

import email
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from email.message import Message
from importlib.metadata import version
from typing import Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.end_to_end.test_dags import refund
from tests.end_to_end.test_revert_dag import without_retries
from tests.http_server import Server


class MailServer(socketserver.ThreadingTCPServer):
    """Accepts every e-mail, and keeps it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MailHandler)
        self.received: list[Message] = []

    def take(self) -> list[tuple[Any, str]]:
        """Return subject and text of the e-mails since this was last called."""
        received, self.received = self.received, []
        return [(mail["Subject"], _text(mail)) for mail in received]


class MailHandler(socketserver.StreamRequestHandler):
    """One SMTP session."""

    server: MailServer

    def handle(self) -> None:
        self._say("220 test")
        while command := self.rfile.readline().decode().strip().upper():
            if command.startswith("QUIT"):
                return self._say("221 bye")
            if command == "DATA":
                self._say("354 go on")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.received.append(email.message_from_bytes(b"".join(lines)))
            self._say("250 ok")
        return None

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


def _text(mail: Message) -> str:
    part = next(part for part in mail.walk() if not part.is_multipart())
    return bytes(part.get_payload(decode=True)).decode()


@pytest.fixture
def mails(set_connection: Callable[..., str]) -> Iterator[MailServer]:
    """A mail server, which Airflow's connection ``smtp_default`` names."""
    with MailServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"}
        set_connection("smtp_default", conn_type="smtp", host="127.0.0.1", port=server.server_address[1], extra=extra)
        yield server
        server.shutdown()


def test_refund_alerts(
    firstpromoter: Sandbox,
    mails: MailServer,
    serve: Callable[..., Server],
    set_connection: Callable[..., str],
    new_database: Callable[..., Any],
    run_dag: Callable[..., Any],
) -> None:
    """A new problem is reported by the failure, an old one by the reminder, and none by nothing."""
    warehouse = new_database("sqlite", "warehouse")
    slack = serve(body=b"ok")
    set_connection("slack", conn_type="http", host=f"{slack.url}/services/T0/B0/hook")
    good = {"status": "succeeded", "refunded_at": "2025-11-01"}
    rows = [refund(0, **good), refund(1, event_id="re_<b>1</b>", amount=0, **good)]
    warehouse.fill(rows, status="VARCHAR(20)", refunded_at="VARCHAR(20)")

    failed = run_dag(without_retries("refund_alerts"))

    assert failed.states == {"sync_refunds": "failed", "remind": "upstream_failed"}
    ((subject, text),) = mails.take()
    assert subject == "refund_alerts has failed"
    reason = "1 rejected: &#39;re_&lt;b&gt;1&lt;/b&gt;&#39;"
    passes_exception = not version("apache-airflow").startswith(("3.0.", "3.1.", "3.2."))
    assert (reason if passes_exception else "The log of the task says why.") in text
    ((method, path, _, body),) = slack.asked
    assert (method, path) == ("POST", "/api/v2/services/T0/B0/hook")
    message = json.loads(body)["text"]
    assert message.startswith("refund_alerts has failed: ")
    assert ("1 rejected: 're_&lt;b>1&lt;/b>'" if passes_exception else "The log of the task says why.") in message

    assert run_dag(without_retries("refund_alerts")).state == "success"
    ((subject, _),) = mails.take()
    assert subject == "Refunds that still need attention: 1"

    warehouse.run("UPDATE refunds SET amount = 500")
    warehouse.run("DELETE FROM refunds WHERE event_id = 're_0'")
    assert run_dag(without_retries("refund_alerts")).state == "success"
    assert mails.take() == []
