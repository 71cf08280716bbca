"""The fixtures that the tests of ``api`` and ``hooks`` share."""

from __future__ import annotations

from tests.api.network import certificate, netrc, no_proxy, proxy
from tests.http_server import hook, hook_on, logged, serve

__all__ = ["certificate", "hook", "hook_on", "logged", "netrc", "no_proxy", "proxy", "serve"]
