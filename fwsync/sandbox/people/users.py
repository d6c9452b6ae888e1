"""Users: who they are, and their keys.

Source: SDK 23 (routes, fields); core18 (409 for an id that exists, a new key ends the old ones).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any, Final, TypeVar

from aiohttp import web

from fwsync.sandbox.kept import keyring
from fwsync.sandbox.kept.listing import Source, Where, list_query
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.pages import answer_page
from fwsync.sandbox.people.devices import key_json, key_request, new_key_json
from fwsync.sandbox.problems import ApiError, forbidden, invalid, missing, refuse_others
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
T = TypeVar("T")

_TEXTS: Final = ("firstname", "lastname", "email", "avatar")
_FIELDS: Final = {*_TEXTS, "_id", "root", "roles", "disabled", "info", "preferences", "password"}


def user_json(row: sqlite3.Row) -> Json:
    """A user as others see them."""
    doc: Json = json.loads(row["doc"])
    return {
        "_id": row["id"],
        "email": doc.get("email") or row["id"],
        "firstname": row["firstname"],
        "lastname": row["lastname"],
        "roles": ["site_admin" if row["root"] else "user"],
        "root": bool(row["root"]),
        "avatar": doc.get("avatar"),
        "disabled": bool(row["disabled"]),
        "created": row["created"],
        "modified": row["modified"],
    }


USERS: Final = Source(
    "SELECT * FROM users u",
    "users u",
    "u",
    lambda _, rows: [user_json(row) for row in rows],
    {"_id": "id", "firstname": "firstname", "lastname": "lastname"},
    orders={
        "email": "coalesce(nullif(json_extract(u.doc, '$.email'), ''), u.id)",
        "root": "u.root",
        "disabled": "u.disabled",
    },
)


async def myself(call: Call) -> web.Response:
    """``GET /users/self``; the key is in it."""
    if call.caller.kind == "unknown":
        raise invalid("no user is logged in")
    if call.caller.kind != "user":
        raise forbidden("a device is no user")

    def read(db: sqlite3.Connection) -> Json:
        row = _load(db, call.caller.id or "")
        keys = keyring.keys_of(db, "user", row["id"])
        doc: Json = json.loads(row["doc"])
        newest = {"key": keys[-1]["key"], "created": keys[-1]["created"]} if keys else None
        if newest is not None:
            newest["last_used"] = call.site.keyring.last_used(keys[-1]["id"])
        return user_json(row) | {
            "info": doc.get("info", {}),
            "preferences": doc.get("preferences", {}),
            "api_key": newest,
            "api_keys": [key_json(call, key) for key in keys],
        }

    return answer(await call.read(read))


async def my_info(call: Call) -> web.Response:
    """``GET /users/self/info``."""
    if call.caller.kind != "user":
        raise invalid("no user is logged in")

    def read(db: sqlite3.Connection) -> Json:
        doc: Json = json.loads(_load(db, call.caller.id or "")["doc"])
        info: Json = doc.get("info", {})
        return info

    return answer(await call.read(read))


async def create(call: Call) -> web.Response:
    """``POST /users``: by an admin or a device. The user has no key until they draw one."""
    if not call.caller.root and call.caller.kind != "device":
        raise forbidden("only a site admin may do this")
    body = await call.json_object()
    fields = _fields(body)
    user = body.get("_id") or body.get("email")
    if not isinstance(user, str) or not user:
        raise invalid("a user needs an _id, their e-mail address")
    for name in ("firstname", "lastname"):
        if not isinstance(body.get(name), str):
            raise invalid(f"'{name}' is a required property")

    def write(pen: Pen) -> None:
        if pen.db.execute("SELECT 1 FROM users WHERE id = ?", (user,)).fetchone() is not None:
            raise ApiError(409, f"Object with id {user} already exists.")
        pen.db.execute(
            "INSERT INTO users VALUES (?,?,?,?,?,?,?,NULL,?)",
            (
                user,
                body["firstname"],
                body["lastname"],
                fields["root"] or False,
                fields["disabled"] or False,
                pen.now,
                pen.now,
                json.dumps(_doc(body, {})),
            ),
        )

    await call.site.records.write(write)
    return answer({"_id": user})


async def top_list(call: Call) -> web.Response:
    """``GET /users``."""
    query = list_query(call.request.query)
    where = Where(("u.deleted IS NULL",))
    return await answer_page(call, USERS, where, query)


async def get(call: Call) -> web.Response:
    """``GET /users/{id}``."""

    def read(db: sqlite3.Connection) -> Json:
        return user_json(_load(db, call.part("id")))

    return answer(await call.read(read))


async def change(call: Call) -> web.Response:
    """``PUT /users/{id}``: an admin; or the user, but not what they may."""
    body = await call.json_object()
    fields = _fields(body)
    user = call.part("id")
    beyond = call.caller.id != user or not {"root", "roles", "disabled"}.isdisjoint(body)
    if beyond and not call.caller.root:
        raise forbidden("only a site admin may do this")

    def write(pen: Pen) -> None:
        row = _load(pen.db, user)
        pen.db.execute(
            "UPDATE users SET firstname = ?, lastname = ?, root = ?, disabled = ?, modified = ?,"
            " doc = ? WHERE id = ?",
            (
                body.get("firstname", row["firstname"]),
                body.get("lastname", row["lastname"]),
                row["root"] if fields["root"] is None else fields["root"],
                row["disabled"] if fields["disabled"] is None else fields["disabled"],
                pen.now,
                json.dumps(_doc(body, json.loads(row["doc"]))),
                user,
            ),
        )

    await _write(call, write)
    return answer({"modified": 1})


async def delete(call: Call) -> web.Response:
    """``DELETE /users/{id}``: their keys and permissions are gone at once."""
    call.only_admins()
    user = call.part("id")
    if user == call.caller.id:
        raise forbidden("nobody deletes themselves")

    def write(pen: Pen) -> None:
        _load(pen.db, user)
        pen.db.execute("UPDATE users SET deleted = ? WHERE id = ?", (pen.now, user))
        keyring.drop_keys(pen, "user", user)
        pen.db.execute("DELETE FROM permissions WHERE user_id = ?", (user,))

    await _write(call, write)
    return answer({"deleted": 1})


async def new_key(call: Call) -> web.Response:
    """``POST /users/self/key``.

    With a label or an expiry a key joins the others; without a body it takes the place of all.
    """
    if call.caller.kind != "user" or call.caller.id is None:
        raise forbidden("a device is no user")
    user = call.caller.id
    body = await call.json() if call.request.body_exists else None
    label, expires = key_request(body or {})

    def write(pen: Pen) -> sqlite3.Row:
        if not body:
            keyring.drop_keys(pen, "user", user)
        return keyring.add_key(pen, "user", user, label=label, expires=expires)

    return answer(new_key_json(call, await _write(call, write)))


async def key_for(call: Call) -> web.Response:
    """``POST /sandbox/users/{id}/key``: a key for somebody else. No site offers this; tests do."""
    call.only_admins()

    def write(pen: Pen) -> sqlite3.Row:
        return keyring.add_key(pen, "user", _load(pen.db, call.part("id"))["id"])

    return answer(new_key_json(call, await _write(call, write)))


async def delete_key(call: Call) -> web.Response:
    """``DELETE /users/self/key/{key_id}``; SDK 23 knows no id of a key, and sends the key."""

    def write(pen: Pen) -> int:
        return keyring.drop_keys(pen, "user", call.caller.id or "", call.part("key_id"))

    if not await _write(call, write):
        raise missing("no such key")
    return answer({"deleted": 1})


async def _write(call: Call, job: Callable[[Pen], T]) -> T:
    """A write after which other keys are valid, or other grants hold."""
    result = await call.site.write_tree(job)
    await call.site.keyring.load()
    return result


def _load(db: sqlite3.Connection, user: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM users WHERE id = ? AND deleted IS NULL", (user,)
    ).fetchone()
    if row is None:
        raise missing(f"no such user: {user}")
    return row


def _fields(body: Json) -> dict[str, bool | None]:
    refuse_others(body, _FIELDS)
    for name in _TEXTS:
        if body.get(name) is not None and not isinstance(body[name], str):
            raise invalid(f"{name} has the wrong type")
    for name in ("firstname", "lastname"):
        if name in body and body[name] is None:
            raise invalid(f"{name} has the wrong type")
    for name in ("info", "preferences"):
        if not isinstance(body.get(name, {}), dict):
            raise invalid(f"{name} is an object")
    for name in ("root", "disabled"):
        if not isinstance(body.get(name, False), bool):
            raise invalid(f"{name} is true or false")
    roles = body.get("roles")
    if roles is not None and not isinstance(roles, list):
        raise invalid("roles is a list")
    root = body.get("root", None if roles is None else "site_admin" in roles)
    return {"root": root, "disabled": body.get("disabled")}


def _doc(body: Json, before: Json) -> Json:
    kept = ("email", "avatar", "info", "preferences")
    return before | {name: body[name] for name in kept if name in body}
