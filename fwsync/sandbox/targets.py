"""What a request speaks of: a file, by its id or by container and name, or a container.

The routes of metadata are the same for all of them, so their handlers ask here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fwsync.sandbox.kept import catalog, tree
from fwsync.sandbox.kept.access import Access
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import invalid, missing, unprocessable
from fwsync.sandbox.site import Call

Json = dict[str, Any]
T = TypeVar("T")
FileRow = Mapping[str, Any] | sqlite3.Row


def _is_file(call: Call) -> bool:
    return "file_id" in call.parts or "name" in call.parts


async def change(call: Call, work: Callable[[Json], T]) -> T:
    """Change the metadata of what the path names; the caller must be allowed to write there.

    Args:
        work: is given the document and may change it; it runs on the thread of the records.

    Raises:
        ApiError: 403, 404, and what ``work`` raises.
    """
    if not _is_file(call):
        return await change_container(call, lambda _, doc: work(doc))
    row = await newest(call, "rw")
    return await call.site.records.write(catalog.edit, row["id"], work)


async def change_container(call: Call, work: Callable[[Pen, Json], T]) -> T:
    """As :func:`change`, for a container alone, with the pen for ids and the time.

    Raises:
        ApiError: 403, 404, and what ``work`` raises.
    """
    place = await call.place(call.part("id"), "rw")

    def write(pen: Pen) -> T:
        return tree.edit(pen, place, lambda doc: work(pen, doc))

    return await call.site.records.write(write)


async def document(call: Call) -> Json:
    """The metadata of what the path names, of a file at the version the query asks for.

    Raises:
        ApiError: 403, 404.
    """
    if _is_file(call):
        found: Json = json.loads((await file(call))["doc"])
        return found
    place = await call.place(call.part("id"), "ro")

    def load(db: sqlite3.Connection) -> Json | None:
        row = db.execute("SELECT doc FROM containers WHERE id = ?", (place.id,)).fetchone()
        return None if row is None else json.loads(row["doc"])

    return await call.read(load) or {}


async def file(call: Call, need: Access = "ro") -> FileRow:
    """The living file that the path names, at the version the query asks for.

    Raises:
        ApiError: 400, 403, 404.
    """
    row = await newest(call, need)
    version = whole(call, "version") or row["version"]  # SDK 23: 0 is the newest
    if version == row["version"]:
        return row
    found = await call.read(catalog.at_version, row, version)
    if found is None:
        raise missing("no such version of this file")
    return found


async def newest(call: Call, need: Access) -> sqlite3.Row:
    """The living file that the path names, whichever version the query asks for.

    Raises:
        ApiError: 403, 404.
    """
    if "file_id" in call.parts:
        row = await call.read(catalog.by_id, call.part("file_id"))
        if row is not None:
            await call.place(row["container_id"], need, "")
    else:
        place = await call.place(call.part("id"), need)
        row = await call.read(catalog.by_name, place.id, call.part("name"))
    if row is None:
        raise missing("no such file")
    return row


def whole(call: Call, name: str, *, required: bool = False) -> int | None:
    """A whole number of the query, 0 or more.

    Raises:
        ApiError: 400 it is none, 422 it is missing.
    """
    text = call.query(name)
    if not text:
        if required:
            raise unprocessable(f"{name} is required")
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid(f"{name} must be a whole number")
    return int(text)
