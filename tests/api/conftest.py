"""The fixtures that the tests of ``api`` and ``hooks`` share."""

from __future__ import annotations

from tests.http_server import hook, hook_on, logged, serve

__all__ = ["hook", "hook_on", "logged", "serve"]
