"""Metadata of containers and files: what a body asks for, applied to what is there.

Functions over plain JSON; no I/O here. They change the document they are given.

Source: the bodies of SDK 23 (``Info``, ``FileClassificationDelta``, ``FileModifyInput``); the
rules for keys, and that the two forms do not mix, from core18.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from fwsync.sandbox.problems import ApiError, invalid, missing, refuse_others

Json = dict[str, Any]

MAX_DEPTH: Final = 100  # levels of info; the limit of the store behind core18
MAX_DOC: Final = 16 << 20  # characters of JSON; the limit of the store behind core18
MAX_TAG: Final = 256  # characters
CUSTOM: Final = "Custom"  # the classification that no modality owns


def clean_keys(value: Any, depth: int = 0) -> Any:
    """A copy of what goes into info: ``$`` becomes ``-`` in keys, ``.`` becomes ``_``.

    Raises:
        ApiError: 400, too deep, or a number that JSON does not have.
    """
    if depth > MAX_DEPTH:
        raise invalid(f"metadata are nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return {clean_key(key): clean_keys(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [clean_keys(one, depth + 1) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise invalid("metadata have a number that JSON cannot hold")
    return value


def clean_key(key: str) -> str:
    """A key of info as it is kept. Source: core18; SDK 23 warns of it."""
    return key.replace("$", "-").replace(".", "_")


def dumped(doc: Json) -> str:
    """A document as it is kept.

    Raises:
        ApiError: 413, larger than the store behind core18 takes.
    """
    text = json.dumps(doc)
    if len(text) > MAX_DOC:
        raise ApiError(413, "the metadata are too large")
    return text


def merged(old: Any, new: Any) -> Any:
    """Objects are merged key by key, anything else is replaced.

    That is how a PUT changes info. Source: core18, which sets each leaf on its own.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: merged(old.get(key), value) for key, value in new.items()}
    return new


def change_info(doc: Json, body: Json) -> None:
    """``{"set": {…}, "delete": […]}``, or ``{"replace": {…}}``.

    Raises:
        ApiError: 400.
    """
    _only(body, {"set", "delete", "replace"})
    if "replace" in body:
        if len(body) > 1:
            raise invalid("replace does not go with set or delete")
        doc["info"] = clean_keys(_object(body["replace"], "replace"))
        return
    wanted = clean_keys(_object(body.get("set", {}), "set"))
    gone = {clean_key(key) for key in _texts(body.get("delete", []), "delete")}
    if both := gone & wanted.keys():
        raise invalid(f"{sorted(both)[0]!r} is to be set and deleted")
    kept = {key: value for key, value in (doc.get("info") or {}).items() if key not in gone}
    doc["info"] = kept | wanted


def change_classification(doc: Json, body: Json) -> None:
    """``{"add": {…}, "delete": {…}}``, or ``{"replace": {…}}``; each may set the modality.

    Raises:
        ApiError: 400.
    """
    _only(body, {"add", "delete", "replace", "modality"})
    if "replace" in body and ("add" in body or "delete" in body):
        raise invalid("replace does not go with add or delete")
    if "modality" in body:
        doc["modality"] = optional_text(body["modality"], "modality")
    if "replace" in body:
        doc["classification"] = classification(body["replace"], "replace")
        return
    now: dict[str, list[str]] = dict(doc.get("classification") or {})
    for key, values in classification(body.get("add", {}), "add").items():
        now[key] = list(dict.fromkeys([*now.get(key, []), *values]))
    for key, values in classification(body.get("delete", {}), "delete").items():
        now[key] = [value for value in now.get(key, []) if value not in values]
    doc["classification"] = {key: values for key, values in now.items() if values}


def change_type(doc: Json, body: Json) -> None:
    """``{"type", "modality"}``; a new modality clears the classification but for ``Custom``.

    Raises:
        ApiError: 400.
    """
    _only(body, {"type", "modality"})
    told = {name: optional_text(value, name) for name, value in body.items()}
    if "modality" in told and told["modality"] != doc.get("modality"):
        kept = doc.get("classification") or {}
        doc["classification"] = {CUSTOM: kept[CUSTOM]} if CUSTOM in kept else {}
    doc.update(told)


def classification(value: Any, name: str) -> dict[str, list[str]]:
    """Lists of texts by name, each value once.

    Raises:
        ApiError: 400.
    """
    found = _object(value, name)
    return {key: list(dict.fromkeys(_texts(values, name))) for key, values in found.items()}


def tag(value: Any) -> str:
    """One tag.

    Raises:
        ApiError: 400.
    """
    if not isinstance(value, str) or not value or len(value) > MAX_TAG:
        raise invalid(f"tags are texts of 1 to {MAX_TAG} characters")
    return value


def tags(value: Any) -> list[str]:
    """A list of tags, each once, in the order they are given.

    Raises:
        ApiError: 400.
    """
    if not isinstance(value, list):
        raise invalid("tags are a list of texts")
    return list(dict.fromkeys(tag(one) for one in value))


def add_tag(doc: Json, body: Json) -> None:
    """``{"value": …}``.

    Raises:
        ApiError: 400, 409 it is there.
    """
    now, new = _tags_of(doc), tag(_value(body))
    if new in now:
        raise ApiError(409, "Item already exists in list.")
    doc["tags"] = [*now, new]


def rename_tag(doc: Json, old: str, body: Json) -> str:
    """``{"value": …}`` takes the place of a tag; returns it.

    Raises:
        ApiError: 400, 404 no such tag, 409 the other is there.
    """
    now, new = _tags_of(doc), tag(_value(body))
    if old not in now:
        raise missing(f"no such tag: {old}")
    if new in now and new != old:
        raise ApiError(409, "Item already exists in list.")
    doc["tags"] = [new if one == old else one for one in now]
    return new


def remove_tag(doc: Json, old: str) -> None:
    """Take one tag away.

    Raises:
        ApiError: 404, no such tag.
    """
    now = _tags_of(doc)
    if old not in now:
        raise missing(f"no such tag: {old}")
    doc["tags"] = [one for one in now if one != old]


def set_tags(doc: Json, wanted: list[str]) -> None:
    """These tags and no others."""
    doc["tags"] = wanted


def add_tags(doc: Json, more: list[str]) -> list[str]:
    """Add those that are not there; returns all."""
    doc["tags"] = list(dict.fromkeys([*_tags_of(doc), *more]))
    now: list[str] = doc["tags"]
    return now


def remove_tags(doc: Json, gone: list[str]) -> int:
    """Take away those that are there; returns how many."""
    now = _tags_of(doc)
    doc["tags"] = [one for one in now if one not in gone]
    return len(now) - len(doc["tags"])


def optional_text(value: Any, name: str) -> str | None:
    """A text, or null.

    Raises:
        ApiError: 400.
    """
    if value is not None and not isinstance(value, str):
        raise invalid(f"{name} has the wrong type: it is a text")
    return value


def _tags_of(doc: Json) -> list[str]:
    return list(doc.get("tags") or [])


def _value(body: Json) -> Any:
    if set(body) != {"value"}:
        raise invalid('the body must be {"value": …}')
    return body["value"]


def _only(body: Json, known: set[str]) -> None:
    if not body:
        raise invalid("Empty Payload")
    refuse_others(body, known)


def _object(value: Any, name: str) -> Json:
    if not isinstance(value, dict):
        raise invalid(f"{name} has the wrong type: it is an object")
    return value


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise invalid(f"{name} has the wrong type: it is a list of texts")
    return value
