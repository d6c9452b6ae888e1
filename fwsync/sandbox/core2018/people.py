"""Users and devices of core18.

A user has one key, and a new one ends it at once. A device is known by its method and name, and
tells of itself by ``POST /devices``.

Source: core18.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.core2018 import asking
from fwsync.sandbox.core2018 import schema as s
from fwsync.sandbox.core2018.wire import json_body, stored
from fwsync.sandbox.kept import keyring
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

_USER: Final = s.closed(
    {
        "_id": s.TEXT,
        "email": s.TEXT,
        "firstname": s.TEXT,
        "lastname": s.TEXT,
        "avatar": s.TEXT_OR_NULL,
        "avatars": s.OBJECT,
        "root": s.FLAG,
        "disabled": s.FLAG,
        "preferences": s.OBJECT,
    },
    "_id",
    "firstname",
    "lastname",
)
_DEVICE: Final = s.closed({"interval": s.NUMBER, "errors": s.TEXTS, "info": s.OBJECT})


# ------------------------------------------------------------------------------------- users


async def myself(call: Call) -> web.Response:
    """``GET /users/self``; the key itself is in it."""
    user = _logged_in(call)

    def read(db: sqlite3.Connection) -> Json:
        keys = keyring.keys_of(db, "user", user)
        return _user_json(db, user) | ({"api_key": _key_json(call, keys[-1])} if keys else {})

    return answer(await call.read(read))


def _logged_in(call: Call) -> str:
    if call.caller.kind != "user" or call.caller.id is None:
        raise ApiError(400, "no user is logged in")
    return call.caller.id


def _user_json(db: sqlite3.Connection, user: str) -> Json:
    """A user, without the key."""
    row = db.execute("SELECT * FROM users WHERE id = ?", (user,)).fetchone()
    doc = json.loads(row["doc"])
    return {
        "_id": row["id"],
        "email": doc.get("email") or row["id"],
        "firstname": row["firstname"],
        "lastname": row["lastname"],
        "root": bool(row["root"]),
        "avatars": doc.get("avatars") or {},
        "created": stored(row["created"]),
        "modified": stored(row["modified"]),
    }


def _key_json(call: Call, key: sqlite3.Row) -> Json:
    used = call.site.keyring.last_used(key["id"])
    last_used = stored(used) if used else None
    return {"key": key["key"], "created": stored(key["created"]), "last_used": last_used}


async def new_key(call: Call) -> web.Response:
    """``POST /users/self/key``: the old key is dead when the answer comes."""
    user = _logged_in(call)

    def write(pen: Pen) -> sqlite3.Row:
        keyring.drop_keys(pen, "user", user)
        return keyring.add_key(pen, "user", user, short=True)

    made = await call.site.records.write(write)
    await call.site.keyring.load()
    return answer({"key": made["key"]})


async def create(call: Call) -> web.Response:
    """``POST /users``: by an admin or a device."""
    if not call.caller.sees_all:
        raise ApiError(403, "only admins are allowed to create users")
    body = await json_body(call)
    s.validate(body, _USER)
    doc = {name: body[name] for name in ("email", "avatars", "preferences") if name in body}

    def write(pen: Pen) -> None:
        if pen.db.execute("SELECT 1 FROM users WHERE id = ?", (body["_id"],)).fetchone():
            raise ApiError(409, f"Object with id {body['_id']} already exists.")
        pen.db.execute(
            "INSERT INTO users (id, firstname, lastname, root, disabled, created, modified, doc)"
            " VALUES (?,?,?,?,?,?,?,?)",
            (
                body["_id"],
                body["firstname"],
                body["lastname"],
                body.get("root", False),
                body.get("disabled", False),
                pen.now,
                pen.now,
                json.dumps(doc),
            ),
        )

    await call.site.records.write(write)
    await call.site.keyring.load()
    return answer({"_id": body["_id"]})


# ----------------------------------------------------------------------------------- devices


async def devices(call: Call) -> web.Response:
    """``GET /devices``."""
    _logged_in_or_device(call)
    return answer(await call.read(lambda db: [_device_json(row) for row in _devices(db)]))


async def device(call: Call) -> web.Response:
    """``GET /devices/{id}``, ``GET /devices/self``."""
    if "id" in call.parts:
        _logged_in_or_device(call)
        wanted = call.part("id")
    else:
        wanted = _device(call)

    def read(db: sqlite3.Connection) -> Json:
        for row in _devices(db):
            if row["name"] == wanted:
                return _device_json(row)
        raise ApiError(404, f"Could not find devices {wanted}")

    return answer(await call.read(read))


async def tell(call: Call) -> web.Response:
    """``POST /devices``: what a device tells of itself."""
    name = _device(call)
    body = await json_body(call)
    s.validate(body, _DEVICE)

    def write(pen: Pen) -> None:
        for column in ("interval", "errors", "info"):
            if column in body:
                value = body[column] if column == "interval" else json.dumps(body[column])
                pen.db.execute(
                    f"UPDATE devices SET {column} = ? WHERE name = ?"  # noqa: S608 - our names
                    " AND deleted IS NULL",
                    (value, name),
                )

    await call.site.records.write(write)
    await call.site.keyring.load()
    return answer({"modified": 1})


async def statuses(call: Call) -> web.Response:
    """``GET /devices/status``."""
    _logged_in_or_device(call)
    now = datetime.now(UTC)

    def read(db: sqlite3.Connection) -> Json:
        return {row["name"]: _status(row, now) for row in _devices(db)}

    return answer(await call.read(read))


def _status(row: sqlite3.Row, now: datetime) -> Json:
    errors, seen = json.loads(row["errors"]), row["last_seen"]
    if errors:
        word = "error"
    elif row["interval"] is None or seen is None:
        word = "unknown"
    else:
        age = (now - datetime.fromisoformat(seen)).total_seconds()
        word = "missing" if age > row["interval"] else "ok"
    shown = {"status": word, "last_seen": stored(seen) if seen else None}
    return shown | ({"errors": errors} if errors else {})


def _devices(db: sqlite3.Connection) -> list[sqlite3.Row]:
    return db.execute("SELECT * FROM devices WHERE deleted IS NULL ORDER BY name").fetchall()


def _device_json(row: sqlite3.Row) -> Json:
    seen = row["last_seen"]
    entry = {
        "_id": row["name"],
        "method": row["method"],
        "name": row["label"],
        "last_seen": stored(seen) if seen else None,
        "errors": json.loads(row["errors"]),
    }
    return entry | ({"interval": row["interval"]} if row["interval"] is not None else {})


def _device(call: Call) -> str:
    if call.caller.kind != "device":
        raise ApiError(403, "Drone request required.")
    return call.caller.name


def _logged_in_or_device(call: Call) -> None:
    if call.caller.kind == "unknown":
        raise asking.refused(call)
