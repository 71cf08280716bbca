"""The direction of imports: each package may use the packages below it, through what their ``__init__`` exports."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from dev.house import ROOT, Module, circles, modules, twins

HOUSE = modules()
#: Modules of the provider itself, which every package may use; they import none of it.
SHARED = {"account", "exceptions", "get_provider_info", "parameters", "__version__"}
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
PROGRAMS = {"cli.commands", "cli.report", "__main__"}
#: Airflow's own kinds have no exports: Airflow names their modules.
NAMED_BY_MODULE = {"operators", "transfers", "sensors", "triggers", "plugins", "assets", "cli"}

PACKAGES = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists())


def package_of(module: str, name: str) -> str:
    return module.partition(".")[0] or name


def members(package: str) -> list[Module]:
    return [module for module in HOUSE if module.package == package and module.name not in PROGRAMS]


def test_every_package_has_a_place_in_the_order() -> None:
    assert sorted(MAY_IMPORT) == PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_only_the_packages_below_it(package: str) -> None:
    allowed = MAY_IMPORT[package] | SHARED | {package}
    wrong = [
        f"{module.name} imports {source}"
        for module in members(package)
        for source, name in module.imports()
        if package_of(source, name) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_uses_other_packages_through_their_exports(package: str) -> None:
    wrong = []
    for module in members(package):
        for source, name in module.imports():
            other = package_of(source, name)
            through_exports = source == other or other in SHARED | NAMED_BY_MODULE
            if other != package and not through_exports:
                wrong.append(f"{module.name} imports {name} from {source}, not from {other}")
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
        f"{module.name} imports {library}"
        for module in members(package)
        for node in ast.walk(module.tree)
        for library in _libraries(node)
        if library.startswith(tuple(f"{name}." for name in libraries)) or library in libraries
    ]
    assert wrong == []


def _libraries(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_says_what_it_is_for(package: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))


def test_modules_have_no_circle() -> None:
    assert circles(HOUSE) == []


def test_classes_have_names_of_their_own() -> None:
    """The sandbox counts for itself: it has FirstPromoter's view of the same things."""
    sandbox = [module for module in HOUSE if module.package == "sandbox"]
    assert twins(sandbox) == {}
    assert twins([module for module in HOUSE if module not in sandbox]) == {}


def test_class_defines_nothing_twice() -> None:
    twice = [
        f"{module.name}.{found.name}.{name}"
        for module in HOUSE
        for found in ast.walk(module.tree)
        if isinstance(found, ast.ClassDef)
        for name, count in Counter(_defined(found)).items()
        if count > 1
    ]
    assert twice == []


def _defined(found: ast.ClassDef) -> Iterator[str]:
    """Return what a class defines: its fields and its methods, without the setters of properties."""
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.FunctionDef) and not any(
            isinstance(mark, ast.Attribute) for mark in node.decorator_list
        ):
            yield node.name


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
