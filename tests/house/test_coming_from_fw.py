"""The page for those who come from ``fw``: every option and every test that it names is there."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from fwsync.config import Settings
from fwsync.mapping.duplicates import DD_CODES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "coming-from-fw.md"
DICOM = ROOT / "docs" / "guides" / "dicom.md"

_QUOTED = re.compile(r"`([^`]+)`")
_NO_SETTING = re.compile(r"[A-Z_]+_?|bids|full|skip|local|replace|fwsync .*|[A-Z]+.*")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/reference/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tables(page: Path) -> list[list[list[str]]]:
    """The cells of a page's tables, without their heads."""
    found: list[list[list[str]]] = [[]]
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif found[-1]:
            found.append([])
    return [table[2:] for table in found if table]


MUST, OPTIONS, DOWN, DEFECTS = tables(PAGE)
ROWS = [(row[0], row[1], row[2]) for row in MUST] + [
    (row[0], row[2], row[3]) for row in [*OPTIONS, *DOWN]
]


def functions_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {one.name for one in ast.walk(tree) if isinstance(one, functions)}


@pytest.mark.parametrize("cell", [row[-1] for row in [*MUST, *OPTIONS, *DOWN, *DEFECTS] if row[-1]])
def test_a_test_that_is_named_is_there(cell: str) -> None:
    for name in _QUOTED.findall(cell):
        file, _, function = name.partition("::")

        assert function in functions_in(ROOT / file), name


@pytest.mark.parametrize(("what", "here", "test"), ROWS)
def test_what_is_here_has_a_test_and_what_is_not_has_a_reason(
    what: str, here: str, test: str
) -> None:
    refused = re.search(r"not offered( yet|: \w|\b.*: \w|.* as a flag: \w)", here)

    assert test or refused, what


@pytest.mark.parametrize(("what", "here", "test"), ROWS)
def test_an_option_or_setting_that_is_named_is_there(
    what: str, here: str, test: str, generator: ModuleType
) -> None:
    known = {option for one in generator.tree().values() for option in generator.options(one)}
    settings = {name.removesuffix("_s") for name in Settings.model_fields}
    for name in _QUOTED.findall(here):
        if name.startswith("--"):
            assert name.split()[0] in known, (what, name)
        elif not _NO_SETTING.fullmatch(name):
            assert name.partition(" = ")[0] in settings, (what, name)


def test_each_option_of_ingest_and_each_defect_has_its_row() -> None:
    assert [row[0] for row in DOWN] == [f"D{number}" for number in range(1, 27)]
    assert [row[0] for row in OPTIONS] == [f"U{number}" for number in range(1, 42)]
    assert [row[0] for row in DEFECTS] == [str(number) for number in range(1, 12)]


def test_each_code_for_what_is_double_is_explained() -> None:
    rows = [row for table in tables(DICOM) for row in table if row[1].startswith("DD")]

    assert {row[0].strip("`"): row[1] for row in rows} == {
        code.value: number for code, number in DD_CODES.items()
    }
