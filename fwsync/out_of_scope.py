"""Files that leave the scope: by a name that takes no part, or by a filter that is new.

Its rules: what is still on this disk was not deleted, and is not deleted on the server. The disk
is only asked where something would be. And what takes part again after a filter was lifted is
met for the first time, so that nothing reads as deleted that nobody has watched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fwsync import scanner
from fwsync.errors import FwsyncError
from fwsync.filters import Filters
from fwsync.model import BaseEntry, Decision, LocalEntry, RelPath, Verb
from fwsync.state import State

#: The setting that says what was excluded in the last run.
_EXCLUDED = "excluded"


def meet_anew(state: State, filters: Filters) -> bool:
    """What an earlier run excluded and this one does not is met for the first time.

    For after a scan and a listing, and once is hashed what must be. Files that are as both sides
    had agreed stay agreed; what was agreed on others is forgotten: what happened to them meanwhile
    nobody has seen. A deletion that a run saw before, and held, stays held. Files that a layout has
    elsewhere are left: a pack that a filter had taken a file of stays. Costs a look at the files
    that are out of step, when a filter has changed.

    Returns:
        Was anything forgotten? Then there is more to hash.
    """
    excluding, before = filters.excluding, state.setting(_EXCLUDED) or ""
    if state.places.active or excluding == before:
        return False
    anew: list[RelPath] = []
    if before:
        earlier = Filters.as_excluding(before)
        rows = state.out_of_step()[2]
        anew = [
            one.path
            for one in rows
            if not earlier.is_in(one.path)
            and filters.is_in(one.path)
            and not (one.held and _is_gone_still(state, one))
        ]
        state.forget_agreed(anew)
    state.set_setting(_EXCLUDED, excluding or None)
    return bool(anew)


def _is_gone_still(state: State, held: BaseEntry) -> bool:
    """Is a file that one side deleted, and the other has kept, still as it was there: not there?"""
    seen = state.glance(held.path)
    return not seen.is_here if held.held == "local" else seen.remote is None


class _Unfiltered(Filters):
    """Everything takes part, whatever the files in the folders say."""

    def take(self, folder: str, patterns: Sequence[str]) -> None:
        """Their patterns are of no account."""


def keeping(
    decisions: Iterable[Decision], root: Path, root_fd: int, filters: Filters
) -> Iterator[Decision]:
    """The decisions, but nothing is deleted there that lies here under an excluded name.

    Blocks: where there is a deletion and a filter, it walks the root, and reads the excluded
    files that are as large as one that is to be deleted.

    Args:
        decisions: of one run.
        root: the folder; ``root_fd`` is its descriptor.
        filters: what takes no part, as the scan of this run has left them.
    """
    ordered = list(decisions)
    deletions = [one for one in ordered if one.verb is Verb.DELETE_REMOTE]
    if filters.idle or not deletions:
        yield from ordered
        return
    lies_at = _found(deletions, root, root_fd, filters)
    for decision in ordered:
        if decision.verb is Verb.DELETE_REMOTE and decision.path in lies_at:
            reason = f"is {lies_at[decision.path]!r} here now, which takes no part; it stays there"
            yield replace(decision, verb=Verb.REPORT, reason=reason)
        else:
            yield decision


def _found(
    deletions: Sequence[Decision], root: Path, root_fd: int, filters: Filters
) -> dict[RelPath, RelPath]:
    """Where files of the same content lie, each for one of the deleted ones at most."""
    waiting: dict[str, list[RelPath]] = {}
    sizes: set[int] = set()
    for one in sorted(deletions, key=lambda one: one.path, reverse=True):
        if one.base is not None and one.base.size:
            waiting.setdefault(one.base.local_etag, []).append(one.path)
            sizes.add(one.base.size)
    found: dict[RelPath, RelPath] = {}
    for entry in scanner.walk(root_fd, ignore=_Unfiltered()):
        if not isinstance(entry, LocalEntry) or entry.size not in sizes:
            continue
        if filters.is_in(entry.path):
            continue
        try:
            hashed, _ = scanner.hash_file(root, entry, want_digest=False)
        except FwsyncError:
            continue
        if paths := waiting.get(hashed.etag or ""):
            found[paths.pop()] = entry.path
    return found
