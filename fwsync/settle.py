"""When is a folder finished? Wait until it has been quiet, and say so again when it was not.

There is no sure sign that an acquisition is complete, so settling is repeatable: a late
slice arms the folder again, and what comes is added to what went. Pure: time is passed
in, always monotonic, so that a clock that jumps settles nothing early and holds nothing up.

What is still being written is also known by its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from fwsync.filters import HIDDEN
from fwsync.model import LocalEntry, RelPath

#: Names of files that are still being written, as gitignore patterns; `watch` leaves them out
#: where nothing else has a word to say, so that ``!.bidsignore`` brings one back.
#: Sources: rsync and editors (dot files), curl and Firefox (.part), Chrome (.crdownload),
#: WinSCP (.filepart), Samba and Windows copies (.tmp, ~$…), rclone (.partial).
PARTIAL_NAMES = (
    "*.part",
    "*.partial",
    "*.tmp",
    "*.crdownload",
    "*.filepart",
    "~*",
    "*~",
    HIDDEN,
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """All that is compared of a folder from one scan to the next."""

    count: int  #: files
    total: int  #: bytes
    newest_ns: int  #: the latest modification time
    mark: int  #: over path, size, modification time and inode of each; means nothing elsewhere


EMPTY = Fingerprint(0, 0, 0, 0)


def include(so_far: Fingerprint, entry: LocalEntry) -> Fingerprint:
    """The fingerprint with one file more; files come in the scan's order."""
    stamp = entry.stamp
    return Fingerprint(
        so_far.count + 1,
        so_far.total + stamp.size,
        max(so_far.newest_ns, stamp.mtime_ns),
        hash((so_far.mark, entry.path, stamp.size, stamp.mtime_ns, stamp.inode)),
    )


def fingerprint(entries: Iterable[LocalEntry]) -> Fingerprint:
    """The fingerprint of a folder's files, which come in the scan's order."""
    so_far = EMPTY
    for entry in entries:
        so_far = include(so_far, entry)
    return so_far


@dataclass(slots=True)
class _Waiting:
    fingerprint: Fingerprint
    quiet_since: float  #: monotonic: when this fingerprint was first seen
    restless_since: float  #: monotonic: when the folder was first seen unsettled
    settled: bool = False


class Settler:
    """Says which folders have been quiet for long enough.

    Args:
        settle_s: how long a fingerprint must stay the same; 0: everything is settled at once.
        max_age_s: a folder that never gets quiet is let through after this long, each time;
            None: it is held for as long as it changes.
    """

    def __init__(self, settle_s: float, max_age_s: float | None = None) -> None:
        self.settle_s = settle_s
        self.max_age_s = max_age_s
        self._folders: dict[RelPath, _Waiting] = {}

    def observe(self, folder: RelPath, seen: Fingerprint, now: float) -> bool:
        """Take what a scan saw of a folder; is it settled?

        Args:
            folder: the unit that is finished or not: an acquisition's folder.
            seen: its fingerprint in this scan.
            now: monotonic seconds, taken when the scan began.
        """
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = _Waiting(seen, now, now)
        elif known.fingerprint != seen:
            if known.settled:  # re-armed: a late file has an age of its own
                known.restless_since = now
            known.fingerprint, known.quiet_since, known.settled = seen, now, False
        if not known.settled:
            known.settled = now >= self._due(known)
        return known.settled

    def keep_only(self, folders: Collection[RelPath]) -> None:
        """Forget every folder but these, after a scan of everything: the others are gone."""
        for folder in self._folders.keys() - set(folders):
            del self._folders[folder]

    def forget(self, folder: RelPath) -> None:
        """The folder is gone; if it comes back it waits anew."""
        self._folders.pop(folder, None)

    def next_due(self, now: float) -> float | None:
        """Seconds until the next folder could settle: when to look again. None: none waits."""
        dues = [self._due(one) for one in self._folders.values() if not one.settled]
        return max(0.0, min(dues) - now) if dues else None

    def waiting(self, now: float) -> dict[RelPath, float]:
        """The folders held back, and how many seconds each has still to stay quiet."""
        return {
            folder: max(0.0, self._due(one) - now)
            for folder, one in self._folders.items()
            if not one.settled
        }

    def _due(self, one: _Waiting) -> float:
        quiet = one.quiet_since + self.settle_s
        if self.max_age_s is None:
            return quiet
        return min(quiet, one.restless_since + self.max_age_s)
