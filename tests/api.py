"""Airflow 3's API, for tests that start an Airflow of their own and look at it from outside."""

from __future__ import annotations

from typing import Any

import requests


class Api:
    """
    The API of an Airflow without a login.

    :param url: its pages', without a slash at the end
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False

    def get(self, path: str) -> Any:
        """
        :param path: behind ``/api/v2/``
        :returns: None as long as nobody answers, or there is no such thing
        """
        return self._ask("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """:returns: as :meth:`get` does"""
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            token = self._session.get(f"{self.url}/auth/token", timeout=10).json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            answer = self._session.request(method, f"{self.url}/api/v2/{path}", headers=headers, timeout=10, **more)
        except requests.RequestException:
            return None
        return answer.json() if answer.ok else None
