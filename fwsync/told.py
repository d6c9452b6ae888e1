"""How much of one file was counted as progress, and taken back when it has to be sent again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from fwsync.model import RelPath

#: Told of every piece that has left us: path and bytes, negative when they have to be sent again.
Advanced: TypeAlias = Callable[[RelPath, int], None]

_EARLIER: Final = -1  # in place of the offset of a reading: what an earlier try has told


class Told:
    """The bytes of one file that were counted, by where the reading of them began.

    Args:
        path: the file's.
        advanced: is told.
        earlier: bytes that an earlier try has told; taken back when the first reading begins.
    """

    def __init__(self, path: RelPath, advanced: Advanced, earlier: int = 0) -> None:
        self._path = path
        self._advanced = advanced
        self._by_reading = {_EARLIER: earlier}

    @property
    def total(self) -> int:
        """Bytes that are counted now."""
        return sum(self._by_reading.values())

    def begin(self, *readings: int) -> None:
        """Readings begin, perhaps not for the first time: what they had told is taken back.

        Args:
            readings: where each begins, in bytes; or any negative number but -1.
        """
        for one in (_EARLIER, *readings):
            self._advanced(self._path, -self._by_reading.pop(one, 0))
            self._by_reading[one] = 0

    def more(self, reading: int, size: int) -> None:
        """So many bytes more of a reading have left us; fewer, where it is negative."""
        self._advanced(self._path, size)
        self._by_reading[reading] = self._by_reading.get(reading, 0) + size
