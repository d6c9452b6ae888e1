"""Templates of a fixed depth, folder by folder: the fast way, and the one that leads back.

``sub-{subject}/ses-{session}/{acquisition}/{file}`` names three folders. What lies below
them is a file or, deeper, something for a pack. What lies above them belongs to what the
folders above name: ``sub-01/notes.txt`` to the subject. So every container has one folder.
"""

from __future__ import annotations

from collections.abc import Mapping

from fwsync.layout import label_of, name_of
from fwsync.mapping.fields import FILE_NAME, LEVEL_OF
from fwsync.mapping.forms import (
    DEPTH,
    LEVELS,
    Memo,
    Miss,
    PathOnly,
    Reading,
    join,
    misspelled,
)
from fwsync.mapping.placing import Header
from fwsync.mapping.templates import (
    Compiled,
    Field,
    Literal,
    Mark,
    Piece,
    components,
    shown,
    values_of,
)
from fwsync.model import Level, Stamp


class Chain(PathOnly):
    """A template whose folders are told apart by their depth.

    Args:
        tokens: of a template for which :func:`is_chain` holds.
        given: levels whose label is known without the path.
        from_root: the template begins at the root: what lies there belongs to the project.
    """

    def __init__(
        self, tokens: list[Piece], *, given: frozenset[Level], from_root: bool = True
    ) -> None:
        *self._folders, last = components(tokens)
        self._text = shown(tokens)
        self._depth = len(self._folders)
        self._flat = last == [Mark.ANY]
        self._compiled = [Compiled(folder) for folder in self._folders]
        fields = [one for each in self._compiled for one in each.fields]
        self._main = _Folders(self._folders)
        self._upper = self._upper_levels(given, from_root)
        self._memo: Memo | None = None
        self.levels = frozenset(LEVEL_OF[one.name] for one in fields if one.name in LEVEL_OF)
        self.two_way = not self._flat and all(
            isinstance(token, Literal) or (isinstance(token, Field) and token.name in LEVEL_OF)
            for folder in self._folders
            for token in folder
        )

    def read(
        self,
        path: str,
        header: Header | None,
        stamp: Stamp | None,
    ) -> Reading | Miss:
        """See :class:`fwsync.mapping.forms.Form`."""
        *folders, rest = path.split("/", self._depth)
        read = self._read_folders("/".join(folders), folders)
        if isinstance(read, Miss):
            return read
        if self._flat:
            rest = rest.rpartition("/")[2]
        elif "/" in rest:
            return Reading(read.values, read.saw, rest, None, read.level)
        name = label_of(rest)
        if name is None:
            return misspelled(rest)
        return Reading(read.values, read.saw, rest, name, read.level)

    def write(self, labels: Mapping[Level, str], level: Level, rest: str) -> str | None:
        """See :class:`fwsync.mapping.forms.Form`."""
        depth = next((at for at, upper in self._upper.items() if upper is level), self._depth)
        folders = [_written(folder, labels) for folder in self._folders[:depth]]
        if None in folders:
            return None
        return join(*(folder for folder in folders if folder is not None), rest)

    def _read_folders(self, folder: str, folders: list[str]) -> Reading | Miss:
        """What the container's folder says; remembered for the next of its files."""
        memo = self._memo
        if memo is not None and memo.key == folder:
            return memo.value
        depth = len(folders)
        if depth < self._depth and depth not in self._upper:
            value: Reading | Miss = self._too_shallow(folders)
        else:
            parts = self._main if depth == self._depth else _Folders(self._folders[:depth])
            read = parts.read(folder, self._upper.get(depth))
            value = self._explained(folders) if read is None else read
        self._memo = Memo(folder, value)
        return value

    def _upper_levels(self, given: frozenset[Level], from_root: bool) -> dict[int, Level]:
        """By depth: the container that a file in a folder further up belongs to."""
        upper: dict[int, Level] = {}
        everything = given.union(*(compiled.levels for compiled in self._compiled))
        deepest = max(everything, key=DEPTH.__getitem__, default=None)
        in_project = {Level.GROUP, Level.PROJECT} <= given and deepest is not Level.PROJECT
        if from_root and in_project and self._depth:
            upper[0] = Level.PROJECT
        known = set(given)
        for depth, compiled in enumerate(self._compiled[:-1], start=1):
            here = compiled.levels - known
            known |= here
            level = next((one for one in reversed(LEVELS) if one in here), None)
            above = LEVELS[: DEPTH[level]] if level else ()
            if level not in (None, Level.GROUP, deepest) and known.issuperset(above):
                upper[depth] = level
        return upper

    def _too_shallow(self, folders: list[str]) -> Miss:
        found = self._explained(folders)
        if found.depth < len(folders):
            return found
        lies = f"{len(folders)} folder{'s' * (len(folders) > 1)}" if folders else "the root"
        return Miss(
            f"it lies in {lies}, and {self._text} wants {self._depth}",
            "move it, or give a rule for it",
            len(folders),
        )

    def _explained(self, folders: list[str]) -> Miss:
        """The first folder that does not fit."""
        for depth, folder in enumerate(folders, start=1):
            if not self._compiled[depth - 1].regex.fullmatch(folder):
                part = shown(self._folders[depth - 1])
                return Miss(f"folder {depth} {folder!r} does not match '{part}'", "", depth - 1)
        # Each folder fits by itself: a name of two meanings, a field that stands twice, a time.
        return Miss(f"{'/'.join(folders)!r} does not match '{self._text}'", "", len(folders))


class _Folders:
    """The folders of one container as one regular expression."""

    def __init__(self, folders: list[list[Piece]]) -> None:
        tokens: list[Piece] = []
        self._where: list[int] = []  # by field: which folder it is in, from 1
        for depth, folder in enumerate(folders, start=1):
            tokens += [Mark.SLASH, *folder] if tokens else folder
            fresh = len(Compiled(tokens).fields) - len(self._where) if tokens else 0
            self._where += [depth] * fresh
        self._compiled = Compiled(tokens) if tokens else None

    def read(self, folder: str, level: Level | None) -> Reading | None:
        """What the folder says; None: it does not fit. ``rest`` is left open."""
        if self._compiled is None:
            return Reading({}, "it lies in the root", "", None, level)
        match = self._compiled.regex.fullmatch(folder)
        if match is None:
            return None
        where = [f"folder {depth}" for depth in self._where]
        values = values_of(self._compiled.fields, self._compiled.groups, match, where)
        if values is None:
            return None
        return Reading(values[0], values[1], "", None, level)


def is_chain(tokens: list[Piece]) -> bool:
    """True if the depth of a folder says which part of the template it is."""
    *folders, last = components(tokens)
    plain_end = len(last) == 1 and (
        last[0] in (Mark.ONE, Mark.ANY)
        or (isinstance(last[0], Field) and last[0].name == FILE_NAME and not last[0].regex)
    )
    fields = [one for folder in folders for one in folder if isinstance(one, Field)]
    return (
        plain_end
        and not {Mark.OPEN, Mark.CLOSE} & {one for one in tokens if isinstance(one, Mark)}
        and not any(Mark.ANY in folder for folder in folders)
        and not any("/" in one.regex for one in fields)
        and not any(one.name == FILE_NAME for one in fields)
    )


def _written(folder: list[Piece], labels: Mapping[Level, str]) -> str | None:
    """A folder's name, or None if what it names is no label."""
    pieces: list[str] = []
    for token in folder:
        if isinstance(token, Literal):
            pieces.append(token.text)
        elif isinstance(token, Field) and LEVEL_OF.get(token.name) in labels:
            pieces.append(name_of(labels[LEVEL_OF[token.name]]))
        else:
            return None
    return "".join(pieces)
