"""What the written reference pages have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

NOTE = "<!-- Written by docs/reference/generate.py from the program itself; do not edit. -->"


def explained(what: str, names: Iterable[Any], meanings: Mapping[Any, Any]) -> None:
    """Refuse a name without a meaning, and a meaning without its name."""
    missing = set(names) ^ set(meanings)
    if missing:
        raise SystemExit(f"{what}: {', '.join(map(str, missing))}: not explained, or not there")


def table(
    heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, lead: bool = True
) -> Iterator[str]:
    """A table, line by line; nothing where there are no rows."""
    rows = list(rows)
    if not rows:
        return
    if lead:
        yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    for row in rows:
        yield f"| {' | '.join(_cell(one) for one in row)} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("\\|", "|").replace("|", "\\|").split())
