"""A part of a project that a call names: what is at a path below it.

Its rule: a path is that of ``fwsync ls``, labels as the server has them; where two containers
have one label, the older is meant, and ``<id:…>`` names the other. A container comes before a
file of its name, and ``…/files/NAME`` is the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fwsync.errors import NotFound, NothingThere, UsageError
from fwsync.model import BELOW_PROJECT, FILE_LEVELS, Level
from fwsync.remotes.flywheel_find import FEATURES
from fwsync.remotes.flywheel_wire import Json, file_of, item_of, mapping_of, text_of
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project
from fwsync.selection import Place

#: The word after which a file's name comes; it may be left out. Source: SDK 23.
FILES: Final = "files"
_ANALYSES: Final = "analyses"


def steps_of(project: Project, segments: Sequence[str]) -> tuple[list[str], str | None]:
    """The containers of a path below a project, and the file if it surely names one.

    Raises:
        UsageError: no such path leads to a container or a file.
    """
    path = "/".join([str(project), *segments])
    above, name = list(segments), None
    if len(above) > 1 and above[-2] == FILES:
        name = above.pop()
        above.pop()
    if _ANALYSES in above:
        raise UsageError(
            f"{path}: is of an analysis, which is no part of a project's tree of files",
            hint="`--analyses` brings the files of all; …/analyses/LABEL/FILE is one of them",
        )
    if above[-1:] == [FILES]:
        raise UsageError(
            f"{path}: is no subject, session, acquisition or file of one",
            hint="give it as GROUP/PROJECT/SUBJECT/SESSION/ACQUISITION/FILE, or its beginning",
        )
    if len(above) > len(BELOW_PROJECT) + (name is None):
        raise NothingThere(
            f"{path}: goes deeper than a file of an acquisition",
            hint="give it as GROUP/PROJECT/SUBJECT/SESSION/ACQUISITION/FILE, or its beginning",
        )
    return above, name


async def place_in(api: Api, project: Project, segments: Sequence[str]) -> Place:
    """Look up at a site of today what a path below a project leads to.

    Args:
        api: the site.
        project: in scope.
        segments: labels from the subject down, and perhaps a file's name; at least one.

    Raises:
        UsageError: there is nothing.
    """
    above, name = steps_of(project, segments)
    if name is None and len(above) <= len(BELOW_PROJECT):
        found = await _looked_up(api, project, above)
        if found is not None:
            return _place(project, segments, found)
    if name is None:
        name = above.pop()
    found = await _looked_up(api, project, [*above, FILES, name])
    if found is None:
        raise nothing_at(project, segments)
    return _place(project, [*above, name], found)


def nothing_at(project: Project, segments: Sequence[str]) -> NothingThere:
    """There is nothing at the path that was given; who asks may look for what is near."""
    return NothingThere(
        f"{project}/{'/'.join(segments)}: is not there, or the key may not see it",
        hint=f"`fwsync ls {project}` shows what is there",
    )


async def _looked_up(api: Api, project: Project, path: Sequence[str]) -> Json | None:
    what = "/".join([str(project), *path])
    body = {"path": [project.group, f"<id:{project.id}>", *path]}
    try:
        answer = await api.json(
            "POST", ("lookup",), body=body, repeatable=True, features=FEATURES, what=what
        )
    except NotFound:
        return None
    return item_of(answer, what)


def _place(project: Project, segments: Sequence[str], found: Json) -> Place:
    """The place of what was looked up; its ids are in its own record."""
    what = "/".join([str(project), *segments])
    kind = found.get("container_type") or found.get("node_type")
    parents = mapping_of(found, "parents", what)
    labels = (project.group, project.label)
    if kind == "file":
        file = file_of(found, what)
        if file.deleted or file.level is None:
            raise nothing_at(project, segments)
        depth = FILE_LEVELS.index(file.level)
        ids = tuple(text_of(parents, level.value, what) for level in BELOW_PROJECT[:depth])
        if ids and ids[-1] != file.parent_id:
            raise nothing_at(project, segments)
        return Place((*labels, *segments[:-1]), ids, file.name)
    if kind not in [level.value for level in BELOW_PROJECT]:
        raise nothing_at(project, segments)
    own = BELOW_PROJECT.index(Level(str(kind)))
    above = tuple(text_of(parents, level.value, what) for level in BELOW_PROJECT[:own])
    return Place((*labels, *segments), (*above, text_of(found, "_id", what)))
