"""Analyses: containers that hang on any level below the group, with inputs and outputs.

An input is a file somewhere else, at the version it had when it was named; the outputs are the
files of the analysis itself. An analysis is read and changed by whoever may do so with the
container it hangs on, and is deleted with it. Who reads it sees of its inputs those that they may
read where they lie.

Source: SDK 23 (``add_analysis`` and the calls of its analyses); core18 (the nested paths).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from fwsync.sandbox.hierarchy.containers import list_kind
from fwsync.sandbox.kept import catalog, tree
from fwsync.sandbox.kept.listing import Where
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.kept.render import inputs_of
from fwsync.sandbox.problems import invalid, missing
from fwsync.sandbox.site import Call, answer

#: What the list of all analyses at one level below a container narrows to: the last step down.
_LEVEL: Final = {
    "all": "1",
    "subjects": "c.subject_id IS NOT NULL AND c.session_id IS NULL",
    "sessions": "c.session_id IS NOT NULL AND c.acquisition_id IS NULL",
    "acquisitions": "c.acquisition_id IS NOT NULL",
}


@dataclass(frozen=True, slots=True)
class _Input:
    """A file that is named in the body of a request; ``version`` 0 is the newest."""

    file_id: str
    container: str
    name: str
    version: int


async def create(call: Call) -> web.Response:
    """``POST /{cont}/{id}/analyses``.

    The inputs are ``{type, id, name}``, container and file name, or ``{file_id}``; either may
    name a ``version``.
    """
    place = await call.place(call.part("id"), "rw")
    if place.kind not in tree.WITH_ANALYSES:
        raise invalid(f"no analysis can hang on a {place.kind}")
    body = await call.json_object()
    new = tree.new_container("analysis", body, place.id)
    inputs = await _inputs(call, body.get("inputs"))
    return answer({"_id": await call.site.records.write(_create, new, inputs)})


def _create(pen: Pen, new: tree.NewContainer, inputs: list[tuple[str, int]]) -> str:
    made = tree.create(pen, new)
    rows = [(made, position, *file) for position, file in enumerate(inputs)]
    pen.db.executemany("INSERT INTO analysis_inputs VALUES (?,?,?,?)", rows)
    return made


async def _inputs(call: Call, told: object) -> list[tuple[str, int]]:
    """Files and versions of the inputs.

    Raises:
        ApiError: 400, 403, 404 there is no such file.
    """
    if told is None:
        return []
    if not isinstance(told, list):
        raise invalid("inputs must be a list")
    found = await call.read(_find_all, [_read_input(one) for one in told])
    for container in {container for container, _, _ in found}:
        await call.place(container, "ro", "")
    return [(file_id, version) for _, file_id, version in found]


def _read_input(told: object) -> _Input:
    if not isinstance(told, dict):
        raise invalid("an input is an object")
    file_id, container, name = (told.get(key, "") for key in ("file_id", "id", "name"))
    version = told.get("version") or 0
    if not all(isinstance(text, str) for text in (file_id, container, name)):
        raise invalid("file_id, id and name of an input are texts")
    if type(version) is not int or not 0 <= version < 1 << 31:
        raise invalid("the version of an input is a whole number")
    if not file_id and not (container and name):
        raise invalid("an input needs the type, id and name of a file, or its file_id")
    return _Input(file_id, container, name, version)


def _find_all(db: sqlite3.Connection, wanted: list[_Input]) -> list[tuple[str, str, int]]:
    """Container, file id and version of each."""
    return [_find(db, one) for one in wanted]


def _find(db: sqlite3.Connection, wanted: _Input) -> tuple[str, str, int]:
    if wanted.file_id:
        row = catalog.by_id(db, wanted.file_id)
    else:
        row = catalog.by_name(db, wanted.container, wanted.name)
    version = wanted.version
    if row is None or (version and catalog.at_version(db, row, version) is None):
        raise missing(f"no such file for an input: {wanted.name or wanted.file_id}")
    return row["container_id"], row["id"], version or row["version"]


async def child_list(call: Call) -> web.Response:
    """``GET /{cont}/{id}/analyses``: those of the container itself."""
    place = await call.place(call.part("id"), "ro")
    where = Where(("c.kind = 'analysis'", "c.parent_id = ?"), (place.id,))
    return await list_kind(call, "analysis", where)


async def list_below(call: Call) -> web.Response:
    """``GET /{cont}/{id}/{level}/analyses``: those of every container of a level below."""
    place = await call.place(call.part("id"), "ro")
    narrowed = f"c.{place.kind}_id = ?"
    where = Where(("c.kind = 'analysis'", narrowed, _LEVEL[call.part("level")]), (place.id,))
    return await list_kind(call, "analysis", where)


async def input_files(call: Call) -> web.Response:
    """``GET /analyses/{id}/input_files/{name}/info``: a list, for names may be equal."""
    place = await call.place(call.part("id"), "ro")
    grants = await call.site.grants(call.caller)
    found = [
        entry
        for entry in await call.read(inputs_of, place.id, grants)
        if entry["name"] == call.part("name")
    ]
    if not found:
        raise missing("no such input file")
    return answer(found)


def nested(
    handler: Callable[[Call], Awaitable[web.StreamResponse]],
) -> Callable[[Call], Awaitable[web.StreamResponse]]:
    """The handler of ``/analyses/{id}/…``, for ``/{cont}/{id}/analyses/{aid}/…``."""

    async def within(call: Call) -> web.StreamResponse:
        outer, inner = call.part("id"), call.part("aid")
        if not await call.read(_hangs_on, inner, outer):
            raise missing(f"no such analysis: {inner}")
        parts = {name: part for name, part in call.parts.items() if name != "aid"}
        return await handler(replace(call, parts={**parts, "id": inner}, kind="analysis"))

    return within


def _hangs_on(db: sqlite3.Connection, analysis: str, container: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM containers WHERE id = ? AND parent_id = ? AND deleted IS NULL",
        (analysis, container),
    ).fetchone()
    return row is not None
