"""Packs that came down, or went, in a run that died before it said so: seen before a plan is made.

The one rule: a pack of which a note says that it is not all in place is left alone, whatever the
files look like; one that a receipt tells of is what the server has, and no conflict. Nor is one
that the server has made a zip of, where it still holds here what it held then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from fwsync import packs
from fwsync.errors import FileProblem, RemoteError, Unavailable
from fwsync.model import Decision, LocalEntry, RelPath, RemoteEntry, Unknown, Verb
from fwsync.ports import RemoteReader, RouteName
from fwsync.state import State, StateThread
from fwsync.threads import in_thread
from fwsync.unpacking.aside import Receipt, is_begun, left_there, receipt_of

#: Verbs that change nothing about a file that both sides have.
_SETTLED: Final = frozenset({Verb.NOTHING, Verb.ADOPT, Verb.HOLD, Verb.FORGET})


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What killed runs left, of the files that a plan speaks of."""

    #: Packs that hold what the server has, as they are here, with their tags.
    whole: Mapping[RelPath, LocalEntry] = field(default_factory=dict)
    half: Sequence[Unknown] = ()  #: packs of which some is in place, perhaps, and some not
    #: Packs that were read to find out, and the wall clock before each was.
    read: Sequence[tuple[LocalEntry, int]] = ()

    def __bool__(self) -> bool:
        return bool(self.whole or self.half or self.read)

    def adopted(self, decisions: Iterable[Decision]) -> Iterator[Decision]:
        """The decisions, but what is whole is agreed on."""
        for decision in decisions:
            if decision.path in self.whole and decision.verb not in _SETTLED:
                # The digest that may be known is of our zip of them, which is not the server's.
                local = replace(self.whole[decision.path], digest=None)
                yield replace(
                    decision,
                    verb=Verb.ADOPT,
                    local=local,
                    reason="moved by a run that was cut short",
                )
            else:
                yield decision


async def find(
    root_fd: int,
    parts: str,
    decisions: Sequence[Decision],
    state: StateThread,
    reader: RemoteReader,
) -> Leftovers:
    """Look for what killed runs left; where they left nothing, at one folder and one table.

    Args:
        root_fd: the root.
        parts: the folder for parts, below it.
        decisions: as they would be without.
        state: knows the uploads that were begun.
        reader: is asked about zips that it may have made of them.

    Raises:
        LocalError: the folder for parts cannot be listed.
        AuthError, Unavailable: the server does not say.
    """
    begun, came = await in_thread(_left, root_fd, parts, decisions)
    half = [_half(one.path) for one in begun]
    told = [*_came(came), *await _went(decisions, state, reader)]
    whole: dict[RelPath, LocalEntry] = {}
    read: list[tuple[LocalEntry, int]] = []
    for seen, tags in told:
        local = seen
        if local.etag is None:
            try:
                read.append(await packs.hash_pack(root_fd, local, want_digest=False))
            except FileProblem as error:
                half.append(Unknown(local.path, error.message))
                continue
            local = read[-1][0]
        if local.etag in tags:
            whole[local.path] = local
    return Leftovers(whole, half, read)


def _left(
    root_fd: int, parts: str, decisions: Iterable[Decision]
) -> tuple[list[Decision], list[tuple[Decision, Receipt]]]:
    """Decisions on packs that are half in place, and on such as there is a receipt of."""
    begun: list[Decision] = []
    came: list[tuple[Decision, Receipt]] = []
    is_left = left_there(root_fd, parts)
    for decision in decisions:
        if not is_left(decision.path):
            continue
        if is_begun(root_fd, parts, decision.path):
            begun.append(decision)
            continue
        local, remote = decision.local, decision.remote
        receipt = receipt_of(root_fd, parts, decision.path)
        if receipt is not None and local is not None and local.pack is not None and remote:
            came.append((decision, receipt))
    return begun, came


def _came(came: Iterable[tuple[Decision, Receipt]]) -> Iterator[tuple[LocalEntry, set[str]]]:
    """Packs that came down as what is there now, each with the tag that it had then."""
    for decision, receipt in came:
        assert decision.local is not None, f"{decision.path}: nothing here"
        assert decision.remote is not None, f"{decision.path}: nothing there"
        if receipt.version == decision.remote.etag:
            yield decision.local, {receipt.tag}


async def _went(
    decisions: Iterable[Decision], state: StateThread, reader: RemoteReader
) -> list[tuple[LocalEntry, set[str]]]:
    """Packs that went up to be what is there now, each with the tags that it had then."""
    begun = await state.call(_begun)
    went = []
    for decision in decisions if begun else ():
        local, remote = decision.local, decision.remote
        if decision.path not in begun or decision.verb in _SETTLED:
            continue
        if local is None or local.pack is None or remote is None:
            continue
        if tags := await _tags_of(state, reader, local, remote):
            went.append((local, tags))
    return went


async def _tags_of(
    state: StateThread, reader: RemoteReader, local: LocalEntry, remote: RemoteEntry
) -> set[str]:
    """The tags of the packs that the server made this very zip of; none: no upload ended so."""
    assert local.pack is not None, f"{local.path}: is no pack"
    sizes = {one.name: one.entry.size for one in local.pack.members}
    tags = set()
    for upload in await state.call(lambda s: s.uploads.find(local.path, RouteName.PACKFILE)):
        try:
            if await reader.has_made(remote, upload, sizes):
                tags.add(upload.stamp)
        except Unavailable:
            raise
        except RemoteError:
            continue  # it cannot be said: the pack is dealt with as it was
    return tags


def _begun(state: State) -> set[RelPath]:
    return set(state.uploads.paths().values())


def _half(path: RelPath) -> Unknown:
    return Unknown(path, "is not all in place yet: a run was cut short there; the next one goes on")
