"""
The pages of the site that are made from other files when it is built.

In the repository a page links to the file itself; on the site the link leads to the page that is made from it.
"""

from __future__ import annotations

import re
import tomllib
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from airflow_provider_firstpromoter import __version__

ROOT = Path(__file__).parents[1]
#: Pages of the site, and the files that they are.
COPIES = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}
#: What GitHub shows as a quotation with a bold title.
BOX = re.compile(r"^> \*\*(?P<title>.*)\*\*\n(?P<text>(?:>.*\n)+)", re.MULTILINE)
PROMISE_TESTS = "tests/promises/held_by.toml"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Say below each page which version it is of."""
    config.copyright = f"{config.site_name} {__version__}"
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for page, path in COPIES.items():
        files.append(File.generated(config, page, content=with_links((ROOT / path).read_text(), beside="")))
    files.append(File.generated(config, "promise-tests.md", content=promise_tests()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead the links of a page in docs to pages."""
    return with_links(markdown, beside="../")


def with_links(markdown: str, *, beside: str) -> str:
    """
    Lead links to pages of the site.

    :param beside: the way from the text's folder to the top of the repository
    """
    for page, path in {**COPIES, "promise-tests.md": PROMISE_TESTS}.items():
        markdown = markdown.replace(f"]({beside}{path}", f"]({page}")
    return markdown if beside else BOX.sub(_admonition, markdown.replace("](docs/", "]("))


def _admonition(box: re.Match[str]) -> str:
    text = re.sub(r"^> ?", "    ", box["text"], flags=re.MULTILINE)
    return f'!!! danger "{box["title"]}"\n{text}'


def promise_tests() -> str:
    """Return the table of the tests that hold each promise."""
    held_by = tomllib.loads((ROOT / PROMISE_TESTS).read_text())
    lines = ["# Tests of the promises", "", "The numbers are those of [Guarantees](guarantees.md)."]
    for _, promises in groupby(held_by.items(), lambda promise: promise[0][0]):
        lines += ["", "| promise | tests |", "|---|---|"]
        lines += [f"| {number} | {'<br>'.join(f'`{test}`' for test in tests)} |" for number, tests in promises]
    return "\n".join(lines)
