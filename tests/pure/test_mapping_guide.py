"""The guide to layouts: every example in it is true."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwsync.layout import Unmappable
from fwsync.model import RelPath
from tests.pure.mappings import mapping

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/layouts.md"
_EXAMPLE = re.compile(r"```toml\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def examples() -> Iterator[tuple[str, str, str]]:
    """Settings, a path, and what the guide says of it."""
    for settings, lines in _EXAMPLE.findall(GUIDE.read_text("utf-8")):
        for line in lines.splitlines():
            path, _, said = line.partition("→")
            yield settings, path.strip(), said.strip()


def test_the_guide_has_examples_of_each_kind() -> None:
    said = [said for _, _, said in examples()]

    assert len(said) > 30
    assert any("::" in one for one in said)
    assert any(one.startswith("reported") for one in said)


@pytest.mark.parametrize(("settings", "path", "said"), list(examples()))
def test_an_example_is_true(settings: str, path: str, said: str) -> None:
    table = tomllib.loads(settings)
    place = mapping(*table.pop("rules", ()), **table).place(RelPath(path))

    if isinstance(place, Unmappable):
        assert said == f"reported: {place.reason}"
    else:
        member = f" :: {place.member}" if place.member else ""
        assert said == " / ".join([*place.address.labels[2:], place.address.name]) + member
