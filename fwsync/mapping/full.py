"""The platform's full form: ``SUBJECTS/<s>/SESSIONS/<e>/ACQUISITIONS/<a>/FILES/<f>``.

Each container has a folder with ``FILES`` in it, so a file and a container of one name do not
meet. Source: the archives of ``POST /download?type=full``, core19; ``fw sync`` of flywheel-cli
18.5.1 writes the same. Names are spelled as :mod:`fwsync.layout` spells them, where the
platform drops characters. Its ``ANALYSES`` and sidecars are no files of a container.
"""

from __future__ import annotations

from collections.abc import Mapping

from fwsync.layout import label_of, name_of
from fwsync.mapping.fields import LABEL_FIELDS
from fwsync.mapping.forms import Memo, Miss, PathOnly, Reading, join, misspelled, names_in
from fwsync.mapping.placing import FieldValue, Header
from fwsync.model import Level, Stamp

#: The folder of a container's own files.
FILES = "FILES"

#: The folder of its analyses, which are no files of it.
ANALYSES = "ANALYSES"

_FOLDERS = {
    Level.SUBJECT: "SUBJECTS",
    Level.SESSION: "SESSIONS",
    Level.ACQUISITION: "ACQUISITIONS",
}

#: Above the folders of subjects, sessions and acquisitions, in this order.
LEVEL_FOLDERS = tuple(_FOLDERS.values())


class Full(PathOnly):
    """A tree in the platform's full form, from the project's folder on."""

    two_way = True

    def __init__(self) -> None:
        self.levels = frozenset(_FOLDERS)
        self._memo: Memo | None = None

    def read(self, path: str, header: Header | None, stamp: Stamp | None) -> Reading | Miss:
        """See :class:`fwsync.mapping.forms.Form`."""
        names = names_in(path)
        depth = _depth(names)
        container = self._container(names[:depth])
        if isinstance(container, Miss):
            return container
        if names[depth] != FILES or len(names) == depth + 1:
            return _not_in_files(names[depth:], depth)
        rest = "/".join(names[depth + 1 :])
        if len(names) > depth + 2:  # only a pack can take it
            return Reading(container.values, container.saw, rest, None, container.level)
        name = label_of(rest)
        if name is None:
            return misspelled(rest)
        return Reading(container.values, container.saw, rest, name, container.level)

    def write(self, labels: Mapping[Level, str], level: Level, rest: str) -> str | None:
        """See :class:`fwsync.mapping.forms.Form`."""
        above = [
            f"{folder}/{name_of(labels[one])}" for one, folder in _FOLDERS.items() if one in labels
        ]
        return join(*above, FILES, rest)

    def _container(self, folders: list[str]) -> Reading | Miss:
        """What the folders above FILES say; remembered for the next of its files."""
        memo = self._memo
        if memo is not None and memo.key == folders:
            return memo.value
        values: dict[str, FieldValue] = {}
        saw: list[str] = []
        value: Reading | Miss | None = None
        level: Level | None = Level.PROJECT
        for level, name in zip(_FOLDERS, folders[1::2], strict=False):
            label = label_of(name)
            if label is None:
                value = misspelled(name)
                break
            values[LABEL_FIELDS[level]] = label
            saw.append(f"{level} {label!r} from folder {2 * len(saw) + 2}")
        level = None if level is Level.ACQUISITION else level  # None: packs may take its files
        value = value or Reading(values, ", ".join(saw) or "of the project", "", None, level)
        self._memo = Memo(folders, value)
        return value


def _depth(names: list[str]) -> int:
    """How many of the names are folders of containers."""
    depth = 0
    for folder in _FOLDERS.values():
        if names[depth] != folder or len(names) < depth + 3:
            break
        depth += 2
    return depth


def _not_in_files(names: list[str], depth: int) -> Miss:
    """Why what lies beside FILES is no file of a container."""
    if names[0] == ANALYSES:
        return Miss("it is of an analysis, which is no file of a container", "", depth)
    below = next((folder for folder in [*_FOLDERS.values()][depth // 2 :]), "")
    expected = f"{below} or {FILES}" if below else FILES
    return Miss(
        f"it lies in {names[0]!r}, where {expected} is expected"
        if len(names) > 1
        else f"it does not lie in a folder {FILES}",
        f"move it into {FILES}",
        depth,
    )
