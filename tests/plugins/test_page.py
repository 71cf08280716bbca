"""What Airflow gets of the plugin, how the page's files are served, and what must not be in them."""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import ZERO_DECIMAL_CURRENCIES, Outcome
from airflow_provider_firstpromoter.plugins.firstpromoter import (
    FILES,
    URL_PREFIX,
    URL_ROUTE,
    FirstPromoterPlugin,
    StaticPage,
)
from airflow_provider_firstpromoter.reconcile import MismatchKind

AIRFLOW = importlib.metadata.version("apache-airflow")
#: The first version whose pages can have a page of a plugin.
HAS_PAGES = tuple(map(int, AIRFLOW.split(".")[:2])) >= (3, 1)
#: And without an entry in its menus.
HAS_HIDDEN_PAGES = tuple(map(int, AIRFLOW.split(".")[:2])) >= (3, 2)
SCRIPTS = sorted(FILES.glob("*.js"))


class Response:
    """What an ASGI application answers to one request."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        (start,) = (message for message in messages if message["type"] == "http.response.start")
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.body = b"".join(message.get("body", b"") for message in messages)


def request(path: str, method: str = "GET") -> Response:
    """Send a request to the page as a server does that has mounted it at its prefix."""
    scope = {
        "type": "http",
        "method": method,
        "path": f"/airflow{URL_PREFIX}{path}",
        "root_path": f"/airflow{URL_PREFIX}",
        "headers": [],
        "query_string": b"",
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()  # the client has sent all, and stays
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(StaticPage()(scope, receive, send))
    return Response(sent)


# --- The plugin -------------------------------------------------------------------------------------------


def test_entry_point_of_the_package_names_the_plugin() -> None:
    (entry_point,) = (
        entry_point
        for entry_point in importlib.metadata.entry_points(group="airflow.plugins")
        if entry_point.value.startswith("airflow_provider_firstpromoter.")
    )
    assert entry_point.load() is FirstPromoterPlugin


@pytest.mark.skipif(not HAS_PAGES, reason="Airflow's pages can have a page of a plugin from 3.1 on")
def test_plugin_adds_the_page_to_the_menu_browse() -> None:
    (app,) = FirstPromoterPlugin.fastapi_apps
    assert app["url_prefix"] == URL_PREFIX
    view, *old = FirstPromoterPlugin.external_views
    # The old address leads there too, without an entry in a menu, where Airflow knows such pages.
    assert [one["url_route"] for one in old if one["destination"] == "base"] == ["refund-runs"] * HAS_HIDDEN_PAGES
    assert len(old) == HAS_HIDDEN_PAGES
    assert (view["name"], view["category"], view["url_route"]) == ("FirstPromoter", "browse", URL_ROUTE)
    # Without a slash in front: else Airflow's pages would leave out their base path.
    for name in ("href", "icon", "icon_dark_mode"):
        assert view[name].startswith(f"{URL_PREFIX[1:]}/")
        assert request(view[name].removeprefix(URL_PREFIX[1:])).status == 200


@pytest.mark.skipif(HAS_PAGES, reason="Airflow's pages can have a page of a plugin from 3.1 on")
def test_plugin_adds_nothing_before_airflow_3_1() -> None:
    assert not getattr(FirstPromoterPlugin, "fastapi_apps", None)
    assert not getattr(FirstPromoterPlugin, "external_views", None)


def test_loading_the_plugin_does_not_import_a_web_framework() -> None:
    code = "import airflow.plugins_manager, sys; before = set(sys.modules); "
    code += f"import {FirstPromoterPlugin.__module__}; print(*(set(sys.modules) - before))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    loaded = {name.split(".")[0] for name in ran.stdout.split()}
    assert "airflow_provider_firstpromoter" in loaded
    assert not loaded & {"starlette", "fastapi", "requests", "sqlalchemy"}


# --- The files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
def test_page_serves_its_files(path: str, content_type: str) -> None:
    response = request(path)
    assert response.status == 200
    assert response.headers["content-type"].split(";")[0] == content_type
    # An old script must not meet a new page after an upgrade.
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["etag"]
    assert "script-src 'self';" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/nothing", "/../firstpromoter.py", "/%2e%2e/firstpromoter.py", "//etc/passwd"])
def test_page_serves_nothing_but_its_files(path: str) -> None:
    from starlette.exceptions import HTTPException

    with pytest.raises(HTTPException) as refused:
        request(path)
    assert refused.value.status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_page_takes_no_data(method: str) -> None:
    from starlette.exceptions import HTTPException

    with pytest.raises(HTTPException) as refused:
        request("/", method)
    assert refused.value.status_code == 405


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_never_make_markup_of_text_and_name_no_other_host(script: Any) -> None:
    code = script.read_text()
    markup = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|javascript:"
    )
    assert not re.findall(markup, code)
    assert set(re.findall(r"https?://[^\"'`\s]+", code)) <= {"http://www.w3.org/2000/svg"}


def test_document_names_only_files_that_are_there() -> None:
    named: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            named.extend(value or "" for name, value in attributes if name in ("src", "href"))
            assert not [name for name, _ in attributes if name.startswith("on") or name == "style"]

    Parser().feed((FILES / "index.html").read_text())
    assert named
    assert {path.name for path in FILES.iterdir()} >= set(named)


# --- The same words and rules as in Python ----------------------------------------------------------------


def test_page_knows_every_outcome_and_every_kind_of_mismatch() -> None:
    code = (FILES / "summary.js").read_text()
    style = (FILES / "page.css").read_text()
    for word in (*Outcome, *MismatchKind):
        assert f'["{word}", ' in code
    for outcome in Outcome:
        assert f".outcome-{outcome} {{" in style


def test_page_knows_the_currencies_without_decimals() -> None:
    (found,) = re.findall(r'ZERO_DECIMAL = new Set\(\s*"([A-Z ]+)"', (FILES / "format.js").read_text())
    assert set(found.split()) == ZERO_DECIMAL_CURRENCIES
