"""The page "FirstPromoter" as a user sees it, inside Airflow's own pages."""

from __future__ import annotations

import re
from typing import Any


def plain(text: str) -> str:
    """Return a text of the page with the characters of a keyboard in place of typographic ones, on one line."""
    return re.sub(r"\s+", " ", text.translate({0x2212: "-", 0x203A: ">", 0xA0: " "})).strip()


class RefundRunsPage:
    """
    The page "FirstPromoter".

    :param page: a browser's page of a user who is logged in, or who needs no login
    :param url: the address of Airflow's pages, without a slash at the end
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        #: Airflow shows the page in a frame.
        self.frame = page.frame_locator("iframe[title='FirstPromoter']")

    def open(self, query: str = "") -> RefundRunsPage:
        self.page.goto(f"{self.url}/plugin/firstpromoter{query}")
        return self.wait()

    def wait(self) -> RefundRunsPage:
        """Wait until the page has read all that it shows."""
        self.frame.locator("main[aria-busy=false]").wait_for()
        return self

    def refresh(self) -> RefundRunsPage:
        self.frame.get_by_role("button", name="Refresh").click()
        return self.wait()

    def total(self, name: str) -> str:
        """Return one of the large numbers at the top: runs, sent, recorded, reversed or attention."""
        return plain(self.frame.locator(f"#total-{name}").inner_text())

    def choose(self, label: str, option: str) -> RefundRunsPage:
        """Choose an option of a filter."""
        self.frame.get_by_label(label, exact=True).select_option(label=option)
        return self.wait()

    def options(self, label: str) -> list[str]:
        return list(self.frame.get_by_label(label, exact=True).locator("option").all_inner_texts())

    def legend(self) -> dict[str, int]:
        """Return the number of refunds of each outcome, as the chart's legend says them."""
        texts = self.frame.locator("#outcomes .legend li").all_inner_texts()
        pairs = (text.rsplit(" ", 1) for text in texts)
        return {name: int(number.replace(",", "")) for name, number in pairs}

    def bars(self) -> list[int]:
        """Return how many refunds each bar of the chart has, from the table below it."""
        rows = self._table_below("#outcomes")
        return [sum(int(cell.replace(",", "")) for cell in row[1:]) for row in rows]

    def reversed_per_day(self) -> dict[str, str]:
        return {row[0]: row[1] for row in self._table_below("#money")}

    def _table_below(self, section: str) -> list[list[str]]:
        rows = self.frame.locator(f"{section} details tbody tr")
        return [[plain(cell) for cell in row.locator("th, td").all_text_contents()] for row in rows.all()]

    def attention(self) -> list[tuple[str, str, str]]:
        """Return what needs attention: what it is, the refund and the reason."""
        rows = self.frame.locator("#attention tbody tr").all()
        cells = [row.locator("td").all_inner_texts() for row in rows]
        # The account's column is there only if there are several accounts.
        return [(plain(row[0]).removesuffix("new").strip(), row[-4], row[-3]) for row in cells]

    def runs(self) -> list[str]:
        """Return the DAG and task of every run in the list, newest first."""
        names = self.frame.locator("#runs table.runs > tbody > tr > td:nth-child(2) > a").all_inner_texts()
        return [plain(name) for name in names]

    def sums(self) -> list[str]:
        """Return the sum above each chart of what was reversed."""
        return [plain(text) for text in self.frame.locator("#money h3").all_inner_texts()]

    def message(self) -> str:
        return str(self.frame.locator("#message h2").inner_text())
