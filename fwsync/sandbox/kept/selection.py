"""What an archive is asked for, and what is not: filters of files and of containers.

Source: SDK 23 and CLI 18.5.1; core18 (``"null"``).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

ArchiveType = Literal["classic", "full", "bulk"]

NULL: Final = "null"  # stands in a filter for what has no type, no tag


@dataclass(frozen=True, slots=True)
class PlusMinus:
    """What must be there, at least one of it, and what must not."""

    plus: frozenset[str] = frozenset()
    minus: frozenset[str] = frozenset()

    def passes(self, have: Iterable[str]) -> bool:
        """Whether something that has these passes; having none counts as having ``null``."""
        names = frozenset(have) or frozenset((NULL,))
        return not (names & self.minus) and (not self.plus or bool(names & self.plus))

    def __bool__(self) -> bool:
        return bool(self.plus or self.minus)


@dataclass(frozen=True, slots=True)
class FileFilter:
    """One of the filters of a request; a file passes if any accepts it."""

    types: PlusMinus
    tags: PlusMinus
    since: datetime | None

    def accepts(self, row: sqlite3.Row) -> bool:
        """Whether a file passes; the row has type, doc and modified."""
        if self.since is not None and datetime.fromisoformat(row["modified"]) < self.since:
            return False
        if not self.types.passes([row["type"]] if row["type"] else ()):
            return False
        return not self.tags or self.tags.passes(json.loads(row["doc"]).get("tags") or ())

    def __bool__(self) -> bool:
        return bool(self.types or self.tags or self.since)


@dataclass(frozen=True, slots=True)
class ContainerFilter:
    """A container of this level that does not pass is left out, with everything below it."""

    level: str
    field: Literal["tags", "mlset"]
    rule: PlusMinus

    def accepts(self, row: sqlite3.Row) -> bool:
        """Whether a container passes; the row has its kind, and tags and mlset as JSON or null."""
        if row["kind"] != self.level:
            return True
        if self.field == "mlset":
            return self.rule.passes([row["mlset"]] if row["mlset"] else ())
        return self.rule.passes(json.loads(row["tags"] or "[]"))
