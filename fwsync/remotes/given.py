"""The names that containers and files of the server were given here, remembered by id.

Its rule: a name that was given stays. Siblings of one label keep their names when one of them
is deleted, when a third comes, and when an older one appears. Only what is certainly gone from
the server loses its name, and only then may another have it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from fwsync.model import RelPath
from fwsync.ports import GivenName, GivenNameKeeper

#: Paths that are asked for at a time.
_PAGE: Final = 1000


class NothingKept:
    """A keeper for the length of one run. Implements :class:`fwsync.ports.GivenNameKeeper`."""

    async def keep(self, given: Sequence[GivenName], gone: Sequence[GivenName]) -> None:
        """See :meth:`fwsync.ports.GivenNameKeeper.keep`."""

    async def files_at(self, paths: Sequence[RelPath]) -> set[RelPath]:
        """None is known."""
        return set()


class Given:
    """Who has which name.

    Args:
        names: of earlier runs.
        keeper: keeps those that are given.
        folds: on this disk, names that differ only in case are one name.
    """

    def __init__(
        self,
        names: Iterable[GivenName] = (),
        *,
        keeper: GivenNameKeeper | None = None,
        folds: bool = False,
    ) -> None:
        self.folds = folds
        self._keeper: GivenNameKeeper = keeper or NothingKept()
        self._containers: dict[str, GivenName] = {}
        self._files: dict[tuple[str, str], GivenName] = {}
        self._holders: dict[tuple[str, str], str] = {}  # parent and folded name → container's id
        self._below: dict[str, set[str]] = {}  # parent → containers that have a name
        self._new: dict[tuple[str, bool, str], GivenName] = {}
        self._gone: dict[tuple[str, bool, str], GivenName] = {}
        self._files_at: set[RelPath] = set()
        for one in names:
            self._take(one)

    def fold(self, text: str) -> str:
        """What two names that are one on this disk have in common."""
        return text.casefold() if self.folds else text

    def of_container(self, id_: str, parent_id: str, label: str) -> str | None:
        """The name that a container was given; None: none, by this label and in this parent."""
        known = self._containers.get(id_)
        if known is None or (known.parent_id, known.label) != (parent_id, label):
            return None
        return known.name

    @property
    def leaves_files(self) -> bool:
        """Was no file given a name, and may two have names that differ in case alone?"""
        return not self._files and not self.folds

    def of_file(self, id_: str, parent_id: str, label: str) -> str | None:
        """The name that a file was given whose plain one was taken; None: it has the plain one."""
        known = self._files.get((id_, label)) if self._files else None
        return known.name if known is not None and known.parent_id == parent_id else None

    def holder(self, parent_id: str, name: str) -> str | None:
        """The id of the container that has this name; None: none has."""
        return self._holders.get((parent_id, self.fold(name)))

    def is_taken(self, parent_id: str, name: str, path: RelPath, *, but_by: str) -> bool:
        """Is it the name of another container, or of a file that both sides agreed on?

        Args:
            parent_id: of the container that holds it.
            name: in question.
            path: of it.
            but_by: the id of the container that asks.
        """
        holder = self.holder(parent_id, name)
        return holder not in (None, but_by) or path in self._files_at

    def give(self, name: GivenName) -> None:
        """From now on it has this name. Kept by :meth:`keep`."""
        if name.is_file:
            known = self._files.get((name.id, name.label))
        else:
            known = self._containers.get(name.id)
        if known == name:
            return
        if known is not None and not name.is_file:
            self._drop(known)
        self._take(name)
        self._new[name.id, name.is_file, name.label] = name

    def release(self, parents: Iterable[str], present: Collection[str]) -> None:
        """All that is in these containers is present: what is not has no name any more."""
        for parent in parents:
            for id_ in [one for one in self._below.get(parent, ()) if one not in present]:
                self.drop(id_)

    def let_go(self, id_: str, parent_id: str, label: str) -> None:
        """A container that has this label, in this parent, has no name by another one."""
        known = self._containers.get(id_)
        if known is not None and (known.parent_id, known.label) != (parent_id, label):
            self._drop(known)
            self._gone[known.id, False, known.label] = known

    def drop(self, id_: str) -> None:
        """A container is gone, with all that it held: their names are free."""
        self.release([id_], ())
        gone = self._containers.get(id_)
        if gone is not None:
            self._drop(gone)
            self._gone[gone.id, False, gone.label] = gone

    def drop_file(self, id_: str, label: str) -> None:
        """A file has its plain name from now on. Kept by :meth:`keep`."""
        known = self._files.pop((id_, label), None)
        if known is not None:
            self._new.pop((id_, True, label), None)
            self._gone[id_, True, label] = known

    async def look_for_files(self, paths: Sequence[RelPath]) -> None:
        """Learn at which of these paths there is a file, so that no container takes its name.

        It is believed until :meth:`keep`, as lists are read side by side.
        """
        for start in range(0, len(paths), _PAGE):
            self._files_at |= await self._keeper.files_at(paths[start : start + _PAGE])

    async def keep(self) -> None:
        """Keep what was given since the last time; it is on disk when this returns."""
        self._files_at.clear()
        if not self._new and not self._gone:
            return
        given, gone = list(self._new.values()), list(self._gone.values())
        self._new, self._gone = {}, {}
        await self._keeper.keep(given, gone)

    def _take(self, one: GivenName) -> None:
        if one.is_file:
            self._files[one.id, one.label] = one
            return
        self._containers[one.id] = one
        self._holders[one.parent_id, self.fold(one.name)] = one.id
        self._below.setdefault(one.parent_id, set()).add(one.id)

    def _drop(self, one: GivenName) -> None:
        del self._containers[one.id]
        key = (one.parent_id, self.fold(one.name))
        if self._holders.get(key) == one.id:
            del self._holders[key]
        self._below[one.parent_id].discard(one.id)
        self._new.pop((one.id, False, one.label), None)
