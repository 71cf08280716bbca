"""The direction of imports between the rooms of the package, and that each room is entered by its ``__init__``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import airflow_provider_firstpromoter

PACKAGE = airflow_provider_firstpromoter.__name__
ROOT = Path(airflow_provider_firstpromoter.__path__[0])

#: The rooms that each room may import; docs/architecture.md draws them. A new room belongs here and there.
ALLOWED = {
    "refunds": "",
    "api": "refunds",
    "database": "refunds",
    "hooks": "refunds api",
    "ledger": "refunds api database",
    "pending": "refunds api database hooks ledger",
    "sync": "refunds api database hooks ledger pending",
    "reconcile": "refunds api database hooks ledger pending",
    "triggers": "refunds api database hooks ledger pending",
    "sensors": "refunds api database hooks ledger pending triggers",
    "operators": "refunds api database hooks ledger pending sync reconcile",
    "transfers": "refunds api database hooks ledger pending sync operators",
    "plugins": "",
    "sandbox": "",
}
#: Modules outside of the rooms that every room but ``refunds`` and ``sandbox`` may import.
SHARED = {"", "exceptions", "get_provider_info"}
#: The rooms that are named as Airflow wants it. Each of their modules is public.
AIRFLOWS_KINDS = {"hooks", "operators", "transfers", "sensors", "triggers", "plugins"}
HTTP = {"aiohttp", "http", "httpx", "requests", "urllib3"}
SQL = {"sqlalchemy", "sqlite3", "airflow.providers.common.sql"}


class Import(NamedTuple):
    """One imported module or name: ``room`` imports ``name`` from ``module``, at ``place``."""

    room: str
    module: str
    name: str
    place: str

    @property
    def imported_room(self) -> str | None:
        """The room, or the module outside of the rooms, that is imported; None if it is another package's."""
        package, _, inside = self.module.partition(".")
        return inside.partition(".")[0] if package == PACKAGE else None


@cache
def imports() -> list[Import]:
    """Return every import of the package, those inside of functions and for type checkers included."""
    return [found for path in sorted(ROOT.rglob("*.py")) for found in _imports_of(path)]


def _imports_of(path: Path) -> Iterator[Import]:
    inside = path.relative_to(ROOT)
    room = inside.parts[0] if len(inside.parts) > 1 else ""
    for node in ast.walk(ast.parse(path.read_text())):
        place = f"{inside}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (Import(room, alias.name, "", place) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{place}: relative imports are not used"
            yield from (Import(room, node.module or "", alias.name, place) for alias in node.names)


def exported(room: str) -> set[str]:
    """Return the names that a room exports in ``__all__``."""
    for node in ast.parse((ROOT / room / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def test_rooms_are_all_listed_and_have_a_docstring() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms <= ALLOWED.keys()
    for room in rooms - AIRFLOWS_KINDS:
        assert ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())), room


def test_rooms_import_in_one_direction() -> None:
    TopologicalSorter({room: allowed.split() for room, allowed in ALLOWED.items()}).prepare()  # raises on a circle
    wrong = []
    for found in imports():
        if not found.room or (imported := found.imported_room) is None:
            continue
        allowed = {found.room, *ALLOWED[found.room].split()}
        if found.room not in ("refunds", "sandbox"):
            allowed |= SHARED
        if imported not in allowed:
            wrong.append(f"{found.place}: {found.room} must not import {imported or PACKAGE}")
    assert not wrong, "\n".join(wrong)


def test_rooms_import_from_other_rooms_only_what_they_export() -> None:
    wrong = []
    for found in imports():
        room = found.imported_room
        if not room or room in SHARED | AIRFLOWS_KINDS | {found.room}:
            continue
        if found.module != f"{PACKAGE}.{room}":
            wrong.append(f"{found.place}: {found.module} is private to {room}")
        elif found.name not in exported(room):
            wrong.append(f"{found.place}: {room} does not export {found.name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("rooms", "forbidden"),
    [("refunds database ledger pending", HTTP), ("refunds api hooks", SQL)],
    ids=["HTTP only in api", "SQL only in database and above"],
)
def test_rooms_without_http_or_sql_import_no_library_for_it(rooms: str, forbidden: set[str]) -> None:
    wrong = [
        f"{found.place}: {found.room} must not import {found.module}"
        for found in imports()
        if found.room in rooms.split()
        and any(found.module == name or found.module.startswith(f"{name}.") for name in forbidden)
    ]
    assert not wrong, "\n".join(wrong)


def test_package_imports_neither_tests_nor_tools() -> None:
    assert not [found for found in imports() if found.module.partition(".")[0] in ("dev", "tests", "dags_examples")]
