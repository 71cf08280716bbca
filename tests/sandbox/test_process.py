"""The sandbox as a process of its own, and what outlives it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import requests

from airflow_provider_firstpromoter.sandbox import Settings, running_sandbox
from airflow_provider_firstpromoter.sandbox.__main__ import main

MODULE = [sys.executable, "-m", "airflow_provider_firstpromoter.sandbox"]
HEADERS = {"Authorization": "Bearer sandbox-api-key", "Account-ID": "sandbox-account"}


@contextmanager
def process(*arguments):
    """Yields the process and the base URL that its first line names."""
    with subprocess.Popen([*MODULE, "--port", "0", *arguments], stdout=subprocess.PIPE, text=True) as running:
        try:
            line = running.stdout.readline()
            yield running, re.search(r"http://127\.0\.0\.1:\d+/api/v2", line)[0]
        finally:
            running.kill()


def refund(base_url, event_id, headers=HEADERS):
    body = {"event_id": event_id, "amount": "100", "uid": "u1"}
    return requests.post(f"{base_url}/track/refund", json=body, headers=headers, timeout=5)


def add_lead(base_url, account="sandbox-account"):
    url = base_url.replace("/api/v2", "/sandbox/leads")
    assert requests.post(url, json=[{"uid": "u1"}], params={"account": account}, timeout=5).ok


def test_books_survive_a_kill(tmp_path):
    state = ["--state", str(tmp_path / "state.db")]
    with process(*state) as (running, base_url):
        add_lead(base_url)
        assert [refund(base_url, f"r{i}").status_code for i in range(20)] == [200] * 20
        running.send_signal(signal.SIGKILL)
        running.wait()
    with process(*state) as (_, base_url):
        assert [refund(base_url, f"r{i}").status_code for i in range(20)] == [409] * 20
        audit = requests.get(base_url.replace("/api/v2", "/sandbox/audit"), timeout=5).json()
    assert [each["event_id"] for each in audit["recorded"]] == [f"r{i}" for i in range(20)]
    assert audit["requests"] == {"POST /api/v2/track/refund": {"200": 20, "409": 20}}


def test_books_survive_a_restart_in_this_process(tmp_path, client_of):
    settings = Settings(state=tmp_path / "state.db")
    with running_sandbox(settings) as sandbox:
        sandbox.add_lead(uid="u1")
        assert client_of(sandbox).refund("r1").status_code == 200
        before = sandbox.recorded()
    with running_sandbox(settings) as sandbox:
        assert client_of(sandbox).refund("r1").status_code == 409
        assert sandbox.recorded() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_quickly_and_quietly(number):
    with process() as (running, base_url):
        # An idle connection and a request under way must not hold it up.
        session = requests.Session()
        session.get(base_url.replace("/api/v2", "/sandbox/health"), timeout=5)
        fault = {"kind": "latency", "seconds": 60}
        requests.post(base_url.replace("/api/v2", "/sandbox/faults"), json=fault, timeout=5)
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{base_url}/company/promoters", headers=HEADERS, timeout=0.1)
        start = time.monotonic()
        running.send_signal(number)
        assert running.wait(timeout=5) == 0
        assert time.monotonic() - start < 3


def test_others_are_let_in_only_on_purpose_and_it_says_so():
    with subprocess.Popen(
        [*MODULE, "--port", "0", "--host", "0.0.0.0", "--allow-remote"], stdout=subprocess.PIPE, text=True
    ) as running:
        assert "WARNING" in running.stdout.readline()
        running.kill()


def test_several_accounts():
    with process("--account", "second:second-key:EUR", "--requests-per-minute", "1") as (_, base_url):
        second = {"Authorization": "Bearer second-key", "Account-ID": "second"}
        add_lead(base_url, "second")
        assert refund(base_url, "r1").status_code == 404
        assert refund(base_url, "r1", second).status_code == 200
        assert refund(base_url, "r2", second).status_code == 429


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "--allow-remote"),
        (["--api-key", "12345"], "more than 5 characters"),
        (["--account", "only-an-id"], "--account"),
        (["--account", "second:12345"], "more than 5 characters"),
        (["--account", "sandbox-account:another-key"], "twice"),
        (["--currency", "XYZ"], "XYZ"),
    ],
)
def test_what_it_does_not_start_with(monkeypatch, capsys, arguments, said):
    monkeypatch.setattr(sys, "argv", ["sandbox", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(sandbox, monkeypatch):
    port = sandbox.base_url.split(":")[2].removesuffix("/api/v2")
    monkeypatch.setattr(sys, "argv", ["sandbox", "--port", port])
    with pytest.raises(SystemExit, match=f"cannot listen on 127.0.0.1:{port}"):
        main()


def test_it_shares_nothing_with_the_client():
    code = (
        "import sys, airflow_provider_firstpromoter.sandbox.__main__\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('airflow', 'airflow_provider_firstpromoter')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    for name in re.findall(r"'([^']+)'", done.stdout):
        assert name == "airflow_provider_firstpromoter" or name.startswith("airflow_provider_firstpromoter.sandbox")
