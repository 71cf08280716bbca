"""
The pages of the site that are made from other files when it is built.

In the repository a page links to the file itself; on the site the link leads to the page that is made from it.
"""

from __future__ import annotations

import tomllib
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
MADE_OF = {"changelog.md": "CHANGELOG.md", "promise-tests.md": "tests/promises/held_by.toml"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages."""
    changelog = (ROOT / MADE_OF["changelog.md"]).read_text().replace("](docs/", "](")
    files.append(File.generated(config, "changelog.md", content=changelog))
    files.append(File.generated(config, "promise-tests.md", content=promise_tests()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to the files that the pages are made of to the pages."""
    for page, path in MADE_OF.items():
        markdown = markdown.replace(f"](../{path})", f"]({page})")
    return markdown


def promise_tests() -> str:
    """Return the table of the tests that hold each promise."""
    held_by = tomllib.loads((ROOT / MADE_OF["promise-tests.md"]).read_text())
    lines = ["# Tests of the promises", "", "The numbers are those of [Guarantees](guarantees.md)."]
    for _, promises in groupby(held_by.items(), lambda promise: promise[0][0]):
        lines += ["", "| promise | tests |", "|---|---|"]
        lines += [f"| {number} | {'<br>'.join(f'`{test}`' for test in tests)} |" for number, tests in promises]
    return "\n".join(lines)
