"""Who a request is from: the keys of users and devices, and the secret of the site.

Its one rule: what stands in the records is in memory too, read again after each change, so that
asking costs a dictionary and a key that was taken back opens nothing from then on.

Source: SDK 23 and core18/core19 (headers, statuses); a key of 57 characters is sent as ``Bearer``.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from multidict import CIMultiDictProxy

from fwsync.sandbox.kept.access import NOBODY, Caller
from fwsync.sandbox.kept.records import Pen, Records
from fwsync.sandbox.problems import ApiError, invalid

KEY_BYTES: Final = 28  # with the mark before them, a long key
LONG_KEY: Final = 57  # characters; clients send it as ``Bearer``
SHORT_KEY: Final = 18  # characters; source: core18
SEEN_EVERY: Final = 1.0  # seconds; a busy device is not written down more often

_ALL: Final = (
    "SELECT k.id, k.key, k.expires, k.owner_kind, k.owner_id, u.root,"
    " coalesce(u.disabled, d.disabled) AS disabled, d.name FROM keys k"
    " LEFT JOIN users u ON k.owner_kind = 'user' AND u.id = k.owner_id AND u.deleted IS NULL"
    " LEFT JOIN devices d ON k.owner_kind = 'device' AND d.id = k.owner_id AND d.deleted IS NULL"
    " WHERE u.id IS NOT NULL OR d.id IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class Holder:
    """What one key stands for."""

    key_id: str
    caller: Caller
    expires: datetime | None
    disabled: bool


class Keyring:
    """Every key of a site."""

    def __init__(self, records: Records, device_secret: str) -> None:
        self._records = records
        self._secret = device_secret.encode()
        self._loading = asyncio.Lock()
        self._holders: dict[str, Holder] = {}
        self._by_name: dict[str, Caller] = {}
        self._disabled: set[str] = set()  # devices
        self._seen: dict[str, float] = {}  # device → monotonic seconds
        self._troubled: set[str] = set()  # devices that told of errors
        self._used: dict[str, str] = {}  # key id → time

    async def load(self) -> None:
        """Read the keys again; whoever changes users, devices or keys calls it."""
        async with self._loading:  # or an older answer could come last, and open what was closed
            self._take(*await self._records.read(_load))

    def _take(self, rows: list[sqlite3.Row], devices: list[sqlite3.Row]) -> None:
        self._holders = {row["key"]: _holder(row) for row in rows}
        self._by_name = {row["name"]: _device(row["id"], row["name"]) for row in devices}
        self._disabled = {row["id"] for row in devices if row["disabled"]}
        self._troubled = {row["id"] for row in devices if row["errors"] != "[]"}

    async def caller(self, headers: CIMultiDictProxy[str]) -> Caller:
        """Who the headers speak for. A device that asks is alive, and its errors are over.

        Raises:
            ApiError: 401, the key or secret is wrong; 402, its owner is disabled; 400, a device
                without a name.
        """
        caller = await self._caller(headers)
        if caller.kind == "device" and caller.id is not None:
            await self._alive(caller.id)
        return caller

    def last_used(self, key_id: str) -> str | None:
        """When a key was last used since the start."""
        return self._used.get(key_id)

    async def _caller(self, headers: CIMultiDictProxy[str]) -> Caller:
        if "X-SciTran-Auth" in headers:
            return await self._by_secret(headers)
        authorization = headers.get("Authorization", "").strip()
        if not authorization:
            return NOBODY
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() not in ("scitran-user", "bearer"):
            raise ApiError(401, f"Authorization scheme {scheme!r} is not supported")
        holder = self._holders.get(key.strip().rpartition(":")[2])
        now = datetime.now(UTC)
        if holder is None or (holder.expires is not None and holder.expires < now):
            raise ApiError(401, "Invalid API key")
        if holder.disabled:
            raise ApiError(402, f"{holder.caller.kind} {holder.caller.id} is disabled")
        self._used[holder.key_id] = now.isoformat(timespec="microseconds")
        return holder.caller

    async def _by_secret(self, headers: CIMultiDictProxy[str]) -> Caller:
        """A device that knows the secret of the site; unknown ones are registered."""
        told = headers["X-SciTran-Auth"].encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(told, self._secret):
            raise ApiError(401, "Invalid drone secret")
        method, name = headers.get("X-SciTran-Method"), headers.get("X-SciTran-Name")
        if not method or not name:
            raise invalid("X-SciTran-Method and X-SciTran-Name are required")
        full = f"{method}_{name}".replace(" ", "_")
        if not _is_unicode(full):
            raise invalid("X-SciTran-Method and X-SciTran-Name must be UTF-8")
        if full not in self._by_name:
            await self._records.write(register, full, label=name, method=method)
            await self.load()
        caller = self._by_name.get(full)
        if caller is None:  # an admin was quicker
            raise ApiError(401, f"device {full} was deleted")
        if caller.id in self._disabled:
            raise ApiError(402, f"device {full} is disabled")
        return caller

    async def _alive(self, device: str) -> None:
        now = time.monotonic()
        known = self._seen.get(device)
        if device not in self._troubled and known is not None and now - known < SEEN_EVERY:
            return
        self._seen[device] = now
        self._troubled.discard(device)
        await self._records.write(_mark_seen, device)


def _load(db: sqlite3.Connection) -> tuple[list[sqlite3.Row], list[sqlite3.Row]]:
    devices = "SELECT id, name, disabled, errors FROM devices WHERE deleted IS NULL"
    return db.execute(_ALL).fetchall(), db.execute(devices).fetchall()


def _holder(row: sqlite3.Row) -> Holder:
    if row["owner_kind"] == "device":
        caller = _device(row["owner_id"], row["name"])
    else:
        caller = Caller("user", row["owner_id"], bool(row["root"]))
    expires = datetime.fromisoformat(row["expires"]) if row["expires"] else None
    return Holder(row["id"], caller, expires, bool(row["disabled"]))


def _device(device: str, name: str) -> Caller:
    return Caller("device", device, name=name)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _mark_seen(pen: Pen, device: str) -> None:
    pen.db.execute(
        "UPDATE devices SET last_seen = ?, errors = '[]' WHERE id = ?", (pen.now, device)
    )


def register(
    pen: Pen,
    name: str,
    *,
    label: str,
    method: str | None = None,
    kind: str | None = None,
    doc: str = "{}",
) -> tuple[str, str]:
    """Make a device and its key, unless there is one of that name; returns both.

    Args:
        name: unique among the living.
        kind: its type.
        doc: JSON of what else is known of it.
    """
    known = pen.db.execute(
        "SELECT d.id, k.key FROM devices d JOIN keys k ON k.owner_kind = 'device'"
        " AND k.owner_id = d.id WHERE d.name = ? AND d.deleted IS NULL ORDER BY k.created",
        (name,),
    ).fetchone()
    if known is not None:  # another request registered it meanwhile
        return known["id"], known["key"]
    device = pen.new_id()
    pen.db.execute(
        "INSERT INTO devices (id, name, label, method, type, errors, info, disabled, created,"
        " modified, doc) VALUES (?,?,?,?,?,'[]','{}',0,?,?,?)",
        (device, name, label, method, kind, pen.now, pen.now, doc),
    )
    return device, add_key(pen, "device", device)["key"]


def add_key(
    pen: Pen,
    owner_kind: str,
    owner: str,
    *,
    label: str = "",
    expires: str | None = None,
    short: bool = False,
) -> sqlite3.Row:
    """Draw a key; returns its row. A short one is sent as ``scitran-user`` by every client."""
    made = secrets.token_hex(12)
    drawn = f"k{secrets.token_hex(KEY_BYTES)}"[: SHORT_KEY if short else LONG_KEY]
    pen.db.execute(
        "INSERT INTO keys VALUES (?,?,?,?,?,?,?)",
        (made, drawn, owner_kind, owner, label, pen.now, expires),
    )
    row: sqlite3.Row = pen.db.execute("SELECT * FROM keys WHERE id = ?", (made,)).fetchone()
    return row


def drop_keys(pen: Pen, owner_kind: str, owner: str, which: str | None = None) -> int:
    """Take the keys of a user or device back; returns how many there were.

    Args:
        which: the id of a key, or the key itself; ``None``: all of them.
    """
    return pen.db.execute(
        "DELETE FROM keys WHERE owner_kind = ?1 AND owner_id = ?2"
        " AND (?3 IS NULL OR ?3 IN (id, key))",
        (owner_kind, owner, which),
    ).rowcount


def keys_of(db: sqlite3.Connection, owner_kind: str, owner: str) -> list[sqlite3.Row]:
    """The keys of a user or device, the oldest first."""
    return db.execute(
        "SELECT * FROM keys WHERE owner_kind = ? AND owner_id = ? ORDER BY created, id",
        (owner_kind, owner),
    ).fetchall()
