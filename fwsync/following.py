"""Which files here follow what has moved on the server, and what is new beside them.

The one rule: what is new here goes along with its folder or waits. It is never sent to where its
folder was, as that would make a container anew.

Nothing here moves a file; see :mod:`fwsync.moving`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from fwsync import moves
from fwsync.asides import begun_by_us
from fwsync.model import Decision, LocalEntry, Mode, RelPath, Unknown, Verb
from fwsync.reconcile import Rules, Scopes, judge
from fwsync.state import State
from fwsync.turned_back import begun_moves, turned_back

#: Where it is kept which folders are elsewhere on the server, while new files are left in them
#: here: where they are there, by their paths here. Nothing else says so in later runs.
_LEFT_IN: Final = "moved_with_new_files_left"


class Following:
    """Which files follow what has moved on the server; for one run, after ``State.out_of_step``.

    Args:
        state: knows both sides, and what was agreed on.
        rules: what the user asked for.
        unknown: what could not be seen, of each side.
        in_scope: False takes a path out of the run.
        selects: only a part of the project was listed. What is missing may then be in the other
            part: it is believed to be gone only where others of its container are listed.
    """

    def __init__(
        self,
        state: State,
        *,
        rules: Rules,
        unknown: Sequence[Sequence[Unknown]],
        in_scope: Callable[[RelPath], bool],
        selects: bool = False,
    ) -> None:
        self._state, self._rules, self._in_scope = state, rules, in_scope
        self._unseen = [Scopes(side) for side in unknown]
        self._back, self._moves, self._spots = self._found()
        self._listed = state.moves.containers() if selects else None
        is_whole = not selects and not unknown[1]
        moved = (
            _elsewhere(state, moves.moved_folders(self._moves, self._spots)) if self._moves else {}
        )
        self._elsewhere = _left_before(state, moved, is_whole=is_whole) | moved

    def _found(self) -> tuple[moves.Followed, list[moves.Move], dict[RelPath, moves.Spot]]:
        """What our own moves become that were taken back here, the moves of others, and spots."""
        found = self._state.moves.find()
        spots = self._state.moves.spots(found)
        begun = begun_by_us(self._state)
        ours = begun_moves(found, spots, begun) if self._rules.mode is not Mode.DOWN else {}
        if not ours:
            return moves.Followed(), found, spots
        limits = {"is_seen": self._is_seen, "in_scope": self._in_scope}
        known = self._state.moves.at(ours.values()) | spots
        gone = {one.path for one in self._state.moves.here()[0]}
        back = turned_back(ours, known, gone=gone, rules=self._rules, **limits)
        return back, [one for one in found if one.old not in back.settled], spots

    def _is_seen(self, path: RelPath) -> bool:
        return not any(scopes.covers(path) for scopes in self._unseen)

    def with_moves(self, decisions: Iterable[Decision]) -> Iterator[Decision]:
        """The decisions by paths; where ids say that files have moved, those that follow them."""
        limits = {"is_seen": self._is_seen, "in_scope": self._in_scope}
        followed = moves.follow(self._moves, self._spots, rules=self._rules, **limits)
        yield from self._back.decisions
        yield from _not_into_folders(self._state, followed.decisions)
        settled = followed.settled | self._back.settled
        left = (one for one in decisions if one.path not in settled)
        yield from (one for one in left if not _may_have_moved(one, self._listed))

    def with_new_files(self, decisions: Iterable[Decision]) -> Iterator[Decision]:
        """Those, but what is new in a folder that has moved goes along with it, or is left.

        For after all that moved here was told from what is new.
        """
        goes = self._rules.mode is not Mode.UP and not self._state.places.active
        if not self._elsewhere:
            if goes:
                _keep_left(self._state, {}, ())
            yield from decisions
            return
        decided = list(decisions)
        renames = [one for one in decided if one.verb in (Verb.RENAME, Verb.RENAME_REMOTE)]
        taken = {part.path for one in renames for part in (one, one.local) if part}
        elsewhere = _of_both_sides(self._state, renames) | self._elsewhere
        going = _going_along(
            self._state,
            elsewhere if goes else {},
            lambda path: self._is_seen(path) and self._in_scope(path) and path not in taken,
        )
        void = {one.path for one in going.values()}
        if goes:
            _keep_left(self._state, elsewhere, void | taken)
        for new, entry in going.items():
            yield Decision(Verb.RENAME, new, entry, reason=f"its folder moved, from {entry.path!r}")
            if self._rules.mode is Mode.BOTH:
                yield judge(new, replace(entry, path=new), None, None, self._rules)
        for decision in decided:
            if decision.path not in void:
                yield _not_anew(decision, elsewhere)


def _not_into_folders(state: State, decisions: Sequence[Decision]) -> Iterator[Decision]:
    """What cannot get its new path is told, and is not sent or fetched there either.

    Nor is what would come to the path that it keeps.
    """
    stays = {} if state.places.active else _staying(state, decisions)
    kept = {one.local.path for one in decisions if one.path in stays and one.local}
    for decision in decisions:
        if decision.verb is Verb.RENAME and decision.path in stays:
            reason = f"{decision.reason}; {stays[decision.path]}"
            yield replace(decision, verb=Verb.REPORT, reason=reason)
        elif decision.path not in stays and (decision.local or decision.path not in kept):
            yield decision


def _staying(state: State, decisions: Sequence[Decision]) -> dict[RelPath, str]:
    """Why files stay where they are, by the paths that they do not get.

    No file gets a path at which there is a folder here, or that lies below a file, unless what
    is in its way leaves in the same run. A deletion comes later, and clears the way for the next.
    """
    going = {
        one.path: one.local.path
        for one in decisions
        if one.verb is Verb.RENAME and one.local is not None and one.local.path != one.path
    }
    above = state.moves.files_above(going)
    below = {path: state.moves.files_below(path) for path in going}
    from_paths = set(going.values())
    stays: dict[RelPath, str] = {}
    while True:
        leaving = {old for new, old in going.items() if new not in stays}
        more = {}
        for path in going.keys() - stays.keys():
            if not leaving.issuperset(above.get(path, ())):
                more[path] = "a file here, and a folder on the server"
            elif not leaving.issuperset(below[path]):
                more[path] = "a file on the server, and a folder here"
            elif path in from_paths and path not in leaving:
                more[path] = "the file that is there stays as well"
        if not more:
            return stays
        stays |= more


def _going_along(
    state: State, elsewhere: Mapping[str, str], takes_part: Callable[[RelPath], bool]
) -> dict[RelPath, LocalEntry]:
    """The new files in folders that have moved on the server: by the paths that they get.

    Only those whose new path is free on both sides.
    """
    found: dict[RelPath, LocalEntry] = {}
    for folder in elsewhere:
        for entry in state.moves.new_below(folder):
            above = next(one for one in moves.folders_of(entry.path) if one in elsewhere)
            if above == folder and takes_part(entry.path):
                found[RelPath(elsewhere[folder] + entry.path[len(folder) :])] = entry
    free = {path for path, spot in state.moves.at(found).items() if spot == moves.Spot()}
    return {path: found[path] for path in sorted(free) if takes_part(path)}


def _elsewhere(state: State, moved: Mapping[str, str]) -> dict[str, str]:
    """Folders that have moved on the server, with those above them that nothing is left in."""
    above = moves.folders_above(moved)
    return {one: above[one] for one in state.moves.without_files(above)} | dict(moved)


def _of_both_sides(state: State, renames: Iterable[Decision]) -> dict[str, str]:
    """Folders that have moved on both sides, by their paths here; nothing else is left in them."""
    found = moves.moved_on_both(renames)
    free = state.moves.without_files(found)
    return {one: found[one] for one in free if not state.moves.agreed_below(one)}


def _left_before(state: State, moved: Mapping[str, str], *, is_whole: bool) -> dict[str, str]:
    """Folders that an earlier run has found elsewhere, and that still are so.

    Not those that are in use again, or have nothing new in them any more; nor, where the listing
    is of all that is there, those that are nowhere now.
    """
    found = {}
    for folder, to in json.loads(state.setting(_LEFT_IN) or "{}").items():
        above = next((one for one in (to, *moves.folders_of(to)) if one in moved), to)
        now = moved.get(above, above) + to[len(above) :]
        is_there = not is_whole or not state.moves.without_files([now])
        is_free = bool(state.moves.without_files([folder])) and not state.moves.agreed_below(folder)
        if is_there and is_free and state.moves.new_below(folder):
            found[folder] = now
    return found


def _keep_left(state: State, elsewhere: Mapping[str, str], going: Collection[str]) -> None:
    """Remember the folders that have moved without some new file in them."""
    left = {
        folder: to
        for folder, to in sorted(elsewhere.items())
        if any(one.path not in going for one in state.moves.new_below(folder))
    }
    text = json.dumps(left) if left else None
    if text != state.setting(_LEFT_IN):
        state.set_setting(_LEFT_IN, text)


def _not_anew(decision: Decision, elsewhere: Mapping[str, str]) -> Decision:
    """A new file is not sent to a container that has moved: there would be a second one.

    Nor to one below it, which would make those above it anew.
    """
    if not elsewhere or decision.verb is not Verb.UPLOAD or decision.base is not None:
        return decision
    above = next((one for one in moves.folders_of(decision.path) if one in elsewhere), None)
    if above is None:
        return decision
    folder = elsewhere[above] + decision.path.rpartition("/")[0][len(above) :]
    reason = (
        f"new here, and its folder is {folder!r} on the server now; it is left as it is until it "
        "is moved there"
    )
    return replace(decision, verb=Verb.REPORT, reason=reason)


def _may_have_moved(decision: Decision, listed: frozenset[str] | None) -> bool:
    """Is it missing with its whole container, where not all containers were listed?"""
    base = decision.base
    if listed is None or base is None or decision.remote is not None:
        return False
    return base.container_id not in listed
