"""Where on a site the uids of studies and series are already.

Its rule: a uid is looked for in the projects that are named, and nowhere else. The answer says
where, as far as the site says it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from fwsync.errors import NotFound
from fwsync.model import Level
from fwsync.remotes.flywheel_wire import PLURAL, item_of, page_of
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project

#: uid → the labels, from the group down, of what has it; of a project that is not in step,
#: those of the project only.
Homes: TypeAlias = "dict[str, set[tuple[str, ...]]]"

#: uids in one question. Source: flywheel-cli 18.5.1, its FW_CLI_UID_BATCH_SIZE.
MOST_UIDS: Final = 10_000

#: uids in one address: those of DICOM have up to 64 characters.
_IN_A_FILTER: Final = 50

_WHAT = "asking which uids are there"


async def uid_homes(
    api: Api,
    level: Level,
    uids: Collection[str],
    *,
    here: Sequence[Project],
    others: Sequence[Project] = (),
    labels_of: Callable[[str], tuple[str, ...] | None],
) -> Homes:
    """Which of these uids sessions or acquisitions have already, and which ones.

    Args:
        api: of the site.
        level: session or acquisition.
        uids: what to look for.
        here: projects that are kept in step, and were listed.
        others: more projects to look in.
        labels_of: a listed container's labels, by its id.

    Raises:
        NotFound: the site has no such question.
        RemoteError: as every request.

    Source: CLI 18.5.1, which asks ``POST /uids/projects``, and each project alone on 404.
    """
    homes: Homes = {}
    projects = {one.id: one for one in (*here, *others) if one.id}
    listed = {one.id for one in here}
    if not projects:
        return homes
    for batch in _batches(sorted(uids), MOST_UIDS):
        for project_id, found in (await _by_project(api, level, batch, list(projects))).items():
            project = projects.get(project_id)
            if project is None or not found:
                continue
            if project_id not in listed:
                for uid in found:
                    homes.setdefault(uid, set()).add((project.group, project.label))
                continue
            for some in _batches(sorted(found), _IN_A_FILTER):
                await _labelled(api, level, project, some, labels_of, homes)
    return homes


async def _by_project(
    api: Api, level: Level, uids: Sequence[str], projects: Sequence[str]
) -> Mapping[str, list[str]]:
    body = {PLURAL[level]: uids, "project_ids": projects}
    try:
        answer = await api.json(
            "POST", ("uids", "projects"), body=body, repeatable=True, what=_WHAT
        )
    except NotFound:
        found: dict[str, list[str]] = {}
        for one in projects:
            body = {PLURAL[level]: uids, "project_ids": [one]}
            answer = await api.json("POST", ("uids",), body=body, repeatable=True, what=_WHAT)
            found[one] = _texts(item_of(answer, _WHAT).get(PLURAL[level]))
        return found
    by_project = item_of(answer, _WHAT)
    return {
        id_: _texts(one.get(PLURAL[level]))
        for id_, one in by_project.items()
        if isinstance(one, Mapping)
    }


async def _labelled(
    api: Api,
    level: Level,
    project: Project,
    uids: Sequence[str],
    labels_of: Callable[[str], tuple[str, ...] | None],
    homes: Homes,
) -> None:
    """Add the labels of what has these uids; what a listing did not show has the project's."""
    path = (PLURAL[Level.PROJECT], project.id, PLURAL[level])
    params = {"filter": f"uid=|[{','.join(uids)}]"}
    answer = await api.json("GET", path, params=params, what=_WHAT)
    for item in page_of(answer, _WHAT).items:
        uid, id_ = item.get("uid"), item.get("_id")
        if isinstance(uid, str) and isinstance(id_, str):
            labels = labels_of(id_) or (project.group, project.label, f"<id:{id_}>")
            homes.setdefault(uid, set()).add(labels)


def _texts(told: object) -> list[str]:
    return [one for one in told if isinstance(one, str)] if isinstance(told, list) else []


def _batches(uids: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    return (uids[at : at + most] for at in range(0, len(uids), most))
