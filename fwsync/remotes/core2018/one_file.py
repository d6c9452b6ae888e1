"""One file that is named by its path, at a site of core18: by lists, as everything there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fwsync.errors import NotFound, UsageError
from fwsync.layout import name_of
from fwsync.model import ContainerRef, Level, RelPath
from fwsync.remotes.core2018.asking import Asker
from fwsync.remotes.core2018.wire import Files
from fwsync.remotes.naming import Child, Project
from fwsync.remotes.one_file import OneFile, not_found, steps_to


def is_meant(label: str, id_: str, segment: str) -> bool:
    """Does a segment of a path name the container of this label and id?"""
    return segment in (label, f"<id:{id_}>") or (not label and segment == name_of(label))


async def file_at(asker: Asker, path: str, ls: Callable[[str], Awaitable[list[Child]]]) -> OneFile:
    """See :func:`fwsync.remotes.one_file.file_at`.

    Raises:
        UsageError: there is no such file; or several of its name and of other bytes.
    """
    above, name = steps_to(path)
    try:
        ref, files = await _files_at(asker, above)
        file = files.by_name.get(name)
        if file is None:
            raise NotFound(f"{path}: there is no such file", status=404)
    except NotFound as error:
        raise await not_found(path, ls, error) from None
    if name in files.unclear:
        raise UsageError(f"{path}: the server has several files of this name, of different bytes")
    return OneFile(asker.api, file.entry(RelPath(path), ref), asker.rights, closed=True)


async def _files_at(asker: Asker, segments: Sequence[str]) -> tuple[ContainerRef, Files]:
    """The container that a path of labels leads to, and its files; the oldest of one label."""
    group, label, *below = segments
    project = _the_one(await asker.projects(group), label)
    if not below:
        what = f"project {project}"
        item = await asker.container(Level.PROJECT, project.id, what)
        return ContainerRef(Level.PROJECT, project.id), Files.of(item, what)
    code, *below = below
    for session in await asker.sessions(project):
        if not below or not is_meant(session.code, session.subject_id, code):
            continue
        if not is_meant(session.label, session.id, below[0]):
            continue
        if len(below) == 1:
            return ContainerRef(Level.SESSION, session.id), session.files
        for one in await asker.acquisitions(session.id):
            if is_meant(one.label, one.id, below[1]) and len(below) == 2:
                return ContainerRef(Level.ACQUISITION, one.id), one.files
    raise NotFound(f"{'/'.join(segments)}: there is nothing", status=404)


def _the_one(projects: Sequence[Project], segment: str) -> Project:
    for project in projects:
        if is_meant(project.label, project.id, segment):
            return project
    raise NotFound(f"{segment}: there is no such project", status=404)
