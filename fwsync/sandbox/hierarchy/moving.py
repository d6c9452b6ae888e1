"""A container gets another parent: everything below it goes along.

Source: SDK 23 (``PUT`` with the id of a parent, and what must be granted on either side).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.kept import tree
from fwsync.sandbox.kept.access import Access, Place, load_place
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import invalid, missing
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

#: What a body may say about where a container is to be.
NAMES: Final[dict[str, frozenset[str]]] = {
    "project": frozenset({"group"}),
    "subject": frozenset({"project"}),
    "session": frozenset({"project", "subject"}),
    "acquisition": frozenset({"session"}),
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a container is to be: below a container, or below a subject of a project."""

    above: str
    subject_label: str | None = None


async def change(call: Call) -> web.Response:
    """``PUT /{cont}/{id}``: its fields, and its parent where the body names one."""
    place = await call.place(call.part("id"), "ro")
    await call.place(place.id, "admin" if place.kind == "group" else "rw")
    body = await call.json_object()
    target = await _target(call, place, body)

    def write(pen: Pen) -> None:
        tree.change(pen, place, body, also=NAMES.get(place.kind, frozenset()))
        if target is not None:
            _move(pen, place, target)

    await call.site.write_tree(write)
    return answer({"modified": 1, "jobs_spawned": 0})


async def _target(call: Call, place: Place, body: Json) -> Target | None:
    """Where the body wants the container to be, the caller's access to it being checked.

    Raises:
        ApiError: 400, 403, 404.
    """
    if not NAMES.get(place.kind, frozenset()) & body.keys():
        return None
    target = _read_session(body, place) if place.kind == "session" else _read(body, place)
    need: Access = "admin" if place.kind == "project" else "rw"
    if place.kind == "project":
        await call.place(place.id, need, "")
    kind = "project" if target.subject_label is not None else tree.PARENT_OF[place.kind]
    await call.place(target.above, need, kind)
    return target


def _read(body: Json, place: Place) -> Target:
    kind = tree.PARENT_OF[place.kind]
    if not isinstance(body[kind], str):
        raise invalid(f"{kind} has the wrong type: it is an id")
    return Target(body[kind])


def _read_session(body: Json, place: Place) -> Target:
    subject, project = body.get("subject"), body.get("project")
    if isinstance(subject, str):
        return Target(subject)
    if isinstance(subject, dict) and isinstance(subject.get("_id"), str):
        return Target(subject["_id"])
    if project is None:
        project = place.project
    if not isinstance(project, str):
        raise invalid("project has the wrong type: it is an id")
    if subject is None:  # the subject of the same label there
        return Target(project, "")
    label = subject.get("label", subject.get("code")) if isinstance(subject, dict) else None
    if not isinstance(label, str) or not label:
        raise invalid("subject has the wrong type: it is an id, or has an _id, label or code")
    return Target(project, label)


def _move(pen: Pen, place: Place, target: Target) -> None:
    above = load_place(pen.db, target.above)
    if above is not None and target.subject_label is not None:
        label = target.subject_label or _label_of(pen, place.subject or "")
        above = load_place(pen.db, tree.find_or_make_subject(pen, above, label))
    if above is None:
        raise missing(f"no such container: {target.above}")
    row = pen.db.execute("SELECT parent_id FROM containers WHERE id = ?", (place.id,)).fetchone()
    if row["parent_id"] == above.id:
        return
    tree.check_label_is_free(pen.db, place.kind, above.id, _label_of(pen, place.id))
    kinds = tree.KINDS[: tree.KINDS.index(place.kind)]
    columns = ", ".join(f"{kind}_id = ?{at}" for at, kind in enumerate(kinds, start=2))
    values = (place.id, *(getattr(above, kind) for kind in kinds))
    pen.db.execute(
        f"{tree.BELOW} UPDATE files SET {columns}"  # noqa: S608 - names of columns
        " WHERE container_id IN (SELECT id FROM below)",
        values,
    )
    pen.db.execute(
        f"{tree.BELOW} UPDATE containers SET {columns}"  # noqa: S608 - names of columns
        " WHERE id IN (SELECT id FROM below)",
        values,
    )
    pen.db.execute("UPDATE containers SET parent_id = ? WHERE id = ?", (above.id, place.id))


def _label_of(pen: Pen, container: str) -> str:
    row = pen.db.execute("SELECT label FROM containers WHERE id = ?", (container,)).fetchone()
    label: str = row["label"]
    return label
