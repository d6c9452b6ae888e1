"""Devices: scanners, reapers and hosts that upload without a person.

A device registers with the secret of the site (``X-SciTran-*`` headers) or is made by an admin;
from then on it has a key of its own. Each request of a device is a sign of life and clears the
errors it told of.

Source: SDK 23 (routes, fields), core18 and core19 (status, ``type`` once).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from aiohttp import web

from fwsync.sandbox.kept import keyring
from fwsync.sandbox.kept.listing import Source, Where, list_query
from fwsync.sandbox.kept.moments import utc
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.pages import answer_page
from fwsync.sandbox.problems import (
    ApiError,
    forbidden,
    invalid,
    missing,
    refuse_others,
    unprocessable,
)
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
T = TypeVar("T")

MAX_INTERVAL: Final = 10**9  # seconds
_SELF: Final[dict[str, type | tuple[type, ...]]] = {
    "type": str,
    "version": str,
    "interval": (int, float),
    "errors": list,
    "info": dict,
    "name": str,
}


def device_json(row: sqlite3.Row) -> Json:
    """A device as the wire has it, without its key."""
    doc: Json = json.loads(row["doc"])
    return {
        "_id": row["id"],
        "label": row["label"],
        "name": row["name"],
        "method": row["method"],
        "type": row["type"],
        "version": row["version"],
        "errors": json.loads(row["errors"]),
        "info": json.loads(row["info"]),
        "interval": row["interval"],
        "last_seen": row["last_seen"],
        "disabled": bool(row["disabled"]),
        "created": row["created"],
        "modified": row["modified"],
        "deleted": row["deleted"],
        "storage_config": doc.get("storage_config"),
    }


DEVICES: Final = Source(
    "SELECT * FROM devices d",
    "devices d",
    "d",
    lambda _, rows: [device_json(row) for row in rows],
    {"_id": "id", "label": "label", "name": "name", "type": "type", "version": "version"},
    orders={
        "method": "d.method",
        "interval": "d.interval",
        "last_seen": "d.last_seen",
        "disabled": "d.disabled",
    },
)


async def create(call: Call) -> web.Response:
    """``POST /devices``: an admin makes one; the answer has its key."""
    call.only_admins()
    body = await call.json_object()
    refuse_others(body, {"label", "type", "name", "method", "storage_config"})
    label = body.get("label")
    if not isinstance(label, str) or not label:
        raise invalid("a device needs a label")
    kind = body.get("type")
    if kind is not None and not isinstance(kind, str):
        raise invalid("the type of a device is a text")
    doc = json.dumps({"storage_config": body.get("storage_config")})

    def write(pen: Pen) -> Json:
        taken = "SELECT 1 FROM devices WHERE name = ? AND deleted IS NULL"
        if pen.db.execute(taken, (label,)).fetchone() is not None:
            raise ApiError(409, f"a device with the label {label!r} exists already")
        made, key = keyring.register(pen, label, label=label, kind=kind, doc=doc)
        return device_json(_load(pen.db, made)) | {"key": key}

    return answer(await _write(call, write))


async def top_list(call: Call) -> web.Response:
    """``GET /devices``; ``join_keys=true`` adds the keys to each, for admins, without secrets."""
    joined = call.flag("join_keys")
    source = DEVICES
    if joined:
        call.only_admins()

        def keys(db: sqlite3.Connection, device: str) -> list[Json]:
            return [key_json(call, key) for key in keyring.keys_of(db, "device", device)]

        def render(db: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> list[Json]:
            return [device_json(row) | {"api_keys": keys(db, row["id"])} for row in rows]

        source = replace(DEVICES, render=render)
    query = list_query(call.request.query)
    where = Where(("d.deleted IS NULL",))
    return await answer_page(call, source, where, query)


async def status(call: Call) -> web.Response:
    """``GET /devices/status``."""
    now = datetime.now(UTC)

    def read(db: sqlite3.Connection) -> Json:
        rows = db.execute("SELECT * FROM devices WHERE deleted IS NULL ORDER BY id").fetchall()
        return {row["id"]: _status(row, now) for row in rows}

    return answer(await call.read(read))


def _status(row: sqlite3.Row, now: datetime) -> Json:
    errors = json.loads(row["errors"])
    if errors:
        word = "error"
    elif row["interval"] is None or row["last_seen"] is None:
        word = "unknown"
    else:
        age = (now - datetime.fromisoformat(row["last_seen"])).total_seconds()
        word = "missing" if age > row["interval"] else "ok"
    return {"status": word, "last_seen": row["last_seen"], "errors": errors}


async def myself(call: Call) -> web.Response:
    """``GET /devices/self``: the only read that shows the key."""
    device = _asking(call)

    def read(db: sqlite3.Connection) -> Json:
        keys = keyring.keys_of(db, "device", device)
        shown = [key_json(call, key) for key in keys]
        key = keys[0]["key"] if keys else None
        return device_json(_load(db, device)) | {"key": key, "api_keys": shown}

    return answer(await call.read(read))


async def tell(call: Call) -> web.Response:
    """``PUT /devices/self``: the heartbeat."""
    device = _asking(call)
    body = await call.json_object()
    refuse_others(body, _SELF.keys())
    for name, kind in _SELF.items():
        if body.get(name) is not None and not isinstance(body[name], kind):
            raise invalid(f"{name} has the wrong type")
    interval = body.get("interval")
    if interval is not None and (isinstance(interval, bool) or not 0 <= interval <= MAX_INTERVAL):
        raise invalid("interval is a number of seconds")

    def write(pen: Pen) -> Json:
        row = _load(pen.db, device)
        if row["type"] is not None and body.get("type") not in (None, row["type"]):
            raise unprocessable("the type of a device cannot be changed")
        pen.db.execute(
            "UPDATE devices SET type = ?, version = ?, interval = ?, errors = ?, info = ?,"
            " label = ?, last_seen = ?, modified = ? WHERE id = ?",
            (
                body.get("type") or row["type"],
                body.get("version") or row["version"],
                body.get("interval", row["interval"]),
                json.dumps([str(one) for one in body.get("errors") or ()]),
                json.dumps(json.loads(row["info"]) | (body.get("info") or {})),
                body.get("name") or row["label"],
                pen.now,
                pen.now,
                device,
            ),
        )
        return device_json(_load(pen.db, device))

    return answer(await _write(call, write))


async def get(call: Call) -> web.Response:
    """``GET /devices/{id}``: without the key."""

    def read(db: sqlite3.Connection) -> Json:
        return device_json(_load(db, call.part("id")))

    return answer(await call.read(read))


async def change(call: Call) -> web.Response:
    """``PUT /devices/{id}``: an admin switches a device off and on."""
    call.only_admins()
    body = await call.json_object()
    refuse_others(body, {"disabled", "storage_config"})
    if not isinstance(body.get("disabled", False), bool):
        raise invalid("disabled is true or false")

    def write(pen: Pen) -> Json:
        row = _load(pen.db, call.part("id"))
        doc = json.loads(row["doc"])
        if "storage_config" in body:
            doc["storage_config"] = body["storage_config"]
        pen.db.execute(
            "UPDATE devices SET disabled = ?, doc = ?, modified = ? WHERE id = ?",
            (body.get("disabled", row["disabled"]), json.dumps(doc), pen.now, row["id"]),
        )
        return device_json(_load(pen.db, row["id"]))

    return answer(await _write(call, write))


async def delete(call: Call) -> web.Response:
    """``DELETE /devices/{id}``: its keys are gone at once."""
    call.only_admins()

    def write(pen: Pen) -> None:
        row = _load(pen.db, call.part("id"))
        pen.db.execute("UPDATE devices SET deleted = ? WHERE id = ?", (pen.now, row["id"]))
        keyring.drop_keys(pen, "device", row["id"])

    await _write(call, write)
    return answer({"deleted": 1})


async def new_key(call: Call) -> web.Response:
    """``POST /devices/{id}/key``: one more key; only this answer shows it whole."""
    call.only_admins()
    label, expires = key_request(await call.json() if call.request.body_exists else {})

    def write(pen: Pen) -> sqlite3.Row:
        device = _load(pen.db, call.part("id"))["id"]
        return keyring.add_key(pen, "device", device, label=label, expires=expires)

    return answer(new_key_json(call, await _write(call, write)))


async def delete_key(call: Call) -> web.Response:
    """``DELETE /devices/{id}/key/{key_id}``; SDK 23 knows no id of a key, and sends the key."""
    call.only_admins()

    def write(pen: Pen) -> int:
        device = _load(pen.db, call.part("id"))["id"]
        return keyring.drop_keys(pen, "device", device, call.part("key_id"))

    if not await _write(call, write):
        raise missing("no such key")
    return answer({"deleted": 1})


def key_request(body: Any) -> tuple[str, str | None]:
    """Label and expiry of a key that is asked for.

    Raises:
        ApiError: 400.
    """
    if not isinstance(body, dict):
        raise invalid("the body must be a JSON object")
    refuse_others(body, {"label", "expires_at"})
    expires = body.get("expires_at")
    text = None if expires is None else _utc(expires)
    label = body.get("label") or ""
    if not isinstance(label, str):
        raise invalid("the label of a key is a text")
    return label, text


def _utc(expires: Any) -> str:
    # With microseconds, as `utc` leaves them out where there are none.
    return datetime.fromisoformat(utc(expires)).isoformat(timespec="microseconds")


def key_json(call: Call, row: sqlite3.Row) -> Json:
    """A key as lists show it: which one it is, not what it opens with."""
    return {
        "_id": row["id"],
        "label": row["label"],
        "key": f"…{row['key'][-4:]}",
        "created": row["created"],
        "last_used": call.site.keyring.last_used(row["id"]),
        "expires_at": row["expires"],
    }


def new_key_json(call: Call, row: sqlite3.Row) -> Json:
    """A key as the one answer has it that hands it out: whole."""
    return key_json(call, row) | {"key": row["key"], "unencrypted_secret": row["key"]}


async def _write(call: Call, job: Callable[[Pen], T]) -> T:
    """A write after which the keyring has to look again."""
    result = await call.site.records.write(job)
    await call.site.keyring.load()
    return result


def _load(db: sqlite3.Connection, device: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM devices WHERE id = ? AND deleted IS NULL", (device,)
    ).fetchone()
    if row is None:
        raise missing(f"no such device: {device}")
    return row


def _asking(call: Call) -> str:
    if call.caller.kind != "device" or call.caller.id is None:
        raise forbidden("only a device may do this")
    return call.caller.id
