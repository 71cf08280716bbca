"""An Airflow with its server on the loopback interface, and empty pages of a browser to look at it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from dev.airflow import Home
from dev.processes import running

AIRFLOW = version("apache-airflow")
AIRFLOW_3 = not AIRFLOW.startswith("2.")
#: Seconds that Airflow's server may take to start.
PATIENCE = 120
#: The size of the window in pixels.
WIDTH, HEIGHT = 1100, 960


@contextmanager
def new_page(browser: Any, **options: Any) -> Iterator[Any]:
    """
    Open an empty page of a fixed size, language and time zone. Its requests to any other machine fail at once.

    :param options: further options of Playwright's browser context, such as ``color_scheme``
    """
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT},
        locale="en-US",
        timezone_id="UTC",
        reduced_motion="reduce",
        **options,
    )
    context.set_default_timeout(PATIENCE * 1000)  # the machine may be busy with other tests
    context.route(lambda url: not url.startswith("http://127.0.0.1:"), lambda route: route.abort())
    yield context.new_page()
    context.close()


class Airflow:
    """
    An Airflow whose server runs for as long as the tests need it.

    :param url: the address of its pages, with the base path if there is one and without a slash at the end
    """

    def __init__(self, url: str, home: Home, environment: dict[str, str], password: str = "") -> None:
        self.url = url
        self.home = home
        self.environment = environment
        self.password = password

    def start_with(self, database: Path) -> None:
        """Copy Airflow's own database."""
        self.home.airflow.mkdir()
        shutil.copy(database, self.home.airflow / "airflow.db")

    def command(self, *arguments: str, may_fail: bool = False) -> str:
        """Run ``airflow ...`` and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert may_fail or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def stored(self, conn_id: str) -> Any:
        """Return a connection as Airflow's database holds it, as Airflow's own object."""
        from airflow.models.connection import Connection

        file = self.home.folder / "export.json"
        self.command("connections", "export", str(file), "--file-format", "json")
        return Connection(conn_id=conn_id, **json.loads(file.read_text())[conn_id])

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run the server of the pages until the ``with`` block ends."""
        port = str(urlsplit(self.url).port)
        if AIRFLOW_3:
            server = ["api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
        else:
            server = ["webserver", "--hostname", "127.0.0.1", "--port", port, "--workers", "1"]
        log = self.home.log("server")
        with running([sys.executable, "-m", "airflow", *server], env=self.environment, log=log) as process:
            until = time.monotonic() + PATIENCE
            while not _healthy(self.url):
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < until, f"no answer in {PATIENCE} seconds\n{log.read_text()[-3000:]}"
                time.sleep(0.25)
            yield


def _healthy(url: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"{url}/{'api/v2/monitor/health' if AIRFLOW_3 else 'health'}", timeout=5).ok
        except requests.RequestException:
            return False
