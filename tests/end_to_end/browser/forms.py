"""Airflow's connection form as a user uses it: a class for each major version."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

from airflow_provider_firstpromoter.get_provider_info import CONN_FIELDS

#: The section of each field of the extra: Airflow 3 shows one section at a time.
SECTIONS: dict[str, str] = {field["label"]: field["schema"]["section"] for field in CONN_FIELDS.values()}


class Form(ABC):
    """
    The open form of a new connection of type FirstPromoter.

    :param page: a browser's page of a user who is logged in
    :param url: the address of Airflow's pages, without a slash at the end
    """

    #: The locator of the form itself.
    form: Any

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.open()

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def labels(self) -> list[str]:
        """Return the labels of all visible fields, from top to bottom."""

    @abstractmethod
    def field(self, label: str) -> Any: ...

    @abstractmethod
    def help(self, label: str) -> str:
        """Return the sentence below a field."""

    @abstractmethod
    def save(self) -> None: ...

    @abstractmethod
    def test(self) -> str:
        """
        Press Test, and return what Airflow answers.

        On Airflow 3 the button is in the list of connections, not in the form.
        """

    @abstractmethod
    def replace_key(self, key: str) -> None:
        """Edit the saved connection: enter another API key, and save it."""

    def fill(self, **fields: str) -> None:
        """:param fields: values by label, with ``_`` in place of spaces"""
        for label, value in fields.items():
            self.field(label.replace("_", " ")).fill(value)


class Airflow3Form(Form):
    #: The message with the result of a test.
    toast = "[data-scope=toast][data-part=root]"

    def open(self) -> None:
        self.page.goto(f"{self.url}/connections")
        self.page.get_by_role("button", name="Add Connection").click()
        self.form = self.page.get_by_role("dialog")
        kind = self.form.get_by_role("combobox")
        kind.fill("FirstPromoter")
        kind.press("Enter")
        self.field("Account ID").wait_for()
        kind.blur()

    def labels(self) -> list[str]:
        return [label.inner_text().rstrip("*\n ") for label in self.form.locator("label").all() if label.is_visible()]

    def field(self, label: str) -> Any:
        # Not every label is linked to its input.
        return self._group(label).locator("input, textarea")

    def help(self, label: str) -> str:
        return str(self._group(label).locator("[data-part=helper-text]").inner_text())

    def _group(self, label: str) -> Any:
        has = self.page.locator("label").filter(has_text=re.compile(f"^{label}"))
        group = self.form.locator("[data-scope=field][data-part=root]").filter(has=has)
        if label in SECTIONS and not group.is_visible():
            self.form.get_by_role("button", name=SECTIONS[label]).click()
            group.wait_for()
        return group

    def save(self) -> None:
        self.conn_id = self.field("Connection ID").input_value()
        self._save()

    def replace_key(self, key: str) -> None:
        self._press("Edit Connection")
        self.field("API key").fill(key)
        self._save()

    def _save(self) -> None:
        self.form.get_by_role("button", name="Save").click()
        self.form.wait_for(state="hidden")
        self.page.reload()  # removes the message that the connection is saved

    def _press(self, button: str) -> None:
        row = self.page.get_by_role("row").filter(has=self.page.get_by_text(self.conn_id, exact=True))
        row.get_by_role("button", name=button).click()

    def test(self) -> str:
        self._press("Test Connection")
        self.page.locator(self.toast).wait_for()
        self.page.mouse.move(0, 0)
        return str(self.page.locator(self.toast).locator("[data-part=description]").inner_text())


class Airflow2Form(Form):
    def open(self) -> None:
        self.page.goto(f"{self.url}/connection/add")
        self.form = self.page.locator("#model_form")
        self.page.locator("#conn_type").select_option(label="FirstPromoter", force=True)
        self.page.evaluate("$('#conn_type').trigger('change')")

    def labels(self) -> list[str]:
        return [label.inner_text().rstrip("* ") for label in self.form.locator("label").all() if label.is_visible()]

    def field(self, label: str) -> Any:
        return self._row(label).locator("input")

    def help(self, label: str) -> str:
        return str(self._row(label).locator(".help-block").inner_text())

    def _row(self, label: str) -> Any:
        has = self.page.locator("label").filter(has_text=re.compile(rf"^\s*{label}"))
        return self.form.locator("tr").filter(has=has)

    def save(self) -> None:
        self.conn_id = self.field("Connection Id").input_value()
        self.key = self.field("API key").input_value()
        self.form.locator("button[type=submit]").click()
        self.page.wait_for_url(lambda url: "/connection/add" not in url)

    def test(self) -> str:
        # The page of a new connection can only test if the type that it opens with shows its extra.
        self._edit()
        self.fill(API_key=self.key)
        with self.page.expect_response(re.compile("/connections/test$")):
            self.page.locator("#test-connection").click()
        alert = self.page.locator(".container .row .alert").first
        alert.wait_for()
        return str(alert.inner_text()).splitlines()[-1].strip()  # the first line is the cross that closes it

    def replace_key(self, key: str) -> None:
        self.key = key
        self._edit()
        self.fill(API_key=key)
        self.form.locator("button[type=submit]").click()
        self.page.wait_for_url(lambda url: "/connection/edit" not in url)

    def _edit(self) -> None:
        self.page.goto(f"{self.url}/connection/list/?_flt_3_conn_id={self.conn_id}")
        self.page.locator('a[href*="/connection/edit/"]').first.click()
