"""The one project that a user means: the same questions to every site, in the same order."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypedDict, Unpack

from fwsync.errors import RemoteError
from fwsync.remotes.naming import (
    Project,
    Wanted,
    no_such_id,
    no_such_project,
    the_one_with_label,
    wanted,
)


class IfMissing(TypedDict, total=False):
    """What is done about a project that is not there."""

    create_project: bool  #: make it in its group; a group is never made; otherwise: False
    pretend: bool  #: make nothing: one that would be made is given without an id; False
    may_create: bool  #: whoever asks could have asked for one to be made: for the hint; True


class Finder(Protocol):
    """A site's projects, as it can be asked for them."""

    async def project_by_id(self, id_: str) -> Project | None:
        """The project with this id; None: there is none.

        Raises:
            Forbidden, AuthError: it is not ours to see.
        """
        ...

    async def visible(self) -> list[Project]:
        """All projects that the key can see."""
        ...

    async def named(self, meant: Wanted) -> Project | None:
        """The project of a group that has this label; None: there is none.

        Raises:
            UsageError: there is more than one.
        """
        ...

    async def make_project(self, meant: Wanted, *, pretend: bool) -> Project:
        """A new one in its group.

        Raises:
            UsageError: there is no such group.
            Forbidden: none may be made there.
        """
        ...


async def find_project(finder: Finder, text: str, **missing: Unpack[IfMissing]) -> Project:
    """The one project that a user means.

    Args:
        finder: of the site.
        text: ``group/project``, ``fw://group/project``, a project's label alone, or
            ``<id:…>``; a label may itself be given as ``<id:…>``.
        missing: what is done if it is not there.

    Raises:
        UsageError: there is none, or more than one.
        Forbidden, AuthError: it is not ours to see.
    """
    meant = wanted(text)
    if meant.id:
        project = await finder.project_by_id(meant.id)
        if project is None:
            raise no_such_id(text)
        return project
    if not meant.group:
        return the_one_with_label(meant.label, await finder.visible())
    found = await finder.named(meant)
    if found is not None:
        return found
    if missing.get("create_project", False):
        made = await finder.make_project(meant, pretend=missing.get("pretend", False))
        return replace(made, is_new=bool(made.id))
    try:
        projects = await finder.visible()
    except RemoteError:
        projects = []
    may_create = missing.get("may_create", True)
    raise no_such_project(meant.text, projects, by_label=False, may_create=may_create)
