"""Uploads that say where they belong: ``POST /upload/label``, ``uid``, ``uid-match``, ``reaper``.

Containers on the way are found or made, and of those found only what is empty is filled. Files
go to the level that names them; one that is named nowhere is dropped, and missing in the answer.
All of it is one job of the one writing thread, after the last byte has come.

Source: core18 for what matches and what is filled; SDK 23 for the reaper, which looks for the
acquisition's uid first, and core19 for where it puts what matches nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.formats.multipart import file_name
from fwsync.sandbox.kept import branches, catalog, tree
from fwsync.sandbox.kept.access import RANK, Grants, Place, check, load_grants, load_place
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.kept.render import file_json
from fwsync.sandbox.kept.tree import NewContainer
from fwsync.sandbox.problems import ApiError, forbidden, invalid, missing
from fwsync.sandbox.site import Call, answer
from fwsync.sandbox.uploads import placement_ticket
from fwsync.sandbox.uploads.forms import Form
from fwsync.sandbox.uploads.placement_form import Level, Wanted, read_wanted

Json = dict[str, Any]

UNKNOWN_GROUP: Final = "unknown"
UNKNOWN_PROJECT: Final = "Unknown"
UNSORTED_PROJECT: Final = "Unsorted"
LIKENESS: Final = 0.8  # of two spellings of a group; core18
MAX_FUZZY: Final = 64  # characters; a group's id has 32


async def by_label(call: Call) -> web.Response:
    """``POST /upload/label``."""
    return await _upload(call, "label")


async def by_uid(call: Call) -> web.Response:
    """``POST /upload/uid``."""
    return await _upload(call, "uid")


async def by_uid_match(call: Call) -> web.Response:
    """``POST /upload/uid-match``."""
    return await _upload(call, "uid-match")


async def by_reaper(call: Call) -> web.Response:
    """``POST /upload/reaper``."""
    return await _upload(call, "reaper")


async def _upload(call: Call, strategy: str) -> web.Response:
    _check_caller(call)
    if "ticket" in call.request.query:
        return await placement_ticket.upload(call, strategy, partial(place, call, strategy))
    wanted: list[Wanted] = []
    form = Form(call, lambda told: wanted.append(read_wanted(strategy, told)))
    await form.read()
    if not wanted:
        raise invalid("Metadata required")
    if not form.arrivals:
        raise invalid("No files selected for upload")
    return answer(await place(call, strategy, wanted[-1], form.arrivals))


def _check_caller(call: Call) -> None:
    if call.caller.kind == "unknown":
        raise forbidden("Uploading requires login")
    if call.site.switches.device_uploads and call.caller.kind != "device":
        raise ApiError(402, "uploads must be from an authorized device")


async def place(
    call: Call, strategy: str, wanted: Wanted, arrivals: Sequence[Arrival]
) -> list[Json]:
    """Put files where the metadata say; the entries of those that were named.

    Raises:
        ApiError: 400, 403, 404; then nothing was made.
    """
    # The group for what matches nothing is made, or comes back, with the first such upload.
    is_known = await call.site.place(UNKNOWN_GROUP) is not None
    write = call.site.records.write if is_known else call.site.write_tree
    return await write(_place, call, strategy, wanted, arrivals)


def _place(
    pen: Pen, call: Call, strategy: str, wanted: Wanted, arrivals: Sequence[Arrival]
) -> list[Json]:
    hand = _Hand(pen, call)
    targets = _STRATEGIES[strategy](hand, wanted)
    entries: list[Json] = []
    for arrival in arrivals:
        name = file_name(arrival.name)
        kind, told = wanted.of_file(name) or ("", {})
        if kind not in targets:
            continue
        rows = catalog.store(
            pen,
            targets[kind],
            [Arrival(name, arrival.bytes, told)],
            call.caller,
            keep_metadata=call.flag("preserve_metadata"),
            hash_known=not call.site.switches.empty_hashes,
        )
        entries += map(_placed, rows)
    return entries


def _placed(row: sqlite3.Row) -> Json:
    """The entry of a file that was placed: here alone ``_id`` names file and version. SDK 23."""
    entry = file_json(row)
    return entry | {"_id": {"file_id": entry["file_id"], "version": entry["version"]}}


class _Hand:
    """The pen, and what its holder may do."""

    def __init__(self, pen: Pen, call: Call) -> None:
        caller = call.caller
        self.pen = pen
        self.db = pen.db
        self.is_person = caller.kind == "user"
        #: Of a person, what they were given; an admin too has it only where it is asked for.
        self.own = load_grants(pen.db, caller.id or "") if self.is_person else Grants()
        self.grants = None if caller.sees_all else self.own
        self.by_uid = (call.query("uid_placement") or "true").lower() not in ("false", "0", "no")

    def first(self, places: Sequence[Place]) -> Place | None:
        """The first that may be written; ``None`` where there is none at all.

        Raises:
            ApiError: 403, there are some, but none of them may.
        """
        for one in places:
            if self.grants is None or self.grants.rank(one) >= RANK["rw"]:
                return one
        if places:
            check(self.grants, places[0], "rw")
        return None


# ------------------------------------------------------------------------------- strategies


def _label(hand: _Hand, wanted: Wanted) -> dict[str, Place]:
    project = _project(hand, wanted.group, wanted.text("project", "label")).place
    label = hand.pen.named(wanted.text("acquisition", "label"))
    return _grown(
        hand,
        wanted,
        project,
        _session_labelled(hand, project, wanted),
        lambda there: branches.acquisition_labelled(hand.db, there, label),
    )


def _session_labelled(hand: _Hand, project: Place, wanted: Wanted) -> Place | None:
    if wanted.session is None:
        return None
    label, subject = hand.pen.named(wanted.text("session", "label")), wanted.subject.told
    if "_id" not in subject:
        code = branches.subject_label(subject)
        code = code if code is None else hand.pen.named(code)
        return branches.session_labelled(hand.db, project, label, code)
    there = branches.subject_of(hand.pen, project, subject)
    found = tree.oldest_by_label(hand.db, there.id, "session", label)
    return None if found is None else load_place(hand.db, found)


def _uid(hand: _Hand, wanted: Wanted) -> dict[str, Place]:
    project = _project(hand, wanted.group, wanted.text("project", "label")).place
    return _by_uid_in(hand, wanted, project)


def _by_uid_in(hand: _Hand, wanted: Wanted, project: Place) -> dict[str, Place]:
    found = branches.with_uid(hand.db, "session", wanted.text("session", "uid"), project)
    return _grown(hand, wanted, project, _oldest(found), _acquisition_of(hand, wanted))


def _acquisition_of(hand: _Hand, wanted: Wanted) -> Callable[[Place], Place | None]:
    uid = wanted.text("acquisition", "uid")
    return lambda there: _oldest(branches.with_uid(hand.db, "acquisition", uid, there))


def _uid_match(hand: _Hand, wanted: Wanted) -> dict[str, Place]:
    session = _existing(hand, wanted, "session")
    in_session = _acquisition_of(hand, wanted)(session)
    acquisition = in_session or _existing(hand, wanted, "acquisition")
    project = branches.above(hand.db, session, "project")
    return _grown(hand, wanted, project, session, lambda _: acquisition)


def _existing(hand: _Hand, wanted: Wanted, kind: str) -> Place:
    uid = wanted.text(kind, "uid")
    found = hand.first(branches.with_uid(hand.db, kind, uid))
    if found is None:
        raise missing(f"{kind.capitalize()} with uid {uid} does not exist")
    return found


def _reaper(hand: _Hand, wanted: Wanted) -> dict[str, Place]:
    if not hand.by_uid:
        return _reaped(hand, wanted)
    uid = wanted.text("acquisition", "uid")
    acquisition = hand.first(branches.with_uid(hand.db, "acquisition", uid))
    if acquisition is not None:
        session = branches.above(hand.db, acquisition, "session")
        project = branches.above(hand.db, session, "project")
        return _grown(hand, wanted, project, session, lambda _: acquisition)
    found = hand.first(branches.with_uid(hand.db, "session", wanted.text("session", "uid")))
    if found is not None:
        project = branches.above(hand.db, found, "project")
        return _grown(hand, wanted, project, found, _acquisition_of(hand, wanted))
    return _reaped(hand, wanted)


def _reaped(hand: _Hand, wanted: Wanted) -> dict[str, Place]:
    group, label = wanted.group, wanted.text("project", "label")
    to = _project(hand, group, label, unsorted=True)
    if to.matched or wanted.session is None:
        return _by_uid_in(hand, wanted, to.place)
    name = f"gr-{group}_proj-{label}_ses-{wanted.text('session', 'uid')}"
    named = Level(wanted.session.told | {"label": tree.read_label(name)}, wanted.session.files)
    told = Wanted(group, wanted.project, wanted.subject, named, wanted.acquisition)
    return _by_uid_in(hand, told, to.place)


_STRATEGIES: Final[dict[str, Callable[[_Hand, Wanted], dict[str, Place]]]] = {
    "label": _label,
    "uid": _uid,
    "uid-match": _uid_match,
    "reaper": _reaper,
}


# ----------------------------------------------------------------------------------- growth


def _grown(
    hand: _Hand,
    wanted: Wanted,
    project: Place,
    session: Place | None,
    find: Callable[[Place], Place | None],
) -> dict[str, Place]:
    """Fill what was found and make what was not, from the project down.

    Args:
        find: the acquisition, once its session is there.
    """
    branches.fill(hand.pen, project, _without_label(wanted.project.told))
    targets = {"project": project}
    if wanted.session is None:
        return targets
    told = wanted.session.told
    if session is None:
        subject = branches.subject_of(hand.pen, project, wanted.subject.told)
        session = branches.make(hand.pen, "session", subject, told.get("label", ""), told)
    else:
        branches.fill(hand.pen, session, told)
        subject = branches.above(hand.db, session, "subject")
        branches.fill(hand.pen, subject, wanted.subject.told)
    targets |= {"subject": subject, "session": session}
    if wanted.acquisition is None:
        return targets
    told = wanted.acquisition.told
    acquisition = find(session)
    branches.begin_no_later(hand.pen, session, told)
    if acquisition is None:
        label = told.get("label", "")
        acquisition = branches.make(hand.pen, "acquisition", session, label, told)
    else:
        branches.fill(hand.pen, acquisition, told)
    return targets | {"acquisition": acquisition}


def _oldest(places: Sequence[Place]) -> Place | None:
    return places[0] if places else None


def _without_label(told: Json) -> Json:
    return {name: value for name, value in told.items() if name != "label"}


# -------------------------------------------------------------------------------- projects


@dataclass(frozen=True, slots=True)
class _Destination:
    """A project; ``matched`` unless it is the one for what matches nothing."""

    place: Place
    matched: bool = True


def _project(hand: _Hand, group: str, label: str, *, unsorted: bool = False) -> _Destination:
    """The project of a group and a label, found or made.

    Args:
        unsorted: what matches no group, or has no label, goes to one project for all of it.

    Raises:
        ApiError: 403.
    """
    known = _like(hand, group)
    label, matched = (label, True) if label else (UNKNOWN_PROJECT, not unsorted)
    if known is None:
        label, matched = f"{group}_{label}", not unsorted
    if not matched:
        label = UNSORTED_PROJECT
    # Data that landed in the group for strays belong to nobody: to be an admin is not enough.
    rights = hand.own if known is None and hand.is_person else hand.grants
    above = load_place(hand.db, known or UNKNOWN_GROUP)
    if above is None:
        above = _make_unknown(hand)
    found = branches.project_labelled(hand.db, above.id, label)
    if found is None:
        check(rights, above, "rw")
        found = branches.make(hand.pen, "project", above, tree.read_label(label), {})
    check(rights, found, "rw")
    return _Destination(found, matched)


def _like(hand: _Hand, group: str) -> str | None:
    """The group of that id, in any case, or the only one that is spelled nearly so."""
    rows = hand.db.execute("SELECT id FROM containers WHERE kind = 'group' AND deleted IS NULL")
    ids = [row["id"] for row in rows]
    if group.lower() in ids:
        return group.lower()
    close = get_close_matches(group, ids, cutoff=LIKENESS) if len(group) <= MAX_FUZZY else []
    return close[0] if len(close) == 1 else None


def _make_unknown(hand: _Hand) -> Place:
    if hand.is_person:
        raise forbidden(f"you have no write access to group {UNKNOWN_GROUP}")
    new = NewContainer("group", UNKNOWN_GROUP.capitalize(), None, {})
    tree.upsert_group(hand.pen, UNKNOWN_GROUP, new)
    made = load_place(hand.db, UNKNOWN_GROUP)
    if made is None:
        raise missing(f"no such group: {UNKNOWN_GROUP}")
    return made
