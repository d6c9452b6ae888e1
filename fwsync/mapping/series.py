"""Series and studies as wholes: labels that tell them apart, and one set of fields for each.

A header gives a place without a look at its neighbours. Here the neighbours are looked
at, and nothing depends on the order in which they come: two series of one label become
two acquisitions, one series of several labels becomes one.

Memory grows with the number of series, and not with that of files.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from fwsync.mapping.placing import Fields, FieldValue

#: Values of one key of info that the files of a pack may disagree on; more are left out.
MAX_VALUES = 32

#: Labels that were given, by the parent's labels and the uid.
Known: TypeAlias = Mapping[tuple[tuple[str, ...], str], str]

_NONE: Known = {}


@dataclass(frozen=True, slots=True)
class Seen:
    """A series as its headers place it; files that say the same are one of these."""

    labels: tuple[str, ...]  #: of group, project, subject, session and acquisition
    study: str  #: uid
    series: str  #: uid


def settled_labels(seen: Iterable[Seen], known: Known = _NONE) -> dict[Seen, tuple[str, ...]]:
    """The labels that each series shall have.

    Args:
        seen: each way that a series was placed, in any order, repeated or not.
        known: the label that a session or acquisition has already, by its parent's labels
            and its uid: a uid may come under several subjects. It stays, whatever else
            turns up.

    Returns:
        Labels for each of ``seen``. Studies that would share a session, and series that
        would share an acquisition, are told apart by a mark made of their uid: of those
        without a known label the one with the smallest uid goes without the mark.
    """
    every = set(seen)
    sessions = _labels(((one.labels[:3], one.study, one.labels[3]) for one in every), known)
    parents = {one: (*one.labels[:3], sessions[one.labels[:3], one.study]) for one in every}
    acquisitions = _labels(((parents[one], one.series, one.labels[4]) for one in every), known)
    return {one: (*parents[one], acquisitions[parents[one], one.series]) for one in every}


class SeriesLabels:
    """The labels of series while their files are placed, one after the other.

    Until :meth:`settle` was called they are a guess: what was given before, or else what the
    header says by itself. Mostly that is how it stays, and no file has to be placed twice.

    Args:
        known: as for :func:`settled_labels`.
    """

    def __init__(self, known: Known = _NONE) -> None:
        self._known = known
        self._given: dict[Seen, tuple[str, ...]] = {}
        self._others: set[Seen] = set()
        self.is_settled = False  #: True: these are the labels, and no guess any more

    def of(self, seen: Seen, *, by_header: bool) -> tuple[str, ...]:
        """The labels of a series.

        Args:
            seen: as its file is placed by itself.
            by_header: False: it is not by a header that the file is known to be of this
                series. It follows what headers say, and has no say of its own.
        """
        if self.is_settled:
            return self._given.get(seen, seen.labels)
        if not by_header:
            self._others.add(seen)
            return seen.labels
        if seen not in self._given:
            self._given[seen] = self._guess(seen)
        return self._given[seen]

    def _guess(self, seen: Seen) -> tuple[str, ...]:
        above, session, acquisition = seen.labels[:3], *seen.labels[3:]
        session = self._known.get((above, seen.study)) or session
        acquisition = self._known.get(((*above, session), seen.series)) or acquisition
        return (*above, session, acquisition)

    def settle(self) -> bool:
        """All series are known: give each its labels.

        Returns:
            True if every label stays that was told so far.
        """
        settled = settled_labels(self._given, self._known)
        stays = settled == self._given and all(
            settled.get(one, one.labels) == one.labels for one in self._others
        )
        self._given, self.is_settled = settled, True
        return stays

    def new(self) -> dict[tuple[tuple[str, ...], str], str]:
        """The labels that were given now, to be known the next time."""
        told = {(given[:3], one.study): given[3] for one, given in self._given.items()}
        told |= {(given[:4], one.series): given[4] for one, given in self._given.items()}
        return {key: label for key, label in told.items() if key not in self._known}


def _labels(
    children: Iterable[tuple[tuple[str, ...], str, str]], known: Known
) -> dict[tuple[tuple[str, ...], str], str]:
    """A label for each (parent, uid), no two of one parent alike.

    Args:
        children: (parent's labels, uid, label); a uid may come with several labels.
        known: as for :func:`settled_labels`.
    """
    wishes: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for parent, uid, label in children:
        before = wishes[parent].get(uid)
        wishes[parent][uid] = label if before is None else min(before, label)
    settled: dict[tuple[tuple[str, ...], str], str] = {}
    for parent, of_parent in wishes.items():
        taken = {known[parent, uid] for uid in of_parent if (parent, uid) in known}
        for uid in sorted(of_parent):
            label = known.get((parent, uid)) or _free(of_parent[uid], uid, taken)
            taken.add(label)
            settled[parent, uid] = label
    return settled


def _free(label: str, uid: str, taken: set[str]) -> str:
    if label not in taken:
        return label
    marked = f"{label} ({zlib.crc32(uid.encode()):08x})"
    return marked if marked not in taken else f"{label} ({uid})"


def merged(of_files: Iterable[Fields]) -> Fields:
    """The fields of a pack, from those of its files, whatever their order.

    Where files disagree, the smallest value counts: of times the earliest. Of a key of
    info all values are listed, or none if they are more than :data:`MAX_VALUES`.
    """
    fields: dict[str, FieldValue] = {}
    info: dict[str, dict[str, FieldValue]] = defaultdict(dict)
    for of_file in of_files:
        for name, value in of_file.items():
            if not name.startswith("file.info."):
                fields[name] = min(fields.get(name, value), value, key=_order)
            elif len(info[name]) <= MAX_VALUES:
                info[name][repr(value)] = value
    for name, found in info.items():
        if len(found) <= MAX_VALUES:
            values = sorted(found.values(), key=_order)
            fields[name] = values if len(values) > 1 else values[0]
    return fields


def _order(value: FieldValue) -> tuple[bool, float, str]:
    """Numbers before texts; numbers by size, texts by letters."""
    if isinstance(value, int | float):
        return False, value, ""
    return True, 0.0, str(value)
