"""The browser, which is Debian's Chromium, and the Airflow that it looks at."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.airflow import Home
from dev.processes import free_port
from tests.end_to_end.browser.airflow_server import AIRFLOW_3, WIDTH, Airflow, new_page
from tests.end_to_end.browser.teams import as_user, push, sessions, teams
from tests.end_to_end.ui import Ui

__all__ = ["as_user", "push", "sessions", "teams"]

IMAGES = Path(__file__).resolve().parents[3] / "docs" / "images"
#: No GPU, no sandbox (it runs as root in a container), and no traffic of the browser's own.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --force-color-profile=srgb"
)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program's path."""
    pytest.importorskip("playwright", reason="Playwright is not installed (pip install playwright)")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("No Chromium is installed here (Debian: apt-get install chromium)")
    return program


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """
    A browser for the tests of one file.

    Playwright keeps an event loop running in this thread, so that ``asyncio.run`` fails in other tests until it ends.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    with new_page(browser) as page:
        yield page


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="session")
def airflow(chromium: str, request: pytest.FixtureRequest) -> Airflow:
    """
    An Airflow in which anyone may do anything: that of ``make ui``, or of Airflow 2 one without DAGs.

    It is started after it is known that there is a browser.
    """
    if AIRFLOW_3:
        ui: Ui = request.getfixturevalue("ui")
        return Airflow(ui.url, ui.home, ui.home.environment(AIRFLOW__CORE__TEST_CONNECTION="Enabled"))
    airflow_2: Airflow = request.getfixturevalue("airflow_2")
    return airflow_2


@pytest.fixture(scope="session")
def airflow_2(new_airflow_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    home = Home(tmp_path_factory.mktemp("airflow"))
    (home.folder / "dags").mkdir()
    url = f"http://127.0.0.1:{free_port()}"
    environment = home.environment(
        dags=home.folder / "dags",
        AIRFLOW__CORE__TEST_CONNECTION="Enabled",
        AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS="False",
        AIRFLOW__WEBSERVER__BASE_URL=url,
        AIRFLOW__WEBSERVER__SECRET_KEY=secrets.token_hex(),
    )
    airflow = Airflow(url, home, environment, password=secrets.token_hex())
    airflow.start_with(new_airflow_db)
    person = "--username admin --firstname A --lastname A --role Admin --email admin@example.com".split()
    airflow.command("users", "create", *person, "--password", airflow.password)
    with airflow.serving():
        yield airflow
