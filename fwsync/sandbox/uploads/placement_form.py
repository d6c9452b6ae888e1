"""What the metadata of ``/upload/label``, ``uid``, ``uid-match`` and ``reaper`` ask for.

Its one rule: objects are closed. A name that is not known is refused rather than lost.

Source: core18's input schemas of the four; the fields of containers of SDK 23.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fwsync.sandbox.kept import fields, tree
from fwsync.sandbox.problems import invalid, refuse_others
from fwsync.sandbox.uploads.forms import check_metadata

Json = dict[str, Any]

#: What each strategy cannot do without, by level; no other level may be there but `OPTIONAL`.
REQUIRED: Final[dict[str, dict[str, str]]] = {
    "label": {"group": "_id", "project": "label"},
    "uid": {"group": "_id", "project": "label", "session": "uid", "acquisition": "uid"},
    "uid-match": {"session": "uid", "acquisition": "uid"},
    "reaper": {"group": "_id", "project": "label", "session": "uid", "acquisition": "uid"},
}
OPTIONAL: Final[dict[str, dict[str, str]]] = {
    "label": {"session": "label", "acquisition": "label"},
    "uid-match": {"project": ""},
}
_PASSED_ON: Final = {"files", "public"}  # `public` is older than roles, and has no effect
#: Where a file goes that several lists name: the first of these.
PRECEDENCE: Final = ("project", "acquisition", "subject", "session")


@dataclass(frozen=True, slots=True)
class Level:
    """What is told of one container: fields as they are kept, and files by name."""

    told: Json
    files: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The metadata of a placement, checked. ``None``: a level is not spoken of."""

    group: str
    project: Level
    subject: Level
    session: Level | None
    acquisition: Level | None

    def text(self, kind: str, name: str) -> str:
        """A field of a level that is a text; empty where it is not told."""
        level: Level | None = getattr(self, kind)
        return "" if level is None else level.told.get(name) or ""

    def of_file(self, name: str) -> tuple[str, Json] | None:
        """The level a file belongs to, and its metadata; ``None``: nobody named it."""
        for kind in PRECEDENCE:
            level: Level | None = getattr(self, kind)
            if level is not None and name in level.files:
                return kind, level.files[name]
        return None


NOTHING: Final = Level({}, {})


def read_wanted(strategy: str, told: Json) -> Wanted:
    """Check the metadata.

    Raises:
        ApiError: 400, something is missing, unknown, or has the wrong type.
    """
    required = REQUIRED[strategy]
    known = required | OPTIONAL.get(strategy, {})
    refuse_others(told, known.keys())
    for kind, name in known.items():
        if kind in required or told.get(kind) is not None:
            _needs(kind, told.get(kind), name)
    session, subject = _session(told.get("session"))
    return Wanted(
        group=_group(told.get("group")),
        project=_level("project", told.get("project")) or NOTHING,
        subject=subject,
        session=session,
        acquisition=_level("acquisition", told.get("acquisition")),
    )


def _needs(kind: str, told: object, name: str) -> None:
    if not isinstance(told, dict):
        raise invalid(f"{kind} is required, as an object")
    if not name:
        return
    if name not in told:
        raise invalid(f"{name!r} is a required property of {kind}")
    # An empty label of a project is the fallback of old reapers; others must say something.
    if not told[name] and kind != "project":
        raise invalid(f"{name} of {kind} is empty")


def _group(told: Json | None) -> str:
    if told is None:
        return ""
    refuse_others(told, {"_id", "label", "roles"}, "group")
    return tree.read_label(told["_id"])


def _session(told: Json | None) -> tuple[Level | None, Level]:
    if told is None:
        return None, NOTHING
    subject = told.get("subject")
    if subject is not None and not isinstance(subject, dict):
        raise invalid("subject of session is no object")
    return _level("session", told), _level("subject", subject) or NOTHING


def _level(kind: str, told: Json | None) -> Level | None:
    if told is None:
        return None
    allowed = _PASSED_ON | {"session": {"subject"}, "subject": {"_id"}}.get(kind, set())
    known = fields.read(kind, told, allowed=allowed)
    kept = {
        name: value
        for name, value in known.items()
        if value is not None and name not in ("files", "public", "subject")
    }
    for name in ("label", "code"):
        if name in kept:
            tree.read_label(kept[name])
    return Level(kept, _files(kind, told.get("files")))


def _files(kind: str, told: object) -> dict[str, Json]:
    if told is None:
        return {}
    if not isinstance(told, list):
        raise invalid(f"files of {kind} is no list")
    found: dict[str, Json] = {}
    for entry in told:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise invalid(f"a file of {kind} needs a name")
        check_metadata(entry)
        found[entry["name"]] = entry
    return found
