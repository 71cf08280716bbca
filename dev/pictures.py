"""
Draws the Mermaid diagrams of the documentation: ``make pictures``.

GitHub draws a diagram itself. On the site each diagram is a picture in ``docs/images`` that is drawn once, because a
page that draws it would load two megabytes of JavaScript from another host. A picture has the hash of its diagram in
its name, so that the build of the documentation fails if a diagram was changed and not drawn again.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dev.airflow import ROOT
from dev.terminal import console, run_tool

DOCS = ROOT / "docs"
#: The library that draws, as npm names it.
MERMAID = "@mermaid-js/tiny@11.17.2"
CONFIG = {"startOnLoad": False, "theme": "neutral", "fontFamily": "sans-serif", "flowchart": {"htmlLabels": False}}


def fence(source: str, *_: Any, **__: Any) -> str:
    """Return the picture of a diagram, as MkDocs puts it into the page."""
    from pymdownx.superfences import SuperFencesException  # type: ignore[import-not-found,import-untyped,unused-ignore]

    path = picture_of(source)
    if not path.exists():
        raise SuperFencesException(f"{path.name} does not exist: draw the diagram with `make pictures`")
    return f"<div>{path.read_text()}</div>"


def picture_of(source: str) -> Path:
    """Return the path of a diagram's picture."""
    return DOCS / "images" / f"diagram-{hashlib.sha256(source.strip().encode()).hexdigest()[:8]}.svg"


def diagrams() -> Iterator[str]:
    """Return the source of every diagram of the documentation."""
    for page in sorted(DOCS.glob("*.md")):
        yield from re.findall(r"^```mermaid\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def main() -> int:
    """Draw what is not drawn yet, and delete pictures of diagrams that do not exist any more."""
    from playwright.sync_api import sync_playwright

    sources = {picture_of(source): source for source in diagrams()}
    for old in set(DOCS.glob("images/diagram-*.svg")) - sources.keys():
        old.unlink()
    missing = {path: source for path, source in sources.items() if not path.exists()}
    if not missing:
        return 0
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        script = _library(Path(name))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.add_script_tag(path=script)
        page.evaluate("config => mermaid.initialize(config)", CONFIG)
        for path, source in missing.items():
            drawn = page.evaluate("([id, source]) => mermaid.render(id, source)", [path.stem, source])
            path.write_text(f"{drawn['svg']}\n")
            console.print(f"Drew {path.relative_to(ROOT)}")
        browser.close()
    return 0


def _library(folder: Path) -> Path:
    """Load Mermaid from npm, and return the path of its script."""
    subprocess.run(["npm", "pack", "--silent", MERMAID], cwd=folder, check=True, capture_output=True, timeout=120)
    [package] = folder.glob("*.tgz")
    with tarfile.open(package) as archive:
        archive.extract("package/dist/mermaid.tiny.js", folder, filter="data")
    return folder / "package" / "dist" / "mermaid.tiny.js"


if __name__ == "__main__":
    sys.exit(run_tool(main))
