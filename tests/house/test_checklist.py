"""The checklist of the sandbox: every row has a test, every mark a row, every route a row."""

from collections import Counter
from pathlib import Path

import pytest

from fwsync.sandbox.routes import ROUTES
from tests.conformance import checklist

ROWS = checklist.rows()
CLAIMS = checklist.claims()


def test_every_row_has_a_test_that_asserts_its_content() -> None:
    claimed = {name for claim in CLAIMS for name in claim.rows}

    assert [] == [row.name for row in ROWS if row.name not in claimed]


def test_every_mark_names_a_row() -> None:
    known = {row.name for row in ROWS}
    unknown = [
        f"{claim.where}: {claim.test}: {name}"
        for claim in CLAIMS
        for name in claim.rows
        if name not in known
    ]

    assert [] == unknown


def test_every_route_of_the_sandbox_is_in_a_row() -> None:
    assert [] == [
        f"{route.method} {route.path}"
        for route in ROUTES
        if not any(checklist.covers(row, route.method, route.path) for row in ROWS)
    ]


def test_every_route_of_a_row_is_served() -> None:
    served = [(route.method, route.path) for route in ROUTES]
    missing = [
        f"{row.name}: {route}"
        for row in ROWS
        for route in row.routes
        if not any(checklist.same(route, f"{method} {path}") for method, path in served)
    ]

    assert [] == missing


def test_a_row_has_one_name_and_says_something() -> None:
    names = Counter(row.name for row in ROWS)

    assert [] == [name for name, count in names.items() if count > 1]
    assert [] == [row.name for row in ROWS if not row.says]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("GET /files/{id}", "GET /files/{file_id}", True),
        ("GET /files/{id}", "GET /files/list", False),
        ("GET /{cont}/{id}", "GET /groups/{id}", True),
        ("GET /{cont}/{id}", "GET /upload/{id}", False),
        ("GET /{cont}", "GET /{cont}", True),
        ("GET /files", "PUT /files", False),
        ("GET /files", "GET /files/{id}", False),
    ],
)
def test_spellings_of_a_route_meet(one: str, other: str, expected: bool) -> None:
    assert expected is checklist.same(one, other) is checklist.same(other, one)


MODULE = """
import pytest
pytestmark = [pytest.mark.row("all"), pytest.mark.tools]

@pytest.mark.row("one", "two")
async def test_marked(): ...

@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.row("three"))])
def test_by_parameter(n): ...

def helper(): ...

class TestGrouped:
    @pytest.mark.row("four")
    def test_inside(self): ...
"""


def test_marks_are_read_from_the_source(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_some.py").write_text(MODULE)

    assert {
        "test_marked": ("all", "one", "two"),
        "test_by_parameter": ("all", "three"),
        "test_inside": ("all", "four"),
    } == {claim.test: claim.rows for claim in checklist.claims(tmp_path / "tests")}
