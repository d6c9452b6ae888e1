"""A part of a project that a call names, at a site of core18: by lists, as everything there."""

from __future__ import annotations

from collections.abc import Sequence

from fwsync.errors import UsageError
from fwsync.model import Level
from fwsync.remotes.core2018.asking import Asker
from fwsync.remotes.core2018.one_file import is_meant
from fwsync.remotes.core2018.wire import Files, Held
from fwsync.remotes.naming import Project
from fwsync.remotes.places import nothing_at, steps_of
from fwsync.remotes.where import Where
from fwsync.selection import Place, Selection

#: What the lists of this server leave empty, so that nothing can be asked of it (core18).
_NOT_LISTED = frozenset({"info"})


def check_selection(selection: Selection) -> None:
    """See that a selection asks for what this server's lists say.

    Raises:
        UsageError: it does not.
    """
    if selection.asks_containers:
        raise UsageError(
            "--container-tag, --mlset: the lists of this server (of 2018) do not say",
            hint="select by --subject, --session, --acquisition, or by --tag, which is of files",
        )
    where = selection.where
    asked = sorted(_NOT_LISTED & where.keys) if isinstance(where, Where) else []
    if asked:
        raise UsageError(
            f"--where: asks for {asked[0]}, which the lists of this server (of 2018) leave empty",
            hint="ask for type, tags, size, name, modified, created, hash or origin",
        )


async def place_in(asker: Asker, project: Project, segments: Sequence[str]) -> Place:
    """See :func:`fwsync.remotes.places.place_in`.

    A subject is no container of this server: its id is one of ours, as in a listing.
    """
    above, name = steps_of(project, segments)
    found = await _containers(asker, project, above) if len(above) < 4 else None
    if found is None and name is None:
        name = above.pop()
        found = await _containers(asker, project, above)
    if found is None:
        raise nothing_at(project, segments)
    ids, files = found
    if name is not None and name not in files.by_name:
        raise nothing_at(project, segments)
    return Place((project.group, project.label, *above), ids, name or "")


async def _containers(
    asker: Asker, project: Project, segments: Sequence[str]
) -> tuple[tuple[str, ...], Files] | None:
    """The ids of the containers on a path, and the files of the last; None: it leads nowhere."""
    if not segments:
        item = await asker.container(Level.PROJECT, project.id, f"project {project}")
        return (), Files.of(item, f"project {project}")
    code, *below = segments
    sessions = [
        one for one in await asker.sessions(project) if is_meant(one.code, one.subject_id, code)
    ]
    if not sessions:
        return None
    subject = f"{project.id}/{sessions[0].code}"
    if not below:
        files = {file.name: file for one in sessions for file in one.subject_files}
        return (subject,), Files(files, frozenset())
    session = _first(sessions, below[0])
    if session is None:
        return None
    if len(below) == 1:
        return (subject, session.id), session.files
    acquisition = _first(await asker.acquisitions(session.id), below[1])
    if acquisition is None:
        return None
    return (subject, session.id, acquisition.id), acquisition.files


def _first(found: Sequence[Held], segment: str) -> Held | None:
    """The oldest that a segment names."""
    return next((one for one in found if is_meant(one.label, one.id, segment)), None)
