"""Login and start-up: configuration, version, who am I, roles."""

from __future__ import annotations

import sqlite3
from typing import Any

from aiohttp import web

from fwsync._version import __version__
from fwsync.sandbox.access import ACTIONS, ROLE_LABELS, ROLES
from fwsync.sandbox.problems import ApiError, invalid, missing
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
PAGINATION_LIMIT = 100  # the default of SDK 23; lists here are not capped by it


async def config(call: Call) -> web.Response:
    """``GET /config``; public, for the CLI asks before it has a key."""
    features = call.site.features
    url = f"{call.request.scheme}://{call.request.host}/api"
    return answer(
        {
            "site": {
                "id": "sandbox",
                "name": "fwsync sandbox",
                "api_url": url,
                "redirect_url": url,
                "registered": False,
                "inactivity_timeout": None,
                "upload_maximum_bytes": str(call.site.settings.max_upload),
                "pagination_limit": PAGINATION_LIMIT,
            },
            "features": features,
            "signed_url": features["signed_url"],
            "auth": {"basic": {}},
        }
    )


async def version(call: Call) -> web.Response:
    """``GET /version``."""
    return answer(
        {
            "_id": "version",
            "database": 1,
            "release": f"fwsync sandbox {__version__}",
            "flywheel_release": "sandbox",
            "cli_version": "18.5.1",
            "applied_fixes": {},
        }
    )


async def status(call: Call) -> web.Response:
    """``GET /auth/status``."""
    caller = call.caller
    device = caller.kind == "device"
    roles = ["public"]
    if caller.kind == "user":
        roles += ["user", "site_admin"] if caller.root else ["user"]
    elif device:
        roles += ["drone"]
    return answer(
        {
            "origin": {"type": caller.kind, "id": caller.id},
            "user_id": caller.id if caller.kind == "user" else None,
            "user_is_admin": caller.root,
            "is_device": device,
            "roles": roles,
        }
    )


async def myself(call: Call) -> web.Response:
    """``GET /users/self``."""
    if call.caller.kind == "unknown":
        raise invalid("no user is logged in")
    row = await call.read(_user, call.caller.id or "")
    if row is None:
        raise ApiError(403, "a device is no user")
    key = {"key": row["key"], "created": row["created"], "last_used": None}
    return answer(
        {
            "_id": row["id"],
            "email": row["id"],
            "firstname": row["firstname"],
            "lastname": row["lastname"],
            "roles": ["site_admin" if row["root"] else "user"],
            "root": bool(row["root"]),
            "avatar": None,
            "disabled": False,
            "created": row["created"],
            "modified": row["created"],
            "info": {},
            "preferences": {},
            "api_key": key,
            "api_keys": [key],
        }
    )


def _user(db: sqlite3.Connection, user: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute("SELECT * FROM users WHERE id = ?", (user,)).fetchone()
    return row


async def roles(call: Call) -> web.Response:
    """``GET /roles``."""
    return answer([_role(access) for access in ROLES])


async def role(call: Call) -> web.Response:
    """``GET /roles/{id}``; the CLI reads ``actions``."""
    for access, known in ROLES.items():
        if known == call.part("id"):
            return answer(_role(access))
    raise missing("no such role")


def _role(access: str) -> Json:
    return {"_id": ROLES[access], "label": ROLE_LABELS[access], "actions": list(ACTIONS[access])}
