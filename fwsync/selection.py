"""Which of the server's files take part in a run, by what the server says of them.

The one rule: a selection changes what takes part, and never what anything means. What is not
selected is neither fetched nor deleted nor read as gone, on either side; and of a file that
the listing does not have, only what its path says is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from fwsync.model import BELOW_PROJECT, Level, RelPath

#: How a file is named that has no type. Source: core18, filters of download tickets.
NO_TYPE = "null"


class Condition(Protocol):
    """A condition on a file's record, in the language of the server's lists."""

    @property
    def text(self) -> str:
        """As it was written."""
        ...

    def accepts(self, record: Mapping[str, object]) -> bool:
        """Whether a file whose record this is satisfies it."""
        ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What a listing says of a file, beside where it lies."""

    name: str  #: the server's
    type: str | None
    tags: Sequence[str]
    modified_ns: int  #: the server's clock; 0: it does not say


@dataclass(frozen=True, slots=True)
class Marks:
    """What a listing says of a container, beside its label."""

    tags: Sequence[str]
    mlset: str | None = None  #: of a subject: Training, Testing or Validation


@dataclass(frozen=True, slots=True)
class Place:
    """A part of one project that a call names: a subject, a session, an acquisition, a file."""

    labels: tuple[str, ...]  #: from the group down, as the server has them
    #: Of the containers below the project, from the subject down; () where a file of the
    #: project itself is named.
    ids: tuple[str, ...]
    name: str = ""  #: of the file; empty: all that lies at the place and below

    def __str__(self) -> str:
        return "/".join([*self.labels, *([self.name] if self.name else [])])

    @property
    def level(self) -> Level:
        """Of the container that is named, or that holds the file."""
        return list(Level)[len(self.labels) - 1]


@dataclass(frozen=True, slots=True)
class Selection:
    """What takes part; whatever is left empty asks for nothing.

    Of several types, tags, names or labels that are asked for, one will do.
    """

    types: tuple[str, ...] = ()
    not_types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    not_tags: tuple[str, ...] = ()
    names: tuple[re.Pattern[str], ...] = ()  #: found anywhere in a file's name
    subjects: tuple[str, ...] = ()  #: patterns of the shell, for labels
    sessions: tuple[str, ...] = ()
    acquisitions: tuple[str, ...] = ()
    after_ns: int | None = None  #: changed on the server at this time or later
    before_ns: int | None = None  #: changed on the server before this time
    where: Condition | None = None
    place: Place | None = None
    container_tags: tuple[tuple[Level, str], ...] = ()  #: of what a file lies in, level by level
    not_container_tags: tuple[tuple[Level, str], ...] = ()
    mlsets: tuple[str, ...] = ()  #: of the subject; :data:`NO_TYPE`: it has none
    not_mlsets: tuple[str, ...] = ()

    @property
    def is_set(self) -> bool:
        """False if every file takes part."""
        return self != EVERYTHING

    @property
    def asks_the_server(self) -> bool:
        """True if it asks for what only the server knows of a file: no path can answer it."""
        times = self.after_ns is not None or self.before_ns is not None
        asked = (self.types, self.not_types, self.tags, self.not_tags)
        return times or any(asked) or self.where is not None or self.asks_containers

    @property
    def asks_containers(self) -> bool:
        """True if it asks for what only the server knows of a container."""
        return bool(
            self.container_tags or self.not_container_tags or self.mlsets or self.not_mlsets
        )

    def labels_of(self, level: Level) -> tuple[str, ...]:
        """The patterns for the labels of a level; none: any label will do."""
        patterns = {
            Level.SUBJECT: self.subjects,
            Level.SESSION: self.sessions,
            Level.ACQUISITION: self.acquisitions,
        }
        return patterns.get(level, ())

    def takes_labels(self, labels: Sequence[str]) -> bool:
        """Do files take part that lie in a container, by its labels from the group down?

        One that lies above a level that is asked for has no such label, and takes none.
        """
        asked = any(self.labels_of(level) for level in list(Level)[len(labels) :])
        return not asked and self.takes_labels_so_far(labels)

    def takes_labels_so_far(self, labels: Sequence[str]) -> bool:
        """Can files take part that lie in a container, or anywhere below it?"""
        return all(
            not (patterns := self.labels_of(level)) or fits(label, patterns)
            for level, label in zip(Level, labels, strict=False)
        )

    def takes_marks(self, marks: Mapping[Level, Marks], *, so_far: bool = False) -> bool:
        """Do files take part that lie in a container, by what is said of it and of those above?

        Args:
            marks: of the levels that there are.
            so_far: what lies below may still have what is asked for.
        """
        for level in BELOW_PROJECT:
            known = marks.get(level)
            if known is None and so_far:
                continue
            is_subject = level is Level.SUBJECT
            wanted = {tag for at, tag in self.container_tags if at is level}
            if known is None:  # it lies above this level: it has nothing that could be refused
                if wanted or (is_subject and self.mlsets):
                    return False
                continue
            refused = {tag for at, tag in self.not_container_tags if at is level}
            if (wanted and wanted.isdisjoint(known.tags)) or not refused.isdisjoint(known.tags):
                return False
            if is_subject and not self._takes_mlset(known.mlset or NO_TYPE):
                return False
        return True

    def _takes_mlset(self, mlset: str) -> bool:
        return (not self.mlsets or mlset in self.mlsets) and mlset not in self.not_mlsets

    def asks_for(self, level: Level) -> bool:
        """True if a file takes part only in certain containers of a level, and not above it."""
        sets = level is Level.SUBJECT and bool(self.mlsets)
        return (
            bool(self.labels_of(level)) or sets or any(at is level for at, _ in self.container_tags)
        )

    def takes_name(self, name: str) -> bool:
        """Does a file of this name take part, wherever it lies?"""
        return not self.names or any(one.search(name) for one in self.names)

    def takes(self, facts: Facts) -> bool:
        """Does this file take part, as far as it depends on the file itself?"""
        kind = NO_TYPE if facts.type is None else facts.type
        return (
            self.takes_name(facts.name)
            and (not self.types or kind in self.types)
            and kind not in self.not_types
            and (not self.tags or not set(self.tags).isdisjoint(facts.tags))
            and set(self.not_tags).isdisjoint(facts.tags)
            and (self.after_ns is None or facts.modified_ns >= self.after_ns)
            and (self.before_ns is None or facts.modified_ns < self.before_ns)
        )


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Missed:
    """A part of a selection that nothing fits: perhaps it is mistyped."""

    setting: str  #: that it comes from; empty: it is all of them together
    text: str
    hint: str = ""
    is_name: bool = False  #: one thing is named, and not whatever fits

    def __str__(self) -> str:
        said = f"{self.setting}: {self.text}" if self.setting else self.text
        return f"{said} ({self.hint})" if self.hint else said


@dataclass(frozen=True, slots=True)
class Reach:
    """Which of the paths that a listing lacks it would have had, were there such files."""

    #: None: none of them, since no path says what was asked for.
    covers: Callable[[RelPath], bool] | None
    missed: tuple[Missed, ...] = ()  #: of the selection, in a listing that is complete


def fits(label: str, patterns: Sequence[str]) -> bool:
    """True if a label fits one of the patterns, or is spelled like one."""
    return any(label == one or fnmatchcase(label, one) for one in patterns)
