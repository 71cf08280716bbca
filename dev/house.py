"""``make house``: modules and lines by package, and the measures of the package that a machine can take."""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "airflow_provider_firstpromoter"
ROOT = Path(__file__).resolve().parents[1] / PACKAGE
#: Counted apart: a server to develop against.
SANDBOX = "sandbox"
#: The files of the page in Airflow's UI, counted apart.
PAGE = ROOT / "plugins" / "page"

MOST_MODULES, MOST_LINES = 90, 11_500
LONGEST_FILE = 350
SHORTEST_FILE = 60
MOST_COLLABORATORS = 4


@dataclass(frozen=True)
class Module:
    """
    A module of the package.

    :param name: without the package's own name: ``sync.run``; of a package that of its ``__init__``: ``sync``
    """

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @property
    def package(self) -> str:
        """The package below the whole one; empty for a module that is in none."""
        relative = self.path.relative_to(ROOT)
        return relative.parts[0] if len(relative.parts) > 1 else ""

    @property
    def classes(self) -> list[ast.ClassDef]:
        return [node for node in self.tree.body if isinstance(node, ast.ClassDef)]

    def imports(self) -> Iterator[tuple[str, str]]:
        """Return each import of the package, under TYPE_CHECKING too: the module, and the name imported from it."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
                for alias in node.names:
                    yield node.module.partition(".")[2], alias.name
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == PACKAGE:
                        yield alias.name.partition(".")[2], ""


def modules() -> list[Module]:
    """Return every module of the package."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append(Module(".".join(part for part in parts if part != "__init__"), path))
    return found


def circles(house: list[Module]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others."""
    names = {module.name for module in house}
    below: dict[str, set[str]] = {}
    for module in house:
        used = {f"{source}.{name}".strip(".") for source, name in module.imports()}
        used = {name if name in names else name.rpartition(".")[0] for name in used}
        below[module.name] = (used & names) - {module.name}
    # Modules that import nothing that is left, and those that nothing left imports, are in no circle.
    while ends := [
        name
        for name, used in below.items()
        if not used & below.keys() or not any(name in others for others in below.values())
    ]:
        for name in ends:
            del below[name]

    def reachable(name: str) -> set[str]:
        seen: set[str] = set()
        left = [name]
        while left:
            for other in below[left.pop()] & below.keys():
                if other not in seen:
                    seen.add(other)
                    left.append(other)
        return seen

    reach = {name: reachable(name) for name in below}
    groups = {tuple(sorted(other for other in reach[name] if name in reach[other])) for name in below}
    return [list(group) for group in sorted(groups) if group]


def twins(house: list[Module]) -> dict[str, list[str]]:
    """Return the names that more than one class has, and the modules of those classes."""
    places = defaultdict(list)
    for module in house:
        for found in module.classes:
            places[found.name].append(module.name)
    return {name: where for name, where in sorted(places.items()) if len(where) > 1}


def collaborators(house: list[Module]) -> dict[str, set[str]]:
    """
    Return for each class the classes of the package that it works with: among its parameters, fields and what it makes.

    Only classes that do something count, not those that only hold values.
    """
    working = {found.name for module in house for found in module.classes if any(map(_does_something, found.body))}
    return {
        f"{module.name}.{found.name}": (set(_names_of_parts(found)) & working) - {found.name}
        for module in house
        for found in module.classes
        if found.name in working
    }


def _does_something(node: ast.stmt) -> bool:
    """Return whether a method is public, and neither a property nor another way to make the object."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith(("_", "to_")):
        return False
    marks = {mark.id for mark in node.decorator_list if isinstance(mark, ast.Name)}
    return not marks & {"property", "cached_property", "classmethod", "staticmethod", "field_validator"}


def _names_of_parts(found: ast.ClassDef) -> Iterator[str]:
    """Return the names in the types of a class's fields and parameters, and in what ``__init__`` gives to itself."""
    parts: list[ast.AST] = []
    for node in found.body:
        if isinstance(node, ast.AnnAssign):
            parts.append(node.annotation)
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
            parts += [
                argument.annotation for argument in (*node.args.args, *node.args.kwonlyargs) if argument.annotation
            ]
            parts += [
                line.value.func
                for line in node.body
                if isinstance(line, ast.Assign | ast.AnnAssign) and isinstance(line.value, ast.Call)
            ]
    for part in parts:
        for name in ast.walk(part):
            if isinstance(name, ast.Name):
                yield name.id


def functions_that_take_the_ledger(house: list[Module]) -> list[str]:
    """Return the functions outside classes whose first argument is the ledger: they should be its methods."""
    return [
        f"{module.name}.{node.name}"
        for module in house
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef) and node.args.args and node.args.args[0].arg == "ledger"
    ]


def main() -> int:
    """Print the measures."""
    everything = modules()
    house = [module for module in everything if module.package != SANDBOX]
    counts: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for module in everything:
        counts[module.package] += 1
        lines[module.package] += module.lines
    print(f"{'package':<14}{'modules':>8}{'lines':>8}")
    for package in sorted(counts):
        print(
            f"{package or '(top)':<14}{counts[package]:>8}{lines[package]:>8}{'   apart' if package == SANDBOX else ''}"
        )
    page = [path for path in PAGE.rglob("*") if path.is_file()]
    page_lines = sum(path.read_text().count("\n") for path in page)
    print(f"{'page':<14}{len(page):>8}{page_lines:>8}   apart")
    total = sum(module.lines for module in house)
    print(f"{'the house':<14}{len(house):>8}{total:>8}   at most {MOST_MODULES} and {MOST_LINES:,}\n")

    rows = {
        f"files over {LONGEST_FILE} lines": [
            f"{module.name} {module.lines}" for module in house if module.lines > LONGEST_FILE
        ],
        f"files under {SHORTEST_FILE} lines, without __init__": [
            f"{module.name} {module.lines}"
            for module in house
            if module.lines < SHORTEST_FILE and not module.path.name.startswith("__")
        ],
        f"classes with more than {MOST_COLLABORATORS} collaborators": [
            f"{name} ({', '.join(sorted(used))})"
            for name, used in collaborators(house).items()
            if len(used) > MOST_COLLABORATORS
        ],
        "functions that take the ledger first": functions_that_take_the_ledger(house),
        "names of more than one class": [f"{name} ({', '.join(where)})" for name, where in twins(house).items()],
        "circles of imports": [" ".join(group) for group in circles(everything)],
    }
    for title, found in rows.items():
        print(f"{title}: {len(found)}")
        for line in found:
            print(f"  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
