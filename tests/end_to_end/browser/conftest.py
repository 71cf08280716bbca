"""Airflow's pages in a browser: a server of its own on the loopback, and Debian's Chromium to look at it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import requests

from dev.airflow import Home
from dev.processes import free_port, running

AIRFLOW = version("apache-airflow")
AIRFLOW_3 = not AIRFLOW.startswith("2.")
IMAGES = Path(__file__).resolve().parents[3] / "docs" / "images"
#: Seconds that Airflow's server may take to come up.
PATIENCE = 120
#: Pixels of the window.
WIDTH, HEIGHT = 1100, 960
#: No GPU, no sandbox (it runs as root in a container), and no traffic of the browser's own.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --force-color-profile=srgb"
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install playwright)")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("No Chromium is installed here (Debian: apt-get install chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    with new_page(browser) as page:
        yield page


@contextmanager
def new_page(browser: Any) -> Iterator[Any]:
    """An empty page of one size, language and time zone; what it asks the world outside for fails at once."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, locale="en-US", timezone_id="UTC", reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE * 1000)  # the machine may be busy with other tests
    context.route(lambda url: not url.startswith("http://127.0.0.1:"), lambda route: route.abort())
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def cookies(browser: Any, airflow: Airflow) -> list[Any]:
    """Those of the user ``admin``. From one login: Airflow 2 refuses a sixth within 40 seconds."""
    if AIRFLOW_3:
        return []
    with new_page(browser) as page:
        page.goto(f"{airflow.url}/login/")
        page.locator("#username").fill("admin")
        page.locator("#password").fill(airflow.password)
        page.locator("input[type=submit]").click()
        # To go on before the answer is there would break the login off.
        page.wait_for_url(lambda url: "/login" not in url)
        return list(page.context.cookies())


@pytest.fixture
def screenshot(page: Any) -> Callable[..., None]:
    """
    Puts what is to be seen of the page, or of an element, into ``docs/images``: ``screenshot("name", element)``.

    ``height`` is the window's, in pixels; ``style`` is CSS, to leave out what only distracts.

    Only if the environment has ``SCREENSHOTS=1``, and on Airflow 3: one set of pictures is enough.
    """

    def screenshot(name: str, seen: Any = page, *, height: int | None = None, style: str = "") -> None:
        if not (os.environ.get("SCREENSHOTS") and AIRFLOW_3):
            return
        IMAGES.mkdir(parents=True, exist_ok=True)
        if height:
            page.set_viewport_size({"width": WIDTH, "height": height})
        page.wait_for_timeout(500)  # what is as high as the window finds its new place
        seen.screenshot(path=IMAGES / f"{name}.png", animations="disabled", caret="hide", style=style)
        if height:
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})

    return screenshot


class Airflow:
    """
    An Airflow with nothing but its pages, and the connection type in them.

    :param url: without a slash at its end
    """

    def __init__(self, url: str, home: Home, environment: dict[str, str], password: str) -> None:
        self.url = url
        self.home = home
        self.environment = environment
        self.password = password

    def command(self, *arguments: str) -> str:
        """Run ``airflow ...`` and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def stored(self, conn_id: str) -> Any:
        """The connection as it lies in Airflow's database, as Airflow's own object."""
        from airflow.models.connection import Connection

        file = self.home.folder / "export.json"
        self.command("connections", "export", str(file), "--file-format", "json")
        return Connection(conn_id=conn_id, **json.loads(file.read_text())[conn_id])


@pytest.fixture(scope="session")
def airflow(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Started once, after it is known that there is a browser."""
    home = Home(tmp_path_factory.mktemp("airflow"))
    (home.folder / "dags").mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = home.environment(
        dags=home.folder / "dags",
        AIRFLOW__CORE__TEST_CONNECTION="Enabled",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",  # no login: it listens on this machine alone
        AIRFLOW__API__BASE_URL=url,
        AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS="False",
        AIRFLOW__WEBSERVER__BASE_URL=url,
        AIRFLOW__WEBSERVER__SECRET_KEY=secrets.token_hex(),
    )
    airflow = Airflow(url, home, environment, password=secrets.token_hex())
    airflow.command("db", "migrate")
    if AIRFLOW_3:
        server = ["api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    else:
        person = "--username admin --firstname A --lastname A --role Admin --email admin@example.com".split()
        airflow.command("users", "create", *person, "--password", airflow.password)
        server = ["webserver", "--hostname", "127.0.0.1", "--port", str(port), "--workers", "1"]
    log = home.log("server")
    with running([sys.executable, "-m", "airflow", *server], env=environment, log=log) as process:
        until = time.monotonic() + PATIENCE
        while not _healthy(url):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, f"no answer in {PATIENCE} seconds\n{log.read_text()[-3000:]}"
            time.sleep(0.25)
        yield airflow


def _healthy(url: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"{url}/{'api/v2/monitor/health' if AIRFLOW_3 else 'health'}", timeout=5).ok
        except requests.RequestException:
            return False
