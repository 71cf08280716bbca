"""
The page "FirstPromoter": what every run sent, earned and reversed, and what needs attention.

The page consists of static files. Its script reads the XComs ``summary`` from Airflow's public REST API, with the
session of the user who opens it, so that Airflow alone decides which DAGs that user sees.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowPlugin
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_2_PLUS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

#: Where Airflow's server serves the files, below its own base path.
URL_PREFIX = "/firstpromoter/page"
#: The page's place in Airflow's own pages: ``<base URL>/plugin/firstpromoter``.
URL_ROUTE = "firstpromoter"
#: Its place before it showed sales too.
OLD_URL_ROUTE = "refund-runs"
FILES = Path(__file__).with_name("page")
#: Browsers run no script but the page's own files and load nothing from elsewhere; only Airflow itself may frame it.
HEADERS = {
    # Browsers check each time whether a file has changed: after an upgrade no old script runs in a new page.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class StaticPage:
    """
    Serves the page's files: an ASGI application.

    Starlette is imported with the first request, because schedulers and workers load the plugin too and never serve
    a page.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._files(scope, receive, send)

    @cached_property
    def _files(self) -> ASGIApp:
        from starlette.staticfiles import StaticFiles

        class Files(StaticFiles):
            async def get_response(self, path: str, scope: Scope) -> Any:
                response = await super().get_response(path, scope)
                response.headers.update(HEADERS)
                return response

        return Files(directory=FILES, html=True)


class FirstPromoterPlugin(AirflowPlugin):
    """Adds the page "FirstPromoter" to the menu *Browse*; before Airflow 3.1, which has no such pages, nothing."""

    name = "firstpromoter"
    if AIRFLOW_V_3_1_PLUS:
        fastapi_apps = [{"app": StaticPage(), "url_prefix": URL_PREFIX, "name": "FirstPromoter"}]
        # Without a slash in front: Airflow's pages resolve it below their own base path.
        _view = {
            "name": "FirstPromoter",
            "href": f"{URL_PREFIX.removeprefix('/')}/",
            "icon": f"{URL_PREFIX.removeprefix('/')}/icon.svg",
            "icon_dark_mode": f"{URL_PREFIX.removeprefix('/')}/icon-dark.svg",
            "url_route": URL_ROUTE,
            "category": "browse",
            "destination": "nav",
        }
        external_views = [_view]
        if AIRFLOW_V_3_2_PLUS:  # which knows a page without an entry in a menu
            external_views.append({**_view, "url_route": OLD_URL_ROUTE, "destination": "base"})
