"""The direction of imports: each package may use the packages below it, through what their ``__init__`` exports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "airflow_provider_firstpromoter"
ROOT = Path(__file__).parents[1] / PACKAGE
#: Modules of the provider itself, which every package may use; they import none of it.
SHARED = {"account", "exceptions", "recheck", "get_provider_info"}
#: What Airflow's own kinds may use: parameters in, a run called, XCom out.
AIRFLOW_KINDS = {"api", "assets", "database", "hooks", "ledger", "pending", "reconcile", "calls", "sync"}
#: Which packages each package may import.
MAY_IMPORT: dict[str, set[str]] = {
    "calls": set(),
    "assets": set(),
    "plugins": set(),
    "sandbox": set(),
    "database": {"calls"},
    "api": {"calls"},
    "hooks": {"api", "calls"},
    "ledger": {"database", "calls"},
    "pending": {"api", "database", "hooks", "ledger", "calls"},
    "sync": {"api", "database", "hooks", "ledger", "pending", "calls"},
    "reconcile": {"api", "database", "hooks", "ledger", "calls"},
    "operators": AIRFLOW_KINDS,
    "transfers": AIRFLOW_KINDS | {"operators"},
    "sensors": AIRFLOW_KINDS | {"operators", "triggers"},
    "triggers": AIRFLOW_KINDS,
    "cli": AIRFLOW_KINDS,
}
#: Programs, which may import all packages.
PROGRAMS = {"cli/commands.py", "cli/report_tables.py", "__main__.py"}
#: Airflow's own kinds have no exports: Airflow names their modules.
NAMED_BY_MODULE = {"operators", "transfers", "sensors", "triggers", "plugins", "assets", "cli"}

PACKAGES = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists())


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Return each import of the package in a file: the module, and the name that is imported from it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            for alias in node.names:
                yield node.module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    yield alias.name, ""


def package_of(module: str, name: str) -> str:
    parts = module.split(".")[1:]
    return parts[0] if parts else name


def files(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        relative = path.relative_to(ROOT).as_posix()
        if relative not in PROGRAMS:
            yield relative, path


def test_every_package_has_a_place_in_the_order() -> None:
    assert sorted(MAY_IMPORT) == PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_only_the_packages_below_it(package: str) -> None:
    allowed = MAY_IMPORT[package] | SHARED | {package, "__version__"}
    wrong = [
        f"{relative} imports {module}"
        for relative, path in files(package)
        for module, name in imports(path)
        if package_of(module, name) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_uses_other_packages_through_their_exports(package: str) -> None:
    wrong = []
    for relative, path in files(package):
        for module, name in imports(path):
            other = package_of(module, name)
            through_exports = module == f"{PACKAGE}.{other}" or other in SHARED | NAMED_BY_MODULE | {"__version__"}
            if other != package and not through_exports:
                wrong.append(f"{relative} imports {name} from {module}, not from {PACKAGE}.{other}")
    assert wrong == []


HTTP = ("aiohttp", "http", "httpx", "requests", "urllib3")
SQL = ("sqlalchemy", "sqlite3", "airflow.providers.common.sql")


@pytest.mark.parametrize(
    ("package", "libraries"),
    [
        *((package, HTTP) for package in ("calls", "database", "ledger")),
        *((package, SQL) for package in ("calls", "api", "hooks")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_package_imports_no_library_of_what_it_must_not_know(package: str, libraries: tuple[str, ...]) -> None:
    wrong = [
        f"{relative} imports {module}"
        for relative, path in files(package)
        for node in ast.walk(ast.parse(path.read_text()))
        for module in _modules(node)
        if module.startswith(tuple(f"{library}." for library in libraries)) or module in libraries
    ]
    assert wrong == []


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_says_what_it_is_for(package: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))


def test_packages_have_no_circle() -> None:
    remaining = {package: set(below) for package, below in MAY_IMPORT.items()}
    while remaining:
        bottom = {package for package, below in remaining.items() if not below & set(remaining)}
        assert bottom, f"a circle among {sorted(remaining)}"
        for package in bottom:
            del remaining[package]


def test_picture_of_the_packages_shows_each_and_only_possible_imports() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    picture = page.partition("```mermaid\n")[2].partition("```")[0]
    below: dict[str, set[str]] = {name: set() for name in re.findall(r"(\w+)\[", picture)}
    assert below.keys() == MAY_IMPORT.keys() - {"operators", "transfers", "sensors", "triggers", "cli"} | {"airflow"}
    for package, other in re.findall(r"^ *(\w+)(?:\[.*\])? --> (\w+)", picture, re.MULTILINE):
        below[package].add(other)

    def reachable(package: str) -> set[str]:
        return below[package].union(*map(reachable, below[package]))

    possible = {**MAY_IMPORT, "airflow": AIRFLOW_KINDS}
    assert {package: below[package] - possible[package] for package in below} == {package: set() for package in below}
    assert {package: possible[package] - reachable(package) for package in below} == {
        package: set() for package in below
    }
