"""What archives held that they should not have, or lacked: counted by kind, with some names.

Its rule: it remembers a bounded number of names, however many a server sends, and it is told
to the user at the end of the run. Nothing here decides what is read.
"""

from __future__ import annotations

import re
from collections import Counter
from enum import Enum

from fwsync.model import Problem
from fwsync.remotes.tarstream import Kind

SAMPLE = 3  #: names of each kind that are remembered
_MOST = 120  # characters of a name that are shown

_DRIVE = re.compile("[A-Za-z]:")
_STEPS = re.compile(r"[/\\]")


class Oddity(Enum):
    """A way in which an archive is not what its ticket was for.

    The value is what is said of it, after the count.
    """

    # What no honest server sends.
    LEADS_OUT = "with names that lead out of their folder"
    LINK = "that are links"
    DEVICE = "that are devices or pipes"
    SPARSE = "that are sparse files"
    UNKNOWN = "of a type that there is not"
    ENDLESS = "larger than all that was asked for"
    # What a server may get wrong.
    EXTRA = "that nobody asked for"
    DOUBLED = "that came twice"
    RENAMED = "with names that were not asked for, in folders that were"
    TOO_LARGE = "larger than listed"
    TOO_SMALL = "smaller than listed"
    UNREADABLE = "that the server could not read (.MISSING)"
    WITHHELD = "that were asked for, and left out"
    MISCOUNTED = "whose ticket promised something else"
    REFUSED = "whose ticket was refused"

    @property
    def is_hostile(self) -> bool:
        """Whether it is a problem, however well the run ended.

        Nothing of an archive is ever extracted, so it did no harm; but a server that sends
        such a thing is broken into, or about to be.
        """
        return self in _HOSTILE


_HOSTILE = frozenset(
    {
        Oddity.LEADS_OUT,
        Oddity.LINK,
        Oddity.DEVICE,
        Oddity.SPARSE,
        Oddity.UNKNOWN,
        Oddity.ENDLESS,
    }
)
#: What is said of archives, where all else is said of their members.
_OF_ARCHIVES = frozenset({Oddity.MISCOUNTED, Oddity.REFUSED})
#: What became of it.
_THEN = {
    Oddity.TOO_LARGE: "asked for again",
    Oddity.TOO_SMALL: "asked for again",
    Oddity.UNREADABLE: "asked for again",
    Oddity.WITHHELD: "asked for again",
    Oddity.MISCOUNTED: "compared file by file",
    Oddity.REFUSED: "its files were asked for one by one",
}
_OF_KIND = {
    Kind.HARD_LINK: Oddity.LINK,
    Kind.SYMBOLIC_LINK: Oddity.LINK,
    Kind.DEVICE: Oddity.DEVICE,
    Kind.FIFO: Oddity.DEVICE,
    Kind.SPARSE: Oddity.SPARSE,
    Kind.OTHER: Oddity.UNKNOWN,
}


def oddity_of(name: str, kind: Kind) -> Oddity | None:
    """What is odd about a member by itself: its name or its type. None: nothing."""
    return Oddity.LEADS_OUT if leads_out(name) else _OF_KIND.get(kind)


def leads_out(name: str) -> bool:
    """Would this name, taken for a path by some system, lie outside the folder it is put in?"""
    return name.startswith(("/", "\\")) or bool(_DRIVE.match(name)) or ".." in _STEPS.split(name)


class Strays:
    """What was odd about the archives of a run."""

    def __init__(self) -> None:
        self.counts: Counter[Oddity] = Counter()
        self._samples: dict[Oddity, list[str]] = {}

    def add(self, oddity: Oddity, about: str) -> None:
        """One more; ``about`` is a name, or what was seen."""
        self.counts[oddity] += 1
        sample = self._samples.setdefault(oddity, [])
        if len(sample) < SAMPLE:
            text = about.encode("utf-8", "backslashreplace").decode()
            sample.append(text if len(text) <= _MOST else f"{text[: _MOST - 1]}…")

    def clear(self) -> None:
        """Forget all: it was told."""
        self.counts.clear()
        self._samples.clear()

    @property
    def problems(self) -> list[Problem]:
        """One for each hostile kind."""
        return [
            Problem(
                self._samples[kind][0],
                f"refused: {self._said(kind)}",
                "nothing of it was written; tell who runs the site",
            )
            for kind in self.counts
            if kind.is_hostile
        ]

    @property
    def notes(self) -> list[str]:
        """One line for each other kind."""
        return [self._said(kind) for kind in self.counts if not kind.is_hostile]

    def _said(self, kind: Oddity) -> str:
        count, sample = self.counts[kind], self._samples[kind]
        if kind in _OF_ARCHIVES:
            what = "an archive" if count == 1 else f"{count:,} archives"
        else:
            what = "a member of an archive" if count == 1 else f"{count:,} members of archives"
        then = f", {_THEN[kind]}" if kind in _THEN else ""
        shown = ", ".join(sample) + (f" and {count - len(sample):,} more" * (count > len(sample)))
        return f"{what} {kind.value}{then}: {shown}"
