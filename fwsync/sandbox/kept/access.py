"""What a caller may: grants, roles, and where a container lies.

Its one rule: a grant is given on a group, a project or a collection and holds for everything below;
the higher of two counts. An admin, and a device, may do everything.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Final, Literal

from fwsync.sandbox.problems import forbidden

Access = Literal["ro", "rw", "admin"]
RANK: Final[dict[str, int]] = {"ro": 1, "rw": 2, "admin": 3}

#: The roles a project's permissions speak of, and what they let a user do.
ROLES: Final[dict[str, str]] = {
    "ro": "0000000000000000000000a1",
    "rw": "0000000000000000000000a2",
    "admin": "0000000000000000000000a3",
}
ROLE_LABELS: Final[dict[str, str]] = {
    "ro": "read-only",
    "rw": "read-write",
    "admin": "admin",
}
_READ: Final = (
    "containers_view_metadata",
    "files_view_metadata",
    "files_view_contents",
    "files_download",
    "analyses_view_metadata",
    "tags_view",
    "notes_view",
)
_WRITE: Final = (
    "containers_create_hierarchy",
    "containers_modify_metadata",
    "containers_delete_hierarchy",
    "files_create_upload",  # SDK 23 warns of it; but CLI 18.5.1 needs it, and raises at new names
    "files_modify_metadata",
    "files_move",
    "files_delete_non_device_data",
    "analyses_create_sdk",
    "analyses_modify_metadata",
    "tags_manage",
    "notes_manage",
)
_ADMIN: Final = (
    "containers_delete_project",
    "files_delete_device_data",
    "project_permissions_view",
    "project_permissions_manage",
)
ACTIONS: Final[dict[str, tuple[str, ...]]] = {
    "ro": _READ,
    "rw": _READ + _WRITE,
    "admin": _READ + _WRITE + _ADMIN,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request is from; ``kind`` is also the type of the origin of what they write."""

    kind: Literal["user", "device", "unknown"]
    id: str | None
    root: bool = False
    name: str = ""  # of a device: <method>_<name>

    @property
    def sees_all(self) -> bool:
        """Whether grants need not be asked."""
        return self.root or self.kind == "device"


NOBODY: Final = Caller("unknown", None)


@dataclass(frozen=True, slots=True)
class Place:
    """A container, and the way down to it; ids above and of itself, ``None`` below."""

    kind: str
    id: str
    group: str
    project: str | None
    subject: str | None
    session: str | None
    acquisition: str | None


@dataclass(frozen=True, slots=True)
class Grants:
    """What one user was given: access by the id of a group, project or collection."""

    by_id: dict[str, str] = field(default_factory=dict)
    #: Groups that hold a project with a grant: they can be seen, though not changed.
    on_the_way: frozenset[str] = frozenset()

    def rank(self, place: Place) -> int:
        """0: nothing; otherwise as in ``RANK``."""
        best = RANK.get(self.by_id.get(place.group, ""), 0)
        if place.project is not None:
            best = max(best, RANK.get(self.by_id.get(place.project, ""), 0))
        elif not best and place.id in self.on_the_way:
            best = RANK["ro"]
        return best


def load_grants(db: sqlite3.Connection, user: str) -> Grants:
    """What a user was given on what is alive."""
    rows = db.execute(
        "SELECT p.container_id, p.access, c.group_id FROM permissions p"
        " JOIN containers c ON c.id = p.container_id AND c.deleted IS NULL WHERE p.user_id = ?",
        (user,),
    ).fetchall()
    return Grants({row[0]: row[1] for row in rows}, frozenset(row[2] for row in rows))


def load_place(db: sqlite3.Connection, container: str) -> Place | None:
    """Where a living container lies."""
    row = db.execute(
        "SELECT kind, id, group_id, project_id, subject_id, session_id, acquisition_id"
        " FROM containers WHERE id = ? AND deleted IS NULL",
        (container,),
    ).fetchone()
    return None if row is None else Place(*row)


def check(grants: Grants | None, place: Place, need: Access) -> None:
    """Refuse what is not granted; ``None`` stands for a caller who sees all.

    Raises:
        ApiError: 403.
    """
    if grants is not None and grants.rank(place) < RANK[need]:
        what = {"ro": "read", "rw": "write", "admin": "admin"}[need]
        raise forbidden(f"you have no {what} access to {place.kind} {place.id}")
