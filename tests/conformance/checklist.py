"""The checklist: what the sandbox has to answer, and which tests assert the content of it.

A row is a route, or one aspect of it. A test says which rows it asserts:

    @pytest.mark.row("files-versions", "files-restore")
    async def test_a_restored_version_is_the_newest(api: Api) -> None: ...

``docs/reference/sandbox-routes.md`` is made of this, and the tests of the house fail on a row
that no test asserts, on a mark that names no row, and on a route of the sandbox in no row.

Marks are read from the source of the tests, without running them, so they have to be spelled as
above: on a test, on one of its ``pytest.param``, or as ``pytestmark`` of a module, with the names
written out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.conformance.rows import SECTIONS

ROOT: Final = Path(__file__).resolve().parents[2]

#: What ``{cont}`` stands for.
LEVELS: Final = ("groups", "projects", "subjects", "sessions", "acquisitions")
WORDS: Final = frozenset({*LEVELS, "analyses", "collections", "containers"})


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the checklist.

    Args:
        name: what marks call it.
        routes: ``METHOD /path`` each, as the sandbox's table has them; placeholders may have any
            name, but ``{cont}`` stands for every kind of container. May be empty: the row is
            about every route.
        says: what holds.
    """

    section: str
    name: str
    routes: tuple[str, ...]
    says: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A test that says which rows it asserts; ``where`` is its file, from the checkout's root."""

    where: str
    test: str
    rows: tuple[str, ...]


def rows() -> list[Row]:
    """Every row, in the order of the page."""
    return [
        Row(section, name, tuple(routes.split(" | ")) if routes else (), says)
        for section, lines in SECTIONS.items()
        for name, routes, says in lines
    ]


def claims(tests: Path = ROOT / "tests") -> list[Claim]:
    """Every test with a mark, sorted by file, in the order of the file."""
    found: list[Claim] = []
    for file in sorted(tests.rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if "mark.row" in text:
            found.extend(_claims_of(ast.parse(text), str(file.relative_to(tests.parent))))
    return found


def _claims_of(module: ast.Module, where: str) -> Iterator[Claim]:
    common = [
        name
        for one in module.body
        if isinstance(one, ast.Assign) and _names_pytestmark(one)
        for name in _marked(one.value)
    ]
    for one in ast.walk(module):
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name.startswith("test_"):
            own = [name for mark in one.decorator_list for name in _marked(mark)]
            if common or own:
                yield Claim(where, one.name, tuple(dict.fromkeys(common + own)))


def _names_pytestmark(one: ast.Assign) -> bool:
    return any(isinstance(to, ast.Name) and to.id == "pytestmark" for to in one.targets)


def _marked(expression: ast.expr) -> Iterator[str]:
    """The rows that ``pytest.mark.row(…)`` names, wherever it stands in the expression."""
    for one in ast.walk(expression):
        if isinstance(one, ast.Call) and ast.unparse(one.func) == "pytest.mark.row":
            for argument in one.args:
                name = ast.literal_eval(argument)  # a name that is not written out is an error
                assert isinstance(name, str), ast.unparse(one)
                yield name


def covers(row: Row, method: str, path: str) -> bool:
    """Whether a row is about a route."""
    return any(same(route, f"{method} {path}") for route in row.routes)


def same(one: str, other: str) -> bool:
    """Whether two spellings mean one route: placeholders by any name, ``{cont}`` by any kind."""
    mine, theirs = one.split("/"), other.split("/")
    return len(mine) == len(theirs) and all(map(_meet, mine, theirs))


def _meet(one: str, other: str) -> bool:
    if "{cont}" in (one, other):
        return {one, other} - {"{cont}"} <= WORDS
    return one == other or (one[:1], other[:1]) == ("{", "{")
