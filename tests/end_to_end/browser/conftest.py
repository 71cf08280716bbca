"""Airflow's pages in a browser: servers on the loopback interface, and Debian's Chromium to look at them."""

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
from urllib.parse import urlsplit

import pytest
import requests

from dev.airflow import Home
from dev.processes import free_port, running

AIRFLOW = version("apache-airflow")
AIRFLOW_3 = not AIRFLOW.startswith("2.")
IMAGES = Path(__file__).resolve().parents[3] / "docs" / "images"
#: Seconds that Airflow's server may take to start.
PATIENCE = 120
#: The size of the window in pixels.
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


@pytest.fixture(scope="session")
def cookies(browser: Any, airflow: Airflow) -> list[Any]:
    """The session cookies of the user ``admin``, from one login: Airflow 2 refuses a sixth login within 40 seconds."""
    if AIRFLOW_3:
        return []
    with new_page(browser) as page:
        page.goto(f"{airflow.url}/login/")
        page.locator("#username").fill("admin")
        page.locator("#password").fill(airflow.password)
        page.locator("input[type=submit]").click()
        # To leave the page before the response arrives would cancel the login.
        page.wait_for_url(lambda url: "/login" not in url)
        return list(page.context.cookies())


@pytest.fixture
def screenshot(page: Any) -> Callable[..., None]:
    """
    Saves a picture of the page, or of an element, in ``docs/images``: ``screenshot("name", element)``.

    ``height`` and ``width`` are the window's, in pixels; ``style`` is CSS that hides what only distracts.

    Only with ``SCREENSHOTS=1`` in the environment, and on Airflow 3: one set of pictures is enough.
    """

    def screenshot(
        name: str, seen: Any = page, *, height: int | None = None, width: int = WIDTH, style: str = ""
    ) -> None:
        if not (os.environ.get("SCREENSHOTS") and AIRFLOW_3):
            return
        IMAGES.mkdir(parents=True, exist_ok=True)
        before = seen.page.viewport_size if hasattr(seen, "page") else seen.viewport_size
        window = seen.page if hasattr(seen, "page") else seen
        if height:
            window.set_viewport_size({"width": width, "height": height})
        window.wait_for_timeout(500)  # what is as high as the window finds its new place
        seen.screenshot(path=IMAGES / f"{name}.png", animations="disabled", caret="hide", style=style)
        if height:
            window.set_viewport_size(before)

    return screenshot


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


@pytest.fixture(scope="session")
def airflow(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """An Airflow without DAGs and without a login; started once, after it is known that there is a browser."""
    home = Home(tmp_path_factory.mktemp("airflow"))
    (home.folder / "dags").mkdir()
    url = f"http://127.0.0.1:{free_port()}"
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
    if not AIRFLOW_3:
        person = "--username admin --firstname A --lastname A --role Admin --email admin@example.com".split()
        airflow.command("users", "create", *person, "--password", airflow.password)
    with airflow.serving():
        yield airflow


def _healthy(url: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"{url}/{'api/v2/monitor/health' if AIRFLOW_3 else 'health'}", timeout=5).ok
        except requests.RequestException:
            return False
