"""The default layout and its two longer forms: what :class:`fwsync.layout.Layout` says.

Only packs are new: what lies deeper than an acquisition, and fits one, is a member.
"""

from __future__ import annotations

from collections.abc import Mapping

from fwsync.layout import Layout, Unmappable, is_plain
from fwsync.mapping.fields import LABEL_FIELDS
from fwsync.mapping.forms import LEVELS, Memo, Miss, PathOnly, Reading
from fwsync.mapping.placing import Header
from fwsync.model import Address, Level, RelPath, Stamp

_PIECE = "%+"  # see fwsync.layout: a name over 255 bytes goes on in the next component


class Mirror(PathOnly):
    """A tree that mirrors the platform, level by level."""

    two_way = True

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folders = len(LEVELS) - layout.top
        self._memo: Memo | None = None
        self.levels = frozenset(LEVELS[layout.top :])

    def read(
        self,
        path: str,
        header: Header | None,
        stamp: Stamp | None,
    ) -> Reading | Miss:
        """See :class:`fwsync.mapping.forms.Form`."""
        folder, _, name = path.rpartition("/")
        memo = self._memo
        if memo is not None and memo.key == folder and is_plain(name):
            known = memo.value
            if isinstance(known, Reading):
                return Reading(known.values, known.saw, name, name, known.level)
        read = self._read(path)
        if is_plain(name) and isinstance(read, Reading) and read.name == name:
            self._memo = Memo(folder, read)
        return read

    def _read(self, path: str) -> Reading | Miss:
        address = self._layout.address_of(RelPath(path))
        if not isinstance(address, Unmappable):
            return self._reading(address, path)
        deeper = self._deeper(path)
        if deeper is not None:
            return deeper
        return Miss(address.reason, address.hint)

    def write(self, labels: Mapping[Level, str], level: Level, rest: str) -> str | None:
        """See :class:`fwsync.mapping.forms.Form`."""
        folder = self._layout.container_path(tuple(labels[one] for one in Level if one in labels))
        return Layout.join(folder, rest)

    def _reading(self, address: Address, path: str) -> Reading:
        rest = path
        for _ in address.labels[self._layout.top :]:
            rest = _after_name(rest)
        values = dict(zip(LABEL_FIELDS.values(), address.labels, strict=False))
        saw = ", ".join(
            f"{level} {label!r} from folder {number}"
            for number, (level, label) in enumerate(
                list(zip(Level, address.labels, strict=False))[self._layout.top :], start=1
            )
        )
        level = None if address.level is Level.ACQUISITION else address.level
        return Reading(values, saw or "it lies in the root", rest, address.name, level)

    def _deeper(self, path: str) -> Reading | None:
        """What lies below an acquisition's folder: the container, and no name."""
        rest = path
        for _ in range(self._folders):
            if "/" not in rest:
                return None
            rest = _after_name(rest)
        container = path[: len(path) - len(rest)]
        address = self._layout.address_of(RelPath(container + "x"))
        if isinstance(address, Unmappable) or "/" not in rest:
            return None
        found = self._reading(address, container + "x")
        return Reading(found.values, found.saw, rest, None, found.level)


def _after_name(path: str) -> str:
    """The path without its first name, which may be cut in pieces."""
    first, _, rest = path.partition("/")
    while first.endswith(_PIECE) and rest:
        first, _, rest = rest.partition("/")
    return rest
