"""The way down of an upload that says where it belongs: found or made, and filled where empty.

==========================  =================================================================
group                       in any case; else one close spelling; else ``unknown``
project                     by label, in any case
session, acquisition        by label, exactly; or by uid; deleted ones are found as well
==========================  =================================================================

Everything here runs on the thread of the records.

Source: core18.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from fwsync.sandbox.core2018 import asking, planting
from fwsync.sandbox.core2018.front import UNKNOWN_GROUP
from fwsync.sandbox.core2018.render import NAMELESS, permissions_of
from fwsync.sandbox.kept.access import RANK, Grants, Place
from fwsync.sandbox.kept.branches import begin_no_later
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.kept.tree import PLURAL, set_permissions
from fwsync.sandbox.problems import ApiError

Json = dict[str, Any]

LIKENESS: Final = 0.8  # of two spellings of a group
MAX_FUZZY: Final = 64  # characters; a group's id has 32
UNKNOWN_PROJECT: Final = "Unknown"
_SESSION: Final = {
    key: "SELECT c.id FROM containers c JOIN containers s ON s.id = c.subject_id"  # noqa: S608
    f" WHERE c.project_id = :project AND c.kind = 'session' AND c.{key} = :key"
    " AND (:code IS NULL OR s.label = :code) ORDER BY c.id LIMIT 1"
    for key in ("label", "uid")
}
_ACQUISITION: Final = {
    key: "SELECT id FROM containers WHERE session_id = :session"  # noqa: S608 - our names
    f" AND kind = 'acquisition' AND {key} = :key ORDER BY id LIMIT 1"
    for key in ("label", "uid")
}
_ANYWHERE: Final = "SELECT id FROM containers WHERE kind = :kind AND uid = :uid ORDER BY id LIMIT 1"
_IS_DELETED: Final = "SELECT deleted FROM containers WHERE id = ?"


@dataclass(frozen=True, slots=True)
class Target:
    """A container that files go to."""

    level: str
    place: Place
    is_deleted: bool = False
    session_is_deleted: bool = False


class Branches:
    """Finds and makes the containers of one upload.

    Args:
        grants: what the user was given; ``None``: everything.
    """

    def __init__(self, pen: Pen, grants: Grants | None, user: str) -> None:
        self._pen = pen
        self._grants = grants
        self._user = user

    # ---------------------------------------------------------------------- group and project

    def project(self, group: str, label: str) -> Target:
        """The project of a label in a group, or one for what nobody has.

        Raises:
            ApiError: 403.
        """
        group, label = self._group(group, label or UNKNOWN_PROJECT)
        found = asking.find(self._pen.db, group, "group", deleted=False)
        if found is None:  # the group for the rest was deleted: it comes back
            self._pen.db.execute("UPDATE containers SET deleted = NULL WHERE id = ?", (group,))
            found = Place("group", group, group, None, None, None, None)
        for row in self._pen.db.execute(
            "SELECT id, label FROM containers WHERE parent_id = ? AND kind = 'project'"
            " AND deleted IS NULL ORDER BY id",
            (group,),
        ):
            if row["label"].casefold() == label.casefold():
                target = self._target("project", row["id"])
                self.check(target, f"project {row['label']}")
                return target
        self.check(Target("group", found), f"group {group}")
        made = planting.plant(self._pen, "project", label, found, {})
        given = permissions_of(self._pen.db, [group])[group]  # of the group's members it is, too
        set_permissions(self._pen, made.id, given, replace=False)
        return Target("project", made)

    def _group(self, group: str, label: str) -> tuple[str, str]:
        known = [
            row["id"]
            for row in self._pen.db.execute(
                "SELECT id FROM containers WHERE kind = 'group' AND deleted IS NULL ORDER BY id"
            )
        ]
        if group.lower() in known:
            return group.lower(), label
        close = get_close_matches(group[:MAX_FUZZY], known, cutoff=LIKENESS)
        return (close[0], label) if len(close) == 1 else (UNKNOWN_GROUP, f"{group}_{label}")

    def project_of(self, target: Target) -> Target:
        """The project that something lies in."""
        return self._target("project", target.place.project or "")

    def check(self, target: Target, name: str) -> None:
        """Refuse whoever may not write.

        Raises:
            ApiError: 403.
        """
        if asking.rank(self._grants, target.place) < RANK["rw"]:
            text = f"User {self._user} does not have read-write access to {name}"
            raise ApiError(403, text)

    # ----------------------------------------------------------------- session and acquisition

    def anywhere(self, kind: str, uid: str) -> Target | None:
        """A session or acquisition by its uid, wherever it is."""
        return self._first(kind, _ANYWHERE, {"kind": kind, "uid": uid})

    def session(self, project: Target, told: Json, key: str) -> Target:
        """A session of a project, by ``label`` or ``uid``; made when there is none."""
        code = (told.get("subject") or {}).get("code")
        wanted = {
            "project": project.place.id,
            "key": told[key],
            "code": code if key == "label" and code else None,
        }
        found = self._first("session", _SESSION[key], wanted)
        if found is not None:
            return found
        label = told.get("label") or ""
        return Target("session", planting.plant_session(self._pen, project.place, label, told))

    def acquisition(self, session: Target, told: Json, key: str) -> Target:
        """An acquisition of a session, by ``label`` or ``uid``; made when there is none."""
        wanted = {"session": session.place.id, "key": told[key]}
        found = self._first("acquisition", _ACQUISITION[key], wanted)
        if found is not None:
            return found
        doc, label = planting.document(told), told.get("label") or ""
        made = planting.plant(self._pen, "acquisition", label, session.place, doc)
        return Target("acquisition", made, session_is_deleted=session.is_deleted)

    def subject_of(self, session: Target) -> Target:
        """The subject that a session carries."""
        found = self._target("subject", session.place.subject or "")
        deleted = found.is_deleted or session.is_deleted
        return Target("subject", found.place, found.is_deleted, session_is_deleted=deleted)

    def _first(self, kind: str, sql: str, parameters: Mapping[str, str | None]) -> Target | None:
        row = self._pen.db.execute(sql, parameters).fetchone()
        return None if row is None else self._target(kind, row["id"])

    def _target(self, kind: str, container: str) -> Target:
        place = asking.find(self._pen.db, container, kind, deleted=True)
        if place is None:
            raise ApiError(404, f"Could not find {PLURAL[kind]} {container}")
        session = place.session
        return Target(
            kind,
            place,
            self._is_deleted(container),
            session_is_deleted=session is not None and self._is_deleted(session),
        )

    def _is_deleted(self, container: str) -> bool:
        row = self._pen.db.execute(_IS_DELETED, (container,)).fetchone()
        return row is None or row["deleted"] is not None

    # ------------------------------------------------------------------------------- fill in

    def fill(self, target: Target, told: Json) -> None:
        """Add what a container lacks; nothing that it has is changed."""
        db, container = self._pen.db, target.place.id
        row = db.execute("SELECT label FROM containers WHERE id = ?", (container,)).fetchone()
        doc = planting.load_doc(db, container)
        filled = _filled(doc, planting.document(told))
        label = None if row["label"] else told.get("label")
        if filled != doc or label:
            planting.save_doc(self._pen, container, filled, label)
        if target.level == "session" and target.place.subject is not None:
            self._fill_subject(target.place.subject, told.get("subject") or {})

    def _fill_subject(self, subject: str, told: Json) -> None:
        doc, code = planting.load_doc(self._pen.db, subject), told.get("code")
        filled, label = _filled(doc, planting.document(told)), None
        if code and doc.get(NAMELESS):
            del filled[NAMELESS]
            filled["code"] = label = code
        if filled != doc:
            planting.save_doc(self._pen, subject, filled, label)

    def begin_no_later(self, session: Target, told: Json) -> None:
        """A session begins with its earliest acquisition."""
        begin_no_later(self._pen, session.place, planting.document(told))


def _filled(have: Json, told: Json) -> Json:
    made = dict(have)
    for name, value in told.items():
        if made.get(name) is None:
            made[name] = value
        elif isinstance(value, dict) and isinstance(made[name], dict):
            made[name] = _filled(made[name], value)
    return made
