"""What of a selection nothing fits: the part that is mistyped, and what is spelled like it.

The one rule: nothing is said of what was not seen. A listing that is not complete says nothing;
of a site that filters by itself, a page of its files is read, and only if nothing was selected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from fwsync.model import BELOW_PROJECT, Level, RemoteEntry, Unknown
from fwsync.remotes.flywheel_tree import Tree
from fwsync.remotes.flywheel_wire import Json
from fwsync.remotes.where import Where
from fwsync.selection import NO_TYPE, Facts, Marks, Missed, Selection, fits
from fwsync.spelling import did_you_mean

#: So many names are shown, of those that there are.
_MOST_NAMES: Final = 3

_NOTHING: Final = "no file on the server is selected"
_IS_PATTERN: Final = re.compile(r"[*?\[]")


@dataclass(slots=True)
class Tally:
    """What was said of files, selected or not, and of what holds them; what came of it."""

    taken: int = 0  #: files that were selected
    is_complete: bool = True  #: nothing stayed unknown
    count: int = 0  #: files that were looked at
    is_all: bool = True  #: False: there are more files than were looked at
    types: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)  #: the first of them
    is_named: bool = False  #: some file has a name that is asked for
    newest_ns: int = 0
    oldest_ns: int = 0
    marks: dict[str, Marks] = field(default_factory=dict)  #: by the id of the container
    fitting: set[int] = field(default_factory=set)  #: clauses of the filter that some file fits

    def took(self, page: Sequence[RemoteEntry | Unknown]) -> None:
        """A page of what is selected."""
        self.taken += len(page)
        self.is_complete = self.is_complete and not any(isinstance(one, Unknown) for one in page)

    def saw(self, facts: Facts, record: Json, selection: Selection) -> None:
        """A file, with what the server says of it."""
        self.count += 1
        self.types[NO_TYPE if facts.type is None else facts.type] += 1
        self.tags.update(facts.tags)
        self.is_named = self.is_named or selection.takes_name(facts.name)
        if len(self.names) < _MOST_NAMES:
            self.names.append(facts.name)
        self.newest_ns = max(self.newest_ns, facts.modified_ns)
        self.oldest_ns = min(self.oldest_ns or facts.modified_ns, facts.modified_ns)
        if isinstance(selection.where, Where):
            for number, clause in enumerate(selection.where.clauses):
                if number not in self.fitting and clause.accepts(record):
                    self.fitting.add(number)


def missed_of(selection: Selection, tally: Tally, tree: Tree) -> tuple[Missed, ...] | None:
    """The labels that nothing has; None: files are to be looked at, for what no file fits."""
    if not selection.is_set or not tally.is_complete:
        return ()
    found = tuple(missed_labels(selection, tree))
    return found if found or tally.taken else None


def missed_labels(selection: Selection, tree: Tree) -> Iterator[Missed]:
    """The labels that are asked for and that no container has, of a listing that is complete.

    Below a level at which nothing fits nothing was listed, and nothing is said.
    """
    for level in BELOW_PROJECT:
        patterns = selection.labels_of(level)
        labels = [
            one.labels[-1]
            for one in tree.at(level)
            if selection.takes_labels_so_far(one.labels[:-1])
        ]
        for pattern in patterns:
            if not any(fits(label, (pattern,)) for label in labels):
                yield _missed_label(selection, level, pattern, sorted(set(labels)))
        if patterns and not any(fits(label, patterns) for label in labels):
            return


def _missed_label(
    selection: Selection, level: Level, pattern: str, labels: Sequence[str]
) -> Missed:
    above = list(BELOW_PROJECT[: BELOW_PROJECT.index(level)])
    narrowed = selection.place is not None or any(selection.asks_for(one) for one in above)
    where = " in what else is selected" if narrowed else ""
    is_name = _IS_PATTERN.search(pattern) is None
    what = f"is called {pattern!r}" if is_name else f"fits {pattern!r}"
    return Missed(
        f"only_{level.value}s",
        f"no {level.value}{where} {what}",
        did_you_mean(pattern, labels) if labels else f"there is no {level.value}{where}",
        is_name,
    )


def missed_facts(selection: Selection, tally: Tally, tree: Tree) -> Iterator[Missed]:
    """The other parts of a selection that no file fits; where each is fit by some, all together.

    For a selection by which nothing was listed.
    """
    if not tally.count:
        yield Missed("", f"{_NOTHING}: there is none")
        return
    of_files = [
        *_words("only_types", "type", selection.types, tally.types),
        *_words("only_tags", "tag", selection.tags, tally.tags),
        *_names(selection, tally),
        *_times(selection, tally),
        *_clauses(selection, tally),
    ]
    if not tally.is_all:
        first = f", among the first {tally.count:,} that were looked at"
        of_files = [replace(one, text=one.text + first) for one in of_files]
    found = [*of_files, *_marks(selection, tally, tree)]
    yield from found or [Missed("", f"{_NOTHING}: none fits all that is asked for")]


def _words(setting: str, what: str, wanted: Sequence[str], there: Counter[str]) -> Iterator[Missed]:
    if wanted and not any(one in there for one in wanted):
        common = [word for word, _ in there.most_common()]
        named = " or ".join(map(repr, wanted))
        yield Missed(setting, f"no file has the {what} {named}", did_you_mean(wanted[0], common))


def _names(selection: Selection, tally: Tally) -> Iterator[Missed]:
    if not tally.is_named:
        named = " or ".join(repr(one.pattern) for one in selection.names)
        hint = f"names are such as {', '.join(tally.names)}"
        yield Missed("name_regex", f"no file has a name with {named} in it", hint)


def _times(selection: Selection, tally: Tally) -> Iterator[Missed]:
    if selection.after_ns is not None and tally.newest_ns < selection.after_ns:
        yield Missed(
            "modified_after", "no file has changed on the server since",
            f"the last change is of {_day(tally.newest_ns)}",
        )  # fmt: skip
    if selection.before_ns is not None and tally.oldest_ns >= selection.before_ns:
        yield Missed(
            "modified_before", "no file has been left as it was before that",
            f"the oldest change is of {_day(tally.oldest_ns)}",
        )  # fmt: skip


def _day(moment_ns: int) -> str:
    return f"{datetime.fromtimestamp(moment_ns / 1e9, UTC):%Y-%m-%d %H:%M} UTC"


def _clauses(selection: Selection, tally: Tally) -> Iterator[Missed]:
    if isinstance(selection.where, Where):
        for number, clause in enumerate(selection.where.clauses):
            if number not in tally.fitting:
                yield Missed("where", f"no file has {clause}", "")


def _marks(selection: Selection, tally: Tally, tree: Tree) -> Iterator[Missed]:
    by_level: dict[Level, list[Marks]] = {}
    for id_, marks in tally.marks.items():
        if id_ in tree.by_id:
            by_level.setdefault(tree.by_id[id_].level, []).append(marks)
    for level in BELOW_PROJECT:
        there = Counter(tag for one in by_level.get(level, []) for tag in one.tags)
        wanted = [tag for at, tag in selection.container_tags if at is level]
        if wanted and there.keys().isdisjoint(wanted):
            named = " or ".join(map(repr, wanted))
            hint = did_you_mean(wanted[0], [tag for tag, _ in there.most_common()])
            yield Missed("container_tags", f"no {level.value} has the tag {named}", hint)
    sets = {one.mlset or NO_TYPE for one in by_level.get(Level.SUBJECT, [])}
    if selection.mlsets and sets.isdisjoint(selection.mlsets):
        sets -= {NO_TYPE}
        named = " or ".join(selection.mlsets)
        yield Missed(
            "mlsets",
            f"no subject is in {named}",
            f"there is {', '.join(sorted(sets))}" if sets else "",
        )
