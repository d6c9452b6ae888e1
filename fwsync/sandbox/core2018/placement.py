"""Uploads that say where they belong: ``POST /upload/label|uid|uid-match|reaper``.

The reply is a list of records in no particular order, with nothing about where they went; a file
that is named nowhere is dropped without a word. The search for a session or an acquisition sees
deleted ones, with what follows from it.

Source: core18.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.core2018 import asking, filing
from fwsync.sandbox.core2018 import schema as s
from fwsync.sandbox.core2018.branches import Branches, Target
from fwsync.sandbox.core2018.containers import FIELDS, SUBJECT
from fwsync.sandbox.core2018.forms import read_form
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
Targets = list[tuple[Target, list[Json]]]

_FILES: Final[Json] = {"type": "array", "items": filing.LISTED}
_GROUP: Final = s.closed({"_id": s.TEXT}, "_id")
_PROJECT: Final = s.closed({"label": s.TEXT, "files": _FILES}, "label")
_SUBJECT: Final = s.closed({**SUBJECT["properties"], "files": _FILES})
_SESSION: Final = {**FIELDS["session"], "subject": _SUBJECT, "files": _FILES}
_ACQUISITION: Final = {**FIELDS["acquisition"], "files": _FILES}


def _metadata(by: str, *required: str) -> Json:
    """The metadata of a strategy that finds sessions and acquisitions by a key."""
    return s.closed(
        {
            "group": _GROUP,
            "project": _PROJECT,
            "session": s.closed(_SESSION, by),
            "acquisition": s.closed(_ACQUISITION, by),
        },
        *required,
    )


async def upload(call: Call) -> web.Response:
    """``POST /upload/{strategy}``."""
    schema, targets_of = _STRATEGIES[call.part("strategy")]
    if call.caller.kind == "unknown":
        raise ApiError(403, "Uploading requires login")
    form = await read_form(call)
    told = form.told()
    if told is None:
        raise ApiError(400, "Metadata required")
    s.validate(told, schema)
    if not form.files:
        raise ApiError(400, "No files selected for upload")
    grants, by = await asking.grants(call), filing.author(call)

    def write(pen: Pen) -> tuple[list[Json], ApiError | None]:
        branches = Branches(pen, grants, call.caller.id or "")
        return _store(pen, targets_of(branches, told), form.files, by)

    records, problem = await call.site.write_tree(write)
    if problem is not None:  # what was stored before it stays
        raise problem
    return answer(records)


def _store(
    pen: Pen, targets: Targets, files: list[Arrival], by: filing.Author
) -> tuple[list[Json], ApiError | None]:
    """Put files where they are named; of two lists the later one has them."""
    named = {told["name"]: (target, told) for target, listed in targets for told in listed}
    wanted = [(*named[file.name], file) for file in files if file.name in named]
    records: list[Json] = []
    problem: ApiError | None = None
    for target, told, file in sorted(wanted, key=lambda one: one[0].level != "project"):
        if target.session_is_deleted:
            problem = ApiError(404, f"Could not find sessions {target.place.session}")
            break
        record = filing.store_anywhere(pen, target.place, filing.described(file, told), by)
        if target.level == "subject":
            record.pop("created", None)
        records.append(record)
    return sorted(records, key=lambda record: str(record["hash"])), problem


# -------------------------------------------------------------------------------- strategies


def _top_down(branches: Branches, told: Json, *, key: str) -> Targets:
    project = branches.project(told["group"]["_id"], told["project"]["label"])
    session = acquisition = None
    if told.get("session"):
        session = branches.session(project, told["session"], key)
        if told.get("acquisition"):
            acquisition = branches.acquisition(session, told["acquisition"], key)
    return _filled(branches, project, session, acquisition, told)


def _by_uid_match(branches: Branches, told: Json) -> Targets:
    session_uid, acquisition_uid = told["session"]["uid"], told["acquisition"]["uid"]
    session = branches.anywhere("session", session_uid)
    if session is None:
        raise ApiError(404, f"Session with uid {session_uid} does not exist")
    branches.check(session, f"session {session_uid}")
    acquisition = branches.anywhere("acquisition", acquisition_uid)
    if acquisition is None:
        raise ApiError(404, f"Acquisition with uid {acquisition_uid} does not exist")
    return _filled(branches, branches.project_of(session), session, acquisition, told)


def _by_reaper(branches: Branches, told: Json) -> Targets:
    """A session that has the uid keeps its place, whatever group and project are named."""
    uid = told["session"]["uid"]
    session = branches.anywhere("session", uid)
    if session is None:
        return _top_down(branches, told, key="uid")
    branches.check(session, f"session {uid}")
    acquisition = branches.acquisition(session, told["acquisition"], "uid")
    return _filled(branches, branches.project_of(session), session, acquisition, told)


def _filled(
    branches: Branches,
    project: Target,
    session: Target | None,
    acquisition: Target | None,
    told: Json,
) -> Targets:
    """Fill what is empty; the targets, the one that wins a name last."""
    targets: Targets = []
    if session is not None:
        of_session = told["session"]
        branches.fill(session, of_session)
        targets.append((session, of_session.get("files", [])))
        listed = (of_session.get("subject") or {}).get("files", [])
        if listed:
            targets.append((branches.subject_of(session), listed))
    if acquisition is not None and session is not None:
        branches.fill(acquisition, told["acquisition"])
        branches.begin_no_later(session, told["acquisition"])
        targets.append((acquisition, told["acquisition"].get("files", [])))
    targets.append((project, told.get("project", {}).get("files", [])))
    return targets


_WHOLE: Final = _metadata("uid", "group", "project", "session", "acquisition")
#: The schema of the metadata, and what finds or makes the containers they name.
_STRATEGIES: Final[dict[str, tuple[Json, Callable[[Branches, Json], Targets]]]] = {
    "label": (_metadata("label", "group", "project"), partial(_top_down, key="label")),
    "uid": (_WHOLE, partial(_top_down, key="uid")),
    "uid-match": (_metadata("uid", "session", "acquisition"), _by_uid_match),
    "reaper": (_WHOLE, _by_reaper),
}
