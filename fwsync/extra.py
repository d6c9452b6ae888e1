"""What stands here beside the user's files: sidecars of metadata, and files of analyses.

The one rule: they go one way. What fwsync wrote is known by record, is never sent, and its
absence is no deletion; what a user made of it is reported, and never overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from fwsync.digest import LocalTag
from fwsync.model import Decision, LocalEntry, RelPath, RemoteEntry, Verb

#: How reasons begin that speak of nothing but this: those of the listing itself are told by it.
BESIDE = "what is beside the files"

#: What to do about one that is left as it is.
HINT = "move it away or delete it, and the next pull writes it anew"


class Kind(StrEnum):
    """What such a file is."""

    SIDECAR = "sidecar"  #: what the server says of a file, a container or an analysis
    ANALYSIS = "analysis"  #: an input or an output of an analysis


#: The option that brings them.
COMES_WITH = {Kind.SIDECAR: "--metadata", Kind.ANALYSIS: "--analyses"}


@dataclass(frozen=True, slots=True)
class Extra:
    """Such a file as the server has it now."""

    kind: Kind
    #: Its path is where it belongs on this disk. The tag of a sidecar's is the local tag of its
    #: content.
    entry: RemoteEntry
    about: RelPath  #: the file that it speaks of; else the folder of what it belongs to
    key: str  #: stays while it is moved or what it belongs to gets another label
    of_file: bool = False  #: ``about`` is a file of a container
    content: bytes | None = None  #: of a sidecar, as it came; None: not at hand

    @property
    def path(self) -> RelPath:
        """Where it belongs on this disk."""
        return self.entry.path


@dataclass(frozen=True, slots=True)
class Written:
    """Such a file as it was written here."""

    path: RelPath
    kind: Kind
    remote_etag: str
    local_etag: LocalTag


class ExtraSink(Protocol):
    """Takes what a listing says beside the files, and keeps what it has no use for yet."""

    async def begin(self) -> None:
        """A listing begins; what an earlier one said is forgotten."""
        ...

    async def take(self, page: Sequence[Extra]) -> None:
        """The next of them, in any order."""
        ...

    async def unseen(self, scope: RelPath, reason: str) -> None:
        """Something at or below a folder could not be asked for."""
        ...

    async def hold(self, texts: Sequence[tuple[str, bytes]]) -> None:
        """Keep the sidecars of containers by their ids: where they belong is not known yet."""
        ...

    async def take_held(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The sidecars of these containers, which are kept no more."""
        ...

    async def owe(self, page: Sequence[tuple[str, RemoteEntry]]) -> None:
        """Keep what it is that the list only hinted at, and the names by which it will come."""
        ...

    async def take_owed(
        self, keys: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], RemoteEntry]:
        """Those of these, by the container's id and the name, that were owed until now."""
        ...

    async def end_owed(self) -> int:
        """How many are owed still; they are forgotten."""
        ...


def judge(extra: Extra, written: Written | None, here: LocalEntry | None) -> Decision:
    """What is to be done about one of them; may be NOTHING.

    Args:
        extra: as the server has it.
        written: what was recorded of it; None: nothing was.
        here: what stands at its path, with its tag, and of a file of an analysis its digest
            where nothing is recorded; None: nothing does.
    """
    entry = extra.entry
    if here is None:
        reason = "new on the server"
        if written is not None:
            reason = f"gone here; it comes again with {COMES_WITH[extra.kind]}"
        return Decision(Verb.DOWNLOAD, extra.path, None, entry, reason=reason)
    if written is not None and here.etag == written.local_etag:
        if entry.etag == written.remote_etag:
            return Decision(Verb.ADOPT, extra.path, here, entry, reason="the same as before")
        return Decision(Verb.DOWNLOAD, extra.path, here, entry, reason="changed on the server")
    if here.etag == entry.etag or (here.digest is not None and here.digest == entry.digest):
        return Decision(Verb.ADOPT, extra.path, here, entry, reason="the same bytes are here")
    if written is not None:
        return _edited(extra.path, here)
    reason = "another file is here already, and is not overwritten"
    return Decision(Verb.REPORT, extra.path, here, entry, reason=reason)


def judge_unlisted(
    written: Written, here: LocalEntry | None, *, is_gone: bool, delete: bool
) -> Decision:
    """What is to be done about one that the server was not asked for, or does not have any more.

    Args:
        written: what was recorded of it.
        here: what stands at its path, with its tag; None: nothing does.
        is_gone: it was asked for, and is not there.
        delete: what is gone there goes to the trash here.
    """
    path = written.path
    if here is None:
        verb = Verb.FORGET if is_gone else Verb.NOTHING
        return Decision(verb, path, reason="gone on both sides" if is_gone else "gone here")
    if here.etag != written.local_etag:
        return _edited(path, here)
    if not is_gone:
        return Decision(Verb.ADOPT, path, here, reason="the same as before")
    verb = Verb.DELETE_LOCAL if delete else Verb.HOLD
    return Decision(verb, path, here, reason="gone from the server")


def _edited(path: RelPath, here: LocalEntry) -> Decision:
    reason = (
        "changed here, and was written from what the server says: it is neither sent nor "
        "overwritten"
    )
    return Decision(Verb.REPORT, path, here, reason=reason)
