"""Folders of an archive: what a label becomes, and that no two of them are the same.

Labels come by the million, and memory must not grow with them: names that were given out go to a
temporary file once there are many.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Final

IN_MEMORY: Final = 2000  # names
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9 ._-]")


def folder_name(label: str, kind: str) -> str:
    """A label as a folder: letters, digits, space, ``.``, ``_`` and ``-`` are kept.

    Source: core19.
    """
    safe = _UNSAFE.sub("", label).strip()
    return safe if safe.strip(".") else f"unknown_{kind}"


class Folders:
    """Names that were given out; to be closed."""

    def __init__(self) -> None:
        #: Each name, and the number that its next double tries first.
        self._few: dict[str, int] = {}
        self._many: sqlite3.Connection | None = None

    def free(self, name: str) -> str:
        """The name, or the name with ``_0``, ``_1`` … when it was given out before."""
        number = self._number(name)
        if number is None:
            self._keep(name, 0)
            return name
        while self._number(f"{name}_{number}") is not None:
            number += 1
        self._keep(name, number + 1)
        self._keep(f"{name}_{number}", 0)
        return f"{name}_{number}"

    def close(self) -> None:
        """Forget them."""
        if self._many is not None:
            self._many.close()

    def _number(self, name: str) -> int | None:
        number = self._few.get(name)
        if number is None and self._many is not None:
            row = self._many.execute("SELECT next FROM names WHERE name = ?", (name,)).fetchone()
            number = None if row is None else row[0]
        return number

    def _keep(self, name: str, number: int) -> None:
        if name in self._few or len(self._few) < IN_MEMORY:
            self._few[name] = number
            return
        if self._many is None:
            self._many = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._many.execute("PRAGMA journal_mode = OFF")
            self._many.execute("CREATE TABLE names (name TEXT PRIMARY KEY, next) WITHOUT ROWID")
            self._many.execute("BEGIN")
        self._many.execute("INSERT OR REPLACE INTO names VALUES (?, ?)", (name, number))
