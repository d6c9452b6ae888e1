"""Rules in order: the first that fits says where a file goes.

A rule is a subtree (a pattern in gitignore syntax), a form that reads what lies in it,
values that are fixed, and packs. A file that fits no rule is reported, with the rule that
came nearest. Once a header has been read and found wanting, no later rule takes the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pathspec import GitIgnoreSpec

from fwsync.errors import UsageError
from fwsync.filters import gitignore
from fwsync.layout import Unmappable, name_of
from fwsync.mapping.fields import FILE_NAME, LABEL_FIELDS, LEVEL_OF
from fwsync.mapping.forms import DEPTH, LEVELS, Form, Miss, Reading, join
from fwsync.mapping.packs import Packs
from fwsync.mapping.placing import FieldValue, Header, Placed
from fwsync.model import Address, Level, RelPath, Stamp

_GLOB = re.compile(r"[*?\[\\]")


class Scope:
    """The subtree that a rule is for.

    Args:
        pattern: gitignore syntax; empty: everything.

    Raises:
        UsageError: it is no such pattern.
    """

    def __init__(self, pattern: str = "") -> None:
        self.pattern = pattern
        self._spec: GitIgnoreSpec | None = None
        if pattern:
            self._spec = gitignore(pattern)
        self.folder = _literal_folder(pattern)

    def holds(self, path: str) -> bool:
        """True if the rule is for this path."""
        return self._spec is None or self._spec.match_file(path)

    def below(self, path: str) -> str:
        """The path from the subtree's folder on: what a template sees."""
        return path.removeprefix(f"{self.folder}/") if self.folder else path


def _literal_folder(pattern: str) -> str:
    """The folders that a pattern names before its first wildcard: ``mri`` of ``mri/**``."""
    if "/" not in pattern.rstrip("/").removeprefix("!"):
        return ""
    *folders, last = pattern.strip("/").split("/")
    if pattern.endswith("/"):
        folders.append(last)
    literal: list[str] = []
    for folder in folders:
        if _GLOB.search(folder):
            break
        literal.append(folder)
    return "/".join(literal)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; see the settings for what its parts mean."""

    title: str  #: "rule 2 (mri/**)"
    form: Form
    scope: Scope = field(default_factory=Scope)
    packs: Packs = field(default_factory=Packs)
    fixed: Mapping[Level, str] = field(default_factory=dict)
    defaults: Mapping[Level, str] = field(default_factory=dict)
    same: bool = False  #: a subject and session of which one is missing share a label
    whole_path: bool = False  #: the form sees the path from the root on

    @property
    def names_project(self) -> bool:
        """True if it says of a file which group and which project it belongs to."""
        named = self.form.levels | self.fixed.keys() | self.defaults.keys()
        return {Level.GROUP, Level.PROJECT} <= named

    @property
    def two_way(self) -> bool:
        """True if a canonical path leads back to a disk path by this rule."""
        named = self.form.levels & self.fixed.keys()
        return self.form.two_way and not named and not self.defaults and self.packs.zip_single


@dataclass(frozen=True, slots=True)
class _Memo:
    """What the last reading came to: one like it comes to the same."""

    rule: Rule
    read: Reading
    labels: tuple[str, ...]
    why: str
    fields: Mapping[str, FieldValue]


class Rules:
    """A mapping made of rules.

    Args:
        rules: in order.
        group: the only group that is mapped; None: the rules name it.
        project: the same for the project.
        both_ways: a file that does not lie where :meth:`disk_path` has its place is
            reported, as pull and sync need it. For push it may lie anywhere.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        group: str | None = None,
        project: str | None = None,
        both_ways: bool = False,
    ) -> None:
        self._rules = tuple(rules)
        # Where two rules could write the same label, the one that sets it has the right to it.
        self._writers = sorted(self._rules, key=lambda rule: -len(rule.fixed))
        self._target = {
            level: label
            for level, label in ((Level.GROUP, group), (Level.PROJECT, project))
            if label is not None
        }
        set_apart = {tuple(sorted(rule.fixed.items())) for rule in self._rules}
        self.two_way = len(set_apart) == len(self._rules) and all(
            rule.two_way for rule in self._rules
        )
        self._looks_back = both_ways and self.two_way and len(self._rules) > 1
        self._reads_headers = any(rule.form.reads_headers for rule in self._rules)
        self._memo: _Memo | None = None

    @property
    def unpacks(self) -> bool:
        """See :class:`fwsync.mapping.placing.Mapping`."""
        return any(rule.packs.unpack for rule in self._rules)

    @property
    def reads_headers(self) -> bool:
        """True if any rule may want a file's header."""
        return self._reads_headers

    @property
    def keywords(self) -> frozenset[str]:
        """What rules want to know of a header by themselves, beside what their scanner does."""
        return frozenset().union(*(getattr(one.form, "keywords", ()) for one in self._rules))

    @property
    def without_project(self) -> str:
        """The first rule that leaves the group or the project to the call; empty: none does."""
        return next((rule.title for rule in self._rules if not rule.names_project), "")

    def wants_header(self, path: RelPath, stamp: Stamp | None = None) -> bool:
        """See :class:`fwsync.mapping.placing.Mapping`."""
        if not self._reads_headers:
            return False
        for rule in self._rules:
            if not rule.scope.holds(path):
                continue
            if rule.form.wants_header(_seen(rule, path), stamp):
                return True
            if isinstance(self._by_rule(rule, path, None, stamp), Placed):
                return False
        return False

    def place(
        self, path: RelPath, header: Header | None = None, stamp: Stamp | None = None
    ) -> Placed | Unmappable:
        """See :class:`fwsync.mapping.placing.Mapping`."""
        placed = self._place(path, header, stamp)
        if not self._looks_back or isinstance(placed, Unmappable):
            return placed
        home = self.disk_path(placed.address, placed.member)
        if home == path:
            return placed
        return Unmappable(
            f"{placed.rule}; but that is the place of {home!r}",
            "give the two subtrees different labels, for example by `subject = …` in a rule",
        )

    def disk_path(self, address: Address, member: str = "") -> RelPath | Unmappable:
        """See :class:`fwsync.mapping.placing.Mapping`."""
        if not self.two_way:
            raise UsageError(
                "this layout leads from the disk to the platform only",
                hint="for pull and sync, each folder has to be a field or stand for itself",
            )
        for rule in self._writers:
            for path in _candidates(rule, address, member):
                placed = self._place(path, None, None)
                if isinstance(placed, Placed) and (placed.address, placed.member) == (
                    address,
                    member,
                ):
                    return path
        return Unmappable(
            "no path of this layout leads to it", "another layout or a rule may have one"
        )

    def pack_kind(self, address: Address) -> str:
        """See :class:`fwsync.mapping.placing.Mapping`."""
        kinds = (
            rule.packs.kind_of(address.labels, address.name) or rule.form.pack_kind(address)
            for rule in self._rules
        )
        return next(filter(None, kinds), "")

    def _place(
        self, path: RelPath, header: Header | None, stamp: Stamp | None
    ) -> Placed | Unmappable:
        nearest: tuple[Rule, Miss] | None = None
        for rule in self._rules:
            if not rule.scope.holds(path):
                continue
            placed = self._by_rule(rule, path, header, stamp)
            if isinstance(placed, Placed):
                return placed
            if nearest is None or placed.final or placed.depth > nearest[1].depth:
                nearest = rule, placed
            if placed.final:
                break
        return self._reported(nearest)

    def _reported(self, nearest: tuple[Rule, Miss] | None) -> Unmappable:
        if nearest is None:
            scopes = ", ".join(rule.scope.pattern for rule in self._rules)
            return Unmappable("no rule is for it", f"there are rules for {scopes}")
        rule, miss = nearest
        if len(self._rules) == 1 and not rule.scope.pattern:
            return Unmappable(miss.reason, miss.hint)
        return Unmappable(f"it fits no rule; nearest is {rule.title}: {miss.reason}", miss.hint)

    def _by_rule(
        self, rule: Rule, path: RelPath, header: Header | None, stamp: Stamp | None
    ) -> Placed | Miss:
        read = rule.form.read(_seen(rule, path), header, stamp)
        if isinstance(read, Miss):
            return read
        known = self._known(rule, read)
        if isinstance(known, Miss):
            if not rule.form.reads_headers or header is None:
                return known
            # A header was read and lacks a label: the file is no other rule's.
            return replace(_of_header(rule, known), final=True)
        pack = read.pack
        if pack is None and read.level is None and rule.packs:
            pack = rule.packs.pack_of(known.labels, read.rest)
        if pack is None:
            return _as_file(rule, read, known)
        name = pack.name or rule.packs.name_of(known.labels, pack.kind)
        why = f"{known.why}; {pack.why}"
        return Placed(Address(known.labels, name), why, pack.member, pack.kind, known.fields)

    def _known(self, rule: Rule, read: Reading) -> _Memo | Miss:
        """Labels and words of a reading; remembered, for the next file mostly has the same."""
        memo = self._memo
        if (
            memo is not None
            and memo.rule is rule
            and memo.read.level is read.level
            and (
                memo.read.values is read.values
                or (memo.read.saw == read.saw and memo.read.values == read.values)
            )
        ):
            return memo
        labels = self._labels(rule, read)
        if isinstance(labels, Miss):
            return labels
        why = f"{rule.title}: {read.saw}{_fixed_words(rule)}"
        memo = _Memo(rule, read, labels, why, _others(read))
        self._memo = memo
        return memo

    def _labels(self, rule: Rule, read: Reading) -> tuple[str, ...] | Miss:
        """The labels from the group down, without gaps, down to the file's container."""
        known = self._target | dict(rule.defaults)
        for level, name in LABEL_FIELDS.items():
            value = read.values.get(name)
            if value is None and level is Level.GROUP:
                value = read.values.get("group.label")
            if value is not None:
                known[level] = str(value)
        known |= rule.fixed
        if rule.same:
            for one, other in ((Level.SUBJECT, Level.SESSION), (Level.SESSION, Level.SUBJECT)):
                if one not in known and other in known:
                    known[one] = known[other]
        deepest = read.level or max(known, key=DEPTH.__getitem__, default=Level.GROUP)
        return self._without_gaps(known, deepest)

    def _without_gaps(self, known: Mapping[Level, str], deepest: Level) -> tuple[str, ...] | Miss:
        wanted = LEVELS[: DEPTH[deepest] + 1]
        missing = [level for level in wanted if level not in known]
        if missing:
            return Miss(
                f"it names the {deepest} {known.get(deepest, '')!r}, and no {missing[0]}",
                f"add {{{missing[0]}}} to the layout, or set {missing[0]} = …",
                1,
                missing=missing[0],
            )
        if len(wanted) < 2:
            return Miss("files cannot lie above a project", "move it into a project's folder")
        for level, ours in self._target.items():
            if known[level] != ours:
                return Miss(
                    f"it belongs to the {level} {known[level]!r}; only {ours!r} is kept in step",
                    "move it, or run fwsync for the other one",
                    1,
                )
        return tuple(known[level] for level in wanted)


def _seen(rule: Rule, path: str) -> str:
    return path if rule.whole_path else rule.scope.below(path)


def _as_file(rule: Rule, read: Reading, known: _Memo) -> Placed | Miss:
    labels = known.labels
    if read.name is None:
        return Miss(
            f"it lies deeper than the files of {_container(labels)}",
            "move it up, or pack the folder",
            len(labels),
        )
    # A file that is called like a pack is one: a zip of others that was not unpacked. Beside
    # members of that pack it is in their way, which whoever counts them reports.
    return Placed(Address(labels, read.name), known.why, "", read.kind, known.fields)


def _candidates(rule: Rule, address: Address, member: str) -> list[RelPath]:
    """Paths that this rule may give the address and member for."""
    labels = dict(zip(LEVELS, address.labels, strict=False))
    if member:
        rests = list(rule.packs.rests_of(address.labels, address.name, member))
        rests += [f"{stem}/{member}" for stem in (address.name.removesuffix(".zip"),) if not rests]
    else:
        rests = [name_of(address.name)]
    paths: list[RelPath] = []
    for rest in rests:
        path = rule.form.write(labels, address.level, rest)
        if path is not None:
            paths.append(join(rule.scope.folder, path))
    return paths


def _others(read: Reading) -> Mapping[str, FieldValue]:
    """What is known beyond the labels and the name."""
    return {
        name: value
        for name, value in read.values.items()
        if name not in LEVEL_OF and name != FILE_NAME
    }


def _of_header(rule: Rule, miss: Miss) -> Miss:
    """What is missing, by the elements that would have named it."""
    level = miss.missing
    made_of = getattr(rule.form, "made_of", None)
    elements = made_of(level) if made_of is not None and level is not None else ""
    if not elements:
        return miss
    return replace(
        miss,
        reason=f"its header has no {elements}, which would name the {level}",
        hint=f"--{level} LABEL names it for all files; or give dicom.{level} a second template",
    )


def _fixed_words(rule: Rule) -> str:
    return "".join(f", {level} {label!r} as set" for level, label in rule.fixed.items())


def _container(labels: tuple[str, ...]) -> str:
    return f"the {LEVELS[len(labels) - 1]} {labels[-1]!r}"
