"""Tests of the command line, the server process and the state file."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from airflow_provider_firstpromoter.sandbox import Sandbox, Settings, running_sandbox
from airflow_provider_firstpromoter.sandbox.__main__ import announce, main, parse_settings
from tests.sandbox.client import Client

MODULE = [sys.executable, "-m", "airflow_provider_firstpromoter.sandbox"]
HEADERS = {"Authorization": "Bearer sandbox-api-key", "Account-ID": "sandbox-account"}


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the sandbox; yields the process and the base URL that its first line of output names."""
    command = [*MODULE, "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+/api/v2", running.stdout.readline())
            assert found
            yield running, found[0]
        finally:
            running.kill()


def refund(base_url: str, event_id: str) -> requests.Response:
    body = {"event_id": event_id, "amount": "100", "uid": "u1"}
    return requests.post(f"{base_url}/track/refund", json=body, headers=HEADERS, timeout=5)


def add_lead(base_url: str) -> None:
    url = base_url.replace("/api/v2", "/sandbox/leads")
    assert requests.post(url, json=[{"uid": "u1"}], timeout=5).ok


def test_state_file_after_sigkill_keeps_all_refunds(tmp_path: Path, client_of: Callable[..., Client]) -> None:
    state = tmp_path / "state.db"
    with process("--state", str(state)) as (running, base_url):
        add_lead(base_url)
        assert [refund(base_url, f"r{i}").status_code for i in range(20)] == [200] * 20
        running.send_signal(signal.SIGKILL)
        running.wait()
    with running_sandbox(Settings(state=state)) as sandbox:
        assert [client_of(sandbox).refund(f"r{i}").status_code for i in range(20)] == [409] * 20
        assert [refund.event_id for refund in sandbox.recorded()] == [f"r{i}" for i in range(20)]
        assert sandbox.request_counts() == {"POST /api/v2/track/refund": {"200": 20, "409": 20}}


def test_state_file_after_restart_in_same_process_keeps_refunds(
    tmp_path: Path, client_of: Callable[..., Client]
) -> None:
    settings = Settings(state=tmp_path / "state.db")
    with running_sandbox(settings) as sandbox:
        sandbox.add_lead(uid="u1")
        assert client_of(sandbox).refund("r1").status_code == 200
        before = sandbox.recorded()
    with running_sandbox(settings) as sandbox:
        assert client_of(sandbox).refund("r1").status_code == 409
        assert sandbox.recorded() == before


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_process_on_signal_exits_quickly_without_stderr_output(signal_number: signal.Signals) -> None:
    with process() as (running, base_url):
        # An idle connection and a request in progress must not delay the end of the process.
        session = requests.Session()
        session.get(base_url.replace("/api/v2", "/sandbox/health"), timeout=5)
        fault = {"kind": "latency", "seconds": 60}
        requests.post(base_url.replace("/api/v2", "/sandbox/faults"), json=fault, timeout=5)
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{base_url}/company/promoters", headers=HEADERS, timeout=0.1)
        running.send_signal(signal_number)
        assert running.wait(timeout=20) == 0
        assert running.stderr is not None
        assert running.stderr.read() == ""


def test_announce_with_remote_host_prints_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with running_sandbox(parse_settings("--port 0 --host 0.0.0.0 --allow-remote".split())) as sandbox:
        announce(sandbox)
    assert "WARNING" in capsys.readouterr().out


def test_announce_prints_url_account_and_key_on_one_line(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    announce(sandbox)
    [line] = capsys.readouterr().out.splitlines()
    assert all(each in line for each in (sandbox.base_url, sandbox.account_id, sandbox.api_key))


def test_host_with_ipv6_loopback_is_served(client_of: Callable[..., Client]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running_sandbox(parse_settings("--port 0 --host ::1".split())) as sandbox:
        assert sandbox.base_url.startswith("http://[::1]:")
        assert client_of(sandbox).refund("r1").status_code == 404


@pytest.mark.parametrize("arguments", [[], ["--state", "memory"]])
def test_state_without_file_is_in_memory(arguments: list[str]) -> None:
    assert parse_settings(arguments).state is None


def test_main_with_unusable_state_file_exits_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = str(tmp_path / "missing" / "state.db")
    monkeypatch.setattr(sys, "argv", ["sandbox", "--port", "0", "--state", state])
    with pytest.raises(SystemExit, match=re.escape(f"cannot store its data in {state}")):
        main()


def test_main_with_state_file_of_another_version_exits_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.db"
    with closing(sqlite3.connect(state)) as database:
        database.execute("CREATE TABLE promoters (id INTEGER)")
    monkeypatch.setattr(sys, "argv", ["sandbox", "--port", "0", "--state", str(state)])
    with pytest.raises(SystemExit, match="another version of the sandbox wrote this file"):
        main()


def test_account_options_add_second_account(client_of: Callable[..., Client]) -> None:
    arguments = "--port 0 --account second:second-key:EUR --requests-per-minute 1 --retry-after seconds".split()
    with running_sandbox(parse_settings(arguments)) as sandbox:
        sandbox.add_lead(uid="u1", account="second")
        first, second = (client_of(sandbox, account) for account in sandbox.settings.accounts)
        assert first.refund("r1").status_code == 404
        assert second.refund("r1", currency="USD").json()["amount_cents"] == -800
        assert "retry-after" in second.refund("r2").headers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--allow-remote"),
        (["--api-key", "12345"], "more than 5 characters"),
        (["--account", "only-an-id"], "--account"),
        (["--account", "second:12345"], "more than 5 characters"),
        (["--account", "sandbox-account:another-key"], "twice"),
        (["--currency", "XYZ"], "XYZ"),
    ],
)
def test_parse_settings_with_invalid_arguments_exits_and_names_the_reason(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_settings(arguments)
    assert message in capsys.readouterr().err


def test_main_with_port_in_use_exits_and_names_it(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    port = sandbox.base_url.split(":")[2].removesuffix("/api/v2")
    monkeypatch.setattr(sys, "argv", ["sandbox", "--port", port])
    with pytest.raises(SystemExit, match=f"cannot listen on 127.0.0.1:{port}"):
        main()


def test_import_of_sandbox_loads_no_other_module_of_the_package() -> None:
    code = (
        "import sys, airflow_provider_firstpromoter.sandbox.__main__\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('airflow', 'airflow_provider_firstpromoter')])"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    for name in re.findall(r"'([^']+)'", completed.stdout):
        assert name == "airflow_provider_firstpromoter" or name.startswith("airflow_provider_firstpromoter.sandbox")
