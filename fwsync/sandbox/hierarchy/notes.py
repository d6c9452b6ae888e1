"""Notes on containers: who wrote what, and when. They are kept with the container.

Source: ``Note`` of SDK 23, and what the descriptions of its calls say of another's notes.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from fwsync.sandbox import targets
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import forbidden, invalid, missing
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

MAX_TEXT: Final = 1 << 20  # characters


async def listing(call: Call) -> web.Response:
    """``GET …/notes``: the oldest first."""
    return answer((await targets.document(call)).get("notes") or [])


async def get(call: Call) -> web.Response:
    """``GET …/notes/{note}``."""
    return answer(_find(await targets.document(call), call.part("note")))


async def add(call: Call) -> web.Response:
    """``POST …/notes`` with ``{"text": …}``; answers the whole note."""
    text = _text(await call.json_object())

    def write(pen: Pen, doc: Json) -> Json:
        note = {
            "_id": pen.new_id(),
            "text": text,
            "user": call.caller.id,
            "created": pen.now,
            "modified": pen.now,
            "timestamp": pen.now,
        }
        doc["notes"] = [*(doc.get("notes") or []), note]
        return note

    return answer(await targets.change_container(call, write))


async def change(call: Call) -> web.Response:
    """``PUT …/notes/{note}`` with ``{"text": …}``; answers how many were changed."""
    text, wanted = _text(await call.json_object()), call.part("note")

    def write(pen: Pen, doc: Json) -> None:
        note = _own(call, doc, wanted)
        note |= {"text": text, "modified": pen.now, "timestamp": pen.now}

    await targets.change_container(call, write)
    return answer(1)


async def remove(call: Call) -> web.Response:
    """``DELETE …/notes/{note}``."""
    wanted = call.part("note")

    def write(_: Pen, doc: Json) -> None:
        _own(call, doc, wanted)
        doc["notes"] = [note for note in doc["notes"] if note["_id"] != wanted]

    await targets.change_container(call, write)
    return answer({"deleted": 1, "not_found": 0, "delete_scheduled": 0})


def _text(body: Json) -> str:
    text = body.get("text")
    if set(body) != {"text"} or not isinstance(text, str):
        raise invalid('a note is {"text": …}')
    if len(text) > MAX_TEXT:
        raise invalid(f"a note has at most {MAX_TEXT} characters")
    return text


def _find(doc: Json, wanted: str) -> Json:
    for note in doc.get("notes") or []:
        if note["_id"] == wanted:
            found: Json = note
            return found
    raise missing(f"no such note: {wanted}")


def _own(call: Call, doc: Json, wanted: str) -> Json:
    """The note, if it is the caller's to change.

    Raises:
        ApiError: 404; 403, somebody else wrote it and the caller is no site admin.
    """
    note = _find(doc, wanted)
    if note["user"] != call.caller.id and not call.caller.root:
        raise forbidden("only a site admin changes the notes of others")
    return note
