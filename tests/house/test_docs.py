"""The documentation: the reference is what the program says, and what is shown can be run."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs/reference"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?<!\S)(?:\S*/bin/)?(fwsync [a-z-][^#\n]*)")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", REFERENCE / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands_shown(page: Path) -> Iterator[list[str]]:
    """The words of every fwsync command in the page's code blocks."""
    for language, block in _FENCE.findall(page.read_text(encoding="utf-8")):
        if language not in ("sh", "ini"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if match := _COMMAND.search(line):
                yield shlex.split(match[1])


def test_the_reference_is_what_the_program_says(generator: ModuleType) -> None:
    for name, text in generator.pages().items():
        committed = (REFERENCE / name).read_text(encoding="utf-8")

        assert text == committed, f"{name}: run docs/reference/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    broken = [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]

    assert [] == broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_command_that_is_shown_exists_with_its_options(page: Path, generator: ModuleType) -> None:
    known = generator.tree()
    wrong = []
    for words in commands_shown(page):
        name = " ".join(words[:3]) if words[1] in ("plan", "conflicts") else " ".join(words[:2])
        if words[1] == "conflicts" and name not in known:
            name = "fwsync conflicts list"  # which need not be said
        if words[1] == "--version":
            continue
        options = set(generator.options(known[name])) if name in known else set()
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        if name not in known or given - options:
            wrong.append(" ".join(words))

    assert [] == wrong


def test_the_stairs_are_drawn_as_they_are() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    stairs = contracts["tool"]["importlinter"]["contracts"][0]["layers"]
    blocks = _FENCE.findall((ROOT / "docs/design.md").read_text(encoding="utf-8"))
    drawn = [line.split("  ")[0] for line in blocks[0][1].splitlines() if line[0] != " "]

    assert [re.findall(r"\w+", step) for step in stairs] == [step.split() for step in drawn]
