"""Which of our names the server has under another one, and what to do with one it refuses.

Its rule: one of our names stands for one of theirs, and back. Two of ours that would be one
on the server are reported, and neither is ever written over the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from fwsync.errors import FileProblem, Refused
from fwsync.mapping.names import platform_name
from fwsync.model import RelPath
from fwsync.ports import Alias, NameKeeper
from fwsync.remotes.given import Given

#: What a server answers to a name that it does not take. Source: 400 and 422 of flywheel-sdk
#: 23's descriptions; core18 has 400 for a label that is too long, observed.
REFUSALS = (400, 422)

_REFUSED_EVERYWHERE = ("", ".", "..")


class Kind(Enum):
    """What a name belongs to."""

    CONTAINER = False
    FILE = True


class Forgetful:
    """A keeper for the length of one run. Implements :class:`fwsync.ports.NameKeeper`."""

    async def remember(self, alias: Alias) -> None:
        """See :meth:`fwsync.ports.NameKeeper.remember`."""

    async def forget(self, alias: Alias) -> None:
        """See :meth:`fwsync.ports.NameKeeper.forget`."""

    async def is_free(self, path: RelPath) -> bool:
        """Not known, so no."""
        return False


class Names:
    """Our names and theirs.

    Args:
        aliases: kept from earlier runs.
        keeper: keeps those that come to be.
        beforehand: ``names = "platform"``: the platform's rule is applied before the server
            is asked. Otherwise a name is sent as it is, and the rule is for what is refused.
        given: the names that containers and files have here.
    """

    def __init__(
        self,
        aliases: Iterable[Alias] = (),
        *,
        keeper: NameKeeper | None = None,
        beforehand: bool = False,
        given: Given | None = None,
    ) -> None:
        self.beforehand = beforehand
        self.given = given or Given()
        self._keeper: NameKeeper = keeper or Forgetful()
        self._ours: dict[tuple[str, bool, str], str] = {}
        self._theirs: dict[tuple[str, bool, str], str] = {}
        self._kept_characters: set[str] = set()
        for alias in aliases:
            self._add(alias)

    @property
    def are_all_theirs(self) -> bool:
        """Does no file have another name here than there, and is each name one on this disk?"""
        return not self._theirs and self.given.leaves_files

    def ours(self, parent_id: str, kind: Kind, theirs: str) -> str | None:
        """What we call what the server calls so; None: that name means something else here."""
        if not self._theirs:
            return theirs
        known = self._ours.get((parent_id, kind.value, theirs))
        if known is not None:
            return known
        return None if (parent_id, kind.value, theirs) in self._theirs else theirs

    def theirs(self, parent_id: str, kind: Kind, ours: str) -> str | None:
        """What the server calls what we call so; None: it has another of ours under this name."""
        if not self._theirs:
            return ours
        known = self._theirs.get((parent_id, kind.value, ours))
        if known is not None:
            return known
        return None if (parent_id, kind.value, ours) in self._ours else ours

    def has_alias(self, parent_id: str, kind: Kind, ours: str) -> bool:
        """Is it known that the server has another name for it?"""
        return (parent_id, kind.value, ours) in self._theirs

    def may_differ(self, name: str) -> bool:
        """Would the platform's rule change it? Not what this very server was seen to keep."""
        return platform_name(name) != name and not _marks(name) <= self._kept_characters

    def seen(self, theirs: str) -> None:
        """The server has this name: what the rule would change in it, this server keeps."""
        if platform_name(theirs) != theirs:
            self._kept_characters |= _marks(theirs)

    async def claim(
        self,
        parent_id: str,
        kind: Kind,
        ours: str,
        theirs: str,
        path: RelPath,
        *,
        taken_at: RelPath | None = None,
    ) -> None:
        """From now on the server's name stands for ours.

        Args:
            path: of ours, for the message.
            taken_at: where it lies under the server's name as far as we know; None: there is
                nothing of that name yet.

        Raises:
            FileProblem: it stands for another of ours, or for something that is in use here.
        """
        holder = self._ours.get((parent_id, kind.value, theirs))
        if holder == ours:
            return
        if holder is not None or (
            taken_at is not None and not await self._keeper.is_free(taken_at)
        ):
            raise clash(path, ours, theirs)
        alias = Alias(parent_id, kind.value, ours, theirs)
        await self._keeper.remember(alias)
        self._add(alias)

    async def withdraw(self, parent_id: str, kind: Kind, ours: str) -> None:
        """The server's name does not stand for ours after all: nothing came to be under it."""
        theirs = self._theirs.pop((parent_id, kind.value, ours), None)
        if theirs is not None:
            del self._ours[parent_id, kind.value, theirs]
            await self._keeper.forget(Alias(parent_id, kind.value, ours, theirs))

    async def release(self, parent_id: str, kind: Kind, theirs: str) -> None:
        """The server has nothing of this name any more: another of ours may have it."""
        ours = self._ours.get((parent_id, kind.value, theirs))
        if ours is not None:
            await self.withdraw(parent_id, kind, ours)

    def _add(self, alias: Alias) -> None:
        before = self._theirs.get((alias.parent_id, alias.is_file, alias.ours))
        if before is not None:
            del self._ours[alias.parent_id, alias.is_file, before]
        self._ours[alias.parent_id, alias.is_file, alias.theirs] = alias.ours
        self._theirs[alias.parent_id, alias.is_file, alias.ours] = alias.theirs


def is_refusal_of_a_name(error: object) -> bool:
    """May this error mean that the server does not take a name?"""
    return isinstance(error, Refused) and error.status in REFUSALS


def no_server_takes(name: str) -> bool:
    """A file name that is cut or refused by every version of the server."""
    return name in _REFUSED_EVERYWHERE or "/" in name or "\0" in name


def clash(path: RelPath, ours: str, theirs: str) -> FileProblem:
    """Two of our names that the server cannot tell apart."""
    return FileProblem(
        f"{path}: the server does not take the name {ours!r}, and {theirs!r}, which it would "
        "have in its place, is taken by something else",
        hint="rename one of the two",
    )


def _marks(name: str) -> set[str]:
    """What in a name the rule objects to: characters, or the name itself for anything else."""
    found = {one for one in name if platform_name(f"x{one}x") != f"x{one}x"}
    rest = "".join("x" if one in found else one for one in name)
    if platform_name(rest) != rest:  # its length, its end, a device's name
        found.add(name)
    return found
