"""Who asks, what they may, and what there is: the checks every handler begins with.

Its one rule: without ``root=true`` a site admin's *lists* hold what they are a member of, while a
single container opens for them; a device may do everything.

Source: core18.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from functools import partial
from typing import Final

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from fwsync.sandbox.kept.access import NOBODY, RANK, Access, Caller, Grants, Place
from fwsync.sandbox.kept.tree import KINDS, PLURAL
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call, Site

_PLACE: Final = (
    "SELECT kind, id, group_id, project_id, subject_id, session_id, acquisition_id"
    " FROM containers WHERE id = ?"
)


# ---------------------------------------------------------------------------------- who asks


async def identify(site: Site, request: web.Request) -> Caller:
    """Who a request is from.

    Raises:
        ApiError: 401 a key or secret is wrong, 400 a device without a name, 402 its owner is
            disabled, 403 ``root=true`` of somebody who is no site admin.
    """
    authorization = request.headers.get("Authorization", "").strip()
    if authorization:
        caller = await _by_key(site, authorization)
    elif "X-SciTran-Auth" in request.headers:
        caller = await _by_secret(site, request.headers)
    else:
        caller = NOBODY
    wants_root = request.query.get("root", "").lower() in ("true", "1")
    if wants_root and caller.kind == "user" and not caller.root:
        text = f"user {caller.id} is not authorized to make superuser requests"
        raise ApiError(403, text)
    return caller


async def _by_key(site: Site, authorization: str) -> Caller:
    scheme, _, key = authorization.partition(" ")
    if scheme == "scitran-drone":
        raise ApiError(401, "Drone API keys are not yet supported")
    if scheme != "scitran-user" or not key.strip():
        raise ApiError(401, "Invalid session token")
    headers = CIMultiDict({"Authorization": f"scitran-user {key.split()[0]}"})
    try:
        caller = await site.keyring.caller(CIMultiDictProxy(headers))
    except ApiError as problem:
        raise ApiError(problem.status, _or(problem, 401, "Invalid API key")) from problem
    if caller.kind != "user":
        raise ApiError(401, "Invalid API key")
    return caller


async def _by_secret(site: Site, headers: CIMultiDictProxy[str]) -> Caller:
    if "X-SciTran-Method" not in headers or "X-SciTran-Name" not in headers:
        raise ApiError(400, "X-SciTran-Method or X-SciTran-Name header missing")
    try:
        return await site.keyring.caller(headers)
    except ApiError as problem:
        raise ApiError(problem.status, _or(problem, 401, "invalid drone secret")) from problem


def _or(problem: ApiError, status: int, message: str) -> str:
    return message if problem.status == status else problem.message


def origin(call: Call) -> dict[str, str | None]:
    """Who a file of this request is from; a device is known by its method and name."""
    caller = call.caller
    if caller.kind != "device":
        return {"type": caller.kind, "id": caller.id}
    headers = call.request.headers
    return {
        "type": "device",
        "id": caller.name,
        "method": headers.get("X-SciTran-Method", ""),
        "name": headers.get("X-SciTran-Name", ""),
    }


# ------------------------------------------------------------------------------ what they may


def superuser(call: Call) -> bool:
    """Whether everything is shown, a member or not: devices, and admins who say ``root=true``."""
    caller = call.caller
    return caller.kind == "device" or (caller.root and call.flag("root"))


def granted_to(db: sqlite3.Connection, caller: Caller) -> Grants:
    """What a user was given, on what was deleted too."""
    rows = db.execute(
        "SELECT p.container_id, p.access, c.group_id FROM permissions p"
        " JOIN containers c ON c.id = p.container_id WHERE p.user_id = ?",
        (caller.id,),  # of nobody it is NULL, and equals nothing
    ).fetchall()
    return Grants({row[0]: row[1] for row in rows}, frozenset(row[2] for row in rows))


async def grants(call: Call) -> Grants | None:
    """What lists, archives and paths may show; ``None``: all."""
    return None if superuser(call) else await call.read(granted_to, call.caller)


def rank(given: Grants | None, place: Place) -> int:
    """How much is granted on a container, as in ``RANK``: what its group grants is no matter."""
    if given is None:
        return RANK["admin"]
    if place.kind == "group":
        return given.rank(place)
    return max(RANK.get(given.by_id.get(id_ or "", ""), 0) for id_ in (place.project, place.id))


def may_read(given: Grants | None, row: sqlite3.Row) -> bool:
    """Whether a container is to be shown, from its row."""
    way = [row[f"{kind}_id"] for kind in KINDS]
    return rank(given, Place(row["kind"], row["id"], *way)) >= RANK["ro"]


# ------------------------------------------------------------------------------ what there is


def find(db: sqlite3.Connection, container: str, kind: str, *, deleted: bool) -> Place | None:
    """Where a container lies.

    Args:
        kind: what it must be; empty: anything.
        deleted: whether one that was deleted will do.
    """
    alive = "" if deleted else " AND deleted IS NULL"
    row = db.execute(_PLACE + alive, (container,)).fetchone()
    return Place(*row) if row is not None and kind in ("", row["kind"]) else None


async def place(
    call: Call, need: Access, *, kind: str | None = None, part: str = "id", deleted: bool = False
) -> Place:
    """The container that the path speaks of, the caller's access being checked.

    Args:
        deleted: whether one that was deleted will do, as it does for files.

    Raises:
        ApiError: 404 there is none, 403.
    """
    kind = call.kind if kind is None else kind
    container = call.part(part)
    found = await call.read(partial(find, deleted=deleted), container, kind)
    if found is None:
        raise ApiError(404, f"Could not find {PLURAL[kind]} {container}")
    await allow(call, found, need)
    return found


async def allow(call: Call, place: Place, need: Access) -> None:
    """Check the caller's access to a container.

    Raises:
        ApiError: 403; that of a DELETE says why.
    """
    if await rank_of(call, place) < RANK[need]:
        raise refused(call)


async def rank_of(call: Call, place: Place) -> int:
    """How much the caller may do with a container, as in ``RANK``."""
    if call.caller.sees_all:
        return RANK["admin"]
    return rank(await call.read(granted_to, call.caller), place)


def no_element(place: Place, what: str) -> ApiError:
    """404 for an entry of a list: ``what`` is ``found in list tags of``."""
    return ApiError(404, f"Element not {what} container {PLURAL[place.kind]} {place.id}")


def refused(call: Call, reason: str = "permission_denied") -> ApiError:
    """403 for a container, in the words for members and for those who are not logged in."""
    method = call.request.method
    if call.caller.kind == "unknown":
        text = f"not authorized to perform a {method} operation on this container"
    else:
        text = f"user not authorized to perform a {method} operation on the container."
    return ApiError(403, text, **({"reason": reason} if method == "DELETE" else {}))


def address(call: Call) -> str:
    """Where a request comes from: what a proxy says, if one does."""
    forwarded = call.request.headers.get("X-Forwarded-For", "").split(",")[0].strip()
    return forwarded or call.request.remote or ""


def as_device(call: Call) -> Caller:
    """The caller as the records name them: a device by its method and name."""
    caller = call.caller
    return replace(caller, id=caller.name) if caller.kind == "device" else caller
