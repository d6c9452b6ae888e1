"""Deletions: of containers and files, one or a list, and the reasons given for them.

Whoever may write deletes what users and jobs have written; what came from a device is original
data, and takes an admin. Nothing is removed from the records: it is marked, with the reason.

Source: the routes and ``ContainerDeleteReason`` of SDK 23; the ``reason`` of a 403 from core19.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Final

from aiohttp import web

from fwsync.sandbox import targets
from fwsync.sandbox.kept import catalog, tree
from fwsync.sandbox.kept.access import Access, Place, check
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import ApiError, invalid, missing, unprocessable
from fwsync.sandbox.site import Call, answer
from fwsync.sandbox.targets import FileRow

REASONS: Final = (
    "duplicate_data",
    "data_is_not_part_of_study",
    "data_incomplete_or_corrupt",
    "data_structured_incorrectly",
    "data_has_been_exported_or_moved",
    "container_is_empty",
    "analysis_or_processing_failed_or_cancelled",
    "compliance_consent_withdrawn",
    "compliance_phi",
    "compliance_data_policy",
    "test_data",
    "packfile_cleanup",
)
#: Types of origin whose files may be deleted by whoever may write.
DERIVED: Final = ("user", "job")


def _result(deleted: int, not_found: int = 0) -> web.Response:
    return answer({"deleted": deleted, "not_found": not_found, "delete_scheduled": 0})


def _reason(call: Call, *, needed: bool = True) -> str | None:
    """The reason that is given.

    Args:
        needed: where the site has an audit trail.

    Raises:
        ApiError: 400 it is missing, 422 it is none of ``REASONS``.
    """
    told = call.query("delete_reason")
    if not told:
        if needed and call.site.switches.audit_trail:
            raise invalid("this site keeps an audit trail: a delete_reason is required")
        return None
    if told not in REASONS:
        raise unprocessable(f"delete_reason must be one of {', '.join(REASONS)}")
    return told


async def _ids(call: Call) -> list[str]:
    """The list of ids in the body, each once.

    Raises:
        ApiError: 400.
    """
    wanted = await call.json()
    if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
        raise invalid("the body must be a list of ids")
    return list(dict.fromkeys(wanted))


async def _is_admin(call: Call, place: Place) -> bool:
    try:
        check(await call.site.grants(call.caller), place, "admin")
    except ApiError:
        return False
    return True


def _original(what: str) -> ApiError:
    text = f"{what} holds original data of a device, which only an admin may delete"
    return ApiError(403, text, reason="original_data_present")


# ------------------------------------------------------------------------------- containers


async def container(call: Call) -> web.Response:
    """``DELETE /{cont}/{id}``, with everything below."""
    place = await call.place(call.part("id"), "ro")
    await call.place(place.id, need_to_delete(place.kind))
    reason = _reason(call, needed=place.kind != "group")  # SDK 23 sends none for a group
    await _delete_containers(call, [place], reason)
    return _result(1)


async def containers(call: Call) -> web.Response:
    """``DELETE /{cont}`` with a list of ids: all that are there, or none if one is refused."""
    wanted = await _ids(call)
    places = []
    for one in wanted:
        found = await call.site.place(one)
        if found is not None and found.kind == call.kind:
            places.append(await call.place(one, need_to_delete(call.kind)))
    reason = _reason(call, needed=call.kind != "group")
    await _delete_containers(call, places, reason)
    return _result(len(places), len(wanted) - len(places))


def need_to_delete(kind: str) -> Access:
    """What must be granted to delete a container of a kind."""
    return "admin" if kind in ("group", "project", "collection") else "rw"


async def _delete_containers(call: Call, places: list[Place], reason: str | None) -> None:
    guarded = {place.id for place in places if not await _is_admin(call, place)}

    def write(pen: Pen) -> None:
        for place in places:
            if place.kind == "group" and _has_children(pen.db, place):
                raise invalid(f"group {place.id} has projects, and cannot be deleted")
            if place.id in guarded and _has_original(pen.db, place):
                raise _original(f"{place.kind} {place.id}")
            tree.delete(pen, place, reason)

    await call.site.write_tree(write)


def _has_children(db: sqlite3.Connection, place: Place) -> bool:
    row = db.execute(
        "SELECT 1 FROM containers WHERE parent_id = ? AND deleted IS NULL LIMIT 1", (place.id,)
    ).fetchone()
    return row is not None


def _has_original(db: sqlite3.Connection, place: Place) -> bool:
    row = db.execute(
        f"{tree.BELOW} SELECT 1 FROM files WHERE deleted IS NULL"  # noqa: S608 - fixed text
        " AND container_id IN (SELECT id FROM below)"
        " AND json_extract(origin, '$.type') NOT IN (?2, ?3) LIMIT 1",
        (place.id, *DERIVED),
    ).fetchone()
    return row is not None


# ------------------------------------------------------------------------------------ files


async def file_by_name(call: Call) -> web.Response:
    """``DELETE /{cont}/{id}/files/{name}``."""
    return await _delete_file(call, await targets.newest(call, "rw"))


async def file(call: Call) -> web.Response:
    """``DELETE /files/{file_id}``; ``version=`` an older one takes that version alone."""
    row = await targets.newest(call, "rw")
    version = targets.whole(call, "version") or row["version"]
    if version == row["version"]:
        return await _delete_file(call, row)
    old = await call.read(catalog.at_version, row, version)
    if old is None:
        raise missing("no such version of this file")
    await _check_file(call, old)
    reason = _reason(call)
    gone = await call.site.records.write(catalog.delete_version, row["id"], version, reason)
    return _result(gone, 1 - gone)


async def files(call: Call) -> web.Response:
    """``DELETE /files`` with a list of ids: all that are there, or none if one is refused."""
    wanted = await _ids(call)
    found = [row for one in wanted if (row := await call.read(catalog.by_id, one)) is not None]
    for row in found:
        await _check_file(call, row)
    reason = _reason(call)

    def write(pen: Pen) -> int:
        return sum(catalog.delete(pen, row["id"], reason) for row in found)

    gone = await call.site.records.write(write)
    return _result(gone, len(wanted) - gone)


async def _delete_file(call: Call, row: FileRow) -> web.Response:
    await _check_file(call, row)
    gone = await call.site.records.write(catalog.delete, row["id"], _reason(call))
    return _result(gone, 1 - gone)


async def _check_file(call: Call, row: FileRow) -> None:
    """Refuse a caller who may not delete this file.

    Raises:
        ApiError: 403.
    """
    place = await call.place(row["container_id"], "rw", "")
    origin = json.loads(row["origin"])
    if origin["type"] not in DERIVED and not await _is_admin(call, place):
        raise _original(f"file {row['name']}")
