"""One regular expression over the whole path: templates of no fixed depth, and the user's own.

In an expression of the user's, a group's name is a field's: ``(?P<subject>…)``,
``(?P<ses>…)``; two underscores stand for a full stop: ``(?P<session__timestamp>…)``.
Labels are taken as they stand: such a mapping is for sending only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from fwsync.errors import UsageError
from fwsync.layout import label_of, name_of
from fwsync.mapping.fields import FILE_NAME, LEVEL_OF, field_name, load
from fwsync.mapping.forms import Memo, Miss, PathOnly, Reading, misspelled
from fwsync.mapping.placing import FieldValue, Header
from fwsync.mapping.templates import Compiled, Field, Literal, Mark, Piece, shown, values_of
from fwsync.model import Level, Stamp


class Loose(PathOnly):
    """A template with optional parts, ``**``, or fields in the name of the file."""

    def __init__(self, tokens: list[Piece]) -> None:
        self._compiled = Compiled(tokens, deep_file=True)
        self._text = shown(tokens)
        self._fields = [one for one in self._compiled.fields if one.name != FILE_NAME]
        self._groups = [f"f{self._compiled.fields.index(one)}" for one in self._fields]
        names = [one.name for one in self._compiled.fields]
        self._file = f"f{names.index(FILE_NAME)}" if FILE_NAME in names else ""
        self._memo: Memo | None = None
        self.levels = self._compiled.levels
        self.two_way = all(
            isinstance(token, Literal)
            or token is Mark.SLASH
            or (isinstance(token, Field) and (token.name in LEVEL_OF or token.name == FILE_NAME))
            for token in tokens
        )

    def read(
        self,
        path: str,
        header: Header | None,
        stamp: Stamp | None,
    ) -> Reading | Miss:
        """See :class:`fwsync.mapping.forms.Form`."""
        match = self._compiled.regex.fullmatch(path)
        if match is None:
            return Miss(f"it does not match '{self._text}'")
        rest = match[self._file] if self._file else None
        if rest is None:
            rest = path.rpartition("/")[2]
        read = self._read_fields(path, match)
        if isinstance(read, Miss):
            return read
        if "/" in rest:
            return Reading(read.values, read.saw, rest)
        name = label_of(rest)
        return misspelled(rest) if name is None else Reading(read.values, read.saw, rest, name)

    def _read_fields(self, path: str, match: re.Match[str]) -> Reading | Miss:
        """All but the name of the file; remembered, for the next file mostly has the same."""
        key = _key(path, match, self._groups)
        memo = self._memo
        if memo is not None and memo.key == key:
            return memo.value
        where = [_place(path, match.start(group)) for group in self._groups]
        read = values_of(self._fields, self._groups, match, where)
        if read is None:
            return Miss(f"a name in it is no label, no time or no value of '{self._text}'")
        reading = Reading(*read, "")
        self._memo = Memo(key, reading)
        return reading

    def write(self, labels: Mapping[Level, str], level: Level, rest: str) -> str | None:
        """See :class:`fwsync.mapping.forms.Form`."""
        pieces: list[str] = []
        for token in self._compiled.tokens:
            if not isinstance(token, Field):
                pieces.append(token.text if isinstance(token, Literal) else token.value)
            elif token.name == FILE_NAME:
                pieces.append(rest)
            elif LEVEL_OF[token.name] in labels:
                pieces.append(name_of(labels[LEVEL_OF[token.name]]))
            else:
                return None
        return "".join(pieces)


class Expression(PathOnly):
    """The user's own regular expression, over the path from the root on.

    Raises:
        UsageError: it is none, or a group is no field, or none of them is a level.
    """

    two_way = False

    def __init__(self, text: str) -> None:
        try:
            self._regex = re.compile(text)
        except re.error as error:
            raise UsageError(f"{text!r} is no regular expression ({error})") from error
        self._text = text
        self._file = ""
        self._memo: Memo | None = None
        self._fields: dict[str, str] = {}
        for group in self._regex.groupindex:
            name = field_name(group.replace("__", "."))
            if name in self._fields.values():
                raise UsageError(f"{text!r} has two groups for {name}")
            if name == FILE_NAME:
                self._file = group
            self._fields[group] = name
        self._fields.pop(self._file, None)
        if not self._fields:
            raise UsageError(
                f"{text!r} names nothing", hint="name its groups, as in (?P<subject>[^/]+)"
            )
        self.levels = frozenset(
            LEVEL_OF[name] for name in self._fields.values() if name in LEVEL_OF
        )

    def read(
        self,
        path: str,
        header: Header | None,
        stamp: Stamp | None,
    ) -> Reading | Miss:
        """See :class:`fwsync.mapping.forms.Form`; the path is the whole one."""
        match = self._regex.fullmatch(path)
        if match is None:
            return Miss(f"it does not match '{self._text}'")
        own = match[self._file] if self._file else None
        rest = path.rpartition("/")[2]
        read = self._read_fields(path, match)
        if isinstance(read, Miss):
            return read
        name = own if own and "/" not in own else rest
        return Reading(read.values, read.saw, rest, name)

    def _read_fields(self, path: str, match: re.Match[str]) -> Reading | Miss:
        key = _key(path, match, self._fields)
        memo = self._memo
        if memo is not None and memo.key == key:
            return memo.value
        values: dict[str, FieldValue] = {}
        saw: list[str] = []
        for group, name in self._fields.items():
            text = match[group]
            if not text:
                continue
            value = text if name in LEVEL_OF else load(name, text)
            if value is None:
                return Miss(f"{text!r} is no {name}")
            values[name] = value
            where = _place(path, match.start(group))
            saw.append(f"{LEVEL_OF.get(name, name)} {value!r} from {where}")
        reading = Reading(values, ", ".join(saw), "")
        self._memo = Memo(key, reading)
        return reading

    def write(self, labels: Mapping[Level, str], level: Level, rest: str) -> str | None:
        """None: an expression reads, and writes nothing."""
        return None


def _key(path: str, match: re.Match[str], groups: Collection[str]) -> object:
    """What the fields of a match depend on: their texts, and what lies before their end."""
    end = max((match.end(group) for group in groups), default=0)
    return path[:end], match.group(0, 0, *groups)[2:], "/" in path[end:]


def _place(path: str, start: int) -> str:
    """Where in a path something stands, in words."""
    if "/" not in path[start:]:
        return "the file's name"
    return f"folder {path.count('/', 0, max(start, 0)) + 1}"
