"""``NAME.flywheel.json``: what the platform says of a file or a container, beside it on disk.

The form in which the platform's own full archives carry metadata: beside ``scan.nii.gz``
lies ``scan.nii.gz.flywheel.json``, and in the folder ``ses-01`` lies ``ses-01.flywheel.json``
for the session itself. Source: the "full" archives of core19, and flywheel-cli 18.5.1.

Its rule: of a sidecar only what may be set is believed. Sizes, hashes, ids, times of upload
and whatever else a server keeps for itself are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum

from fwsync.metadata.shapes import (
    OF_CONTAINER,
    OF_FILE,
    Json,
    NotJson,
    clean_info,
    clean_value,
    tags_of,
)
from fwsync.model import Level, RelPath

SUFFIX = ".flywheel.json"

#: What the platform's own export leaves out of a sidecar (core19), and what its API adds to a
#: record that is stored elsewhere or asked for in another form.
_NOT_EXPORTED = frozenset(
    {
        "_id",
        "parents",
        "collections",
        "group",
        "project",
        "subject",
        "session",
        "acquisition",
        "origin",
        "job",
        "inputs",
        "files",
        "analyses",
        "container_type",
        "node_type",
        "join-origin",
    }
)

#: Bytes of a sidecar that is read: an ``info`` of the largest size, written with indents.
MAX_SIDECAR = 16 << 20


class Sidecars(StrEnum):
    """What becomes of ``*.flywheel.json``."""

    FILES = "files"  #: sent as any other file, and not read
    METADATA = "metadata"  #: read, and not sent
    BOTH = "both"


class BadSidecar(ValueError):
    """It cannot be read as metadata: its text says why."""


def is_sidecar(path: str) -> bool:
    """Is this the name of a sidecar?"""
    return path.endswith(SUFFIX) and not path.endswith("/" + SUFFIX) and path != SUFFIX


def of_file(path: RelPath) -> RelPath:
    """Where the sidecar of a file lies."""
    return RelPath(path + SUFFIX)


def of_folder(folder: RelPath, label: str) -> RelPath:
    """Where the sidecar of a container lies.

    Args:
        folder: of the container; empty: the root.
        label: as it is spelled on disk: the folder's name; of the root, the project's label.
    """
    inside = f"{folder}/" if folder else ""
    return RelPath(f"{inside}{label}{SUFFIX}")


def read_object(text: bytes) -> Json:
    """The JSON object that a file holds.

    Raises:
        BadSidecar: it holds none.
    """
    if len(text) > MAX_SIDECAR:
        raise BadSidecar(f"it has more than {MAX_SIDECAR} bytes")
    try:
        told = json.loads(text.decode("utf-8-sig"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise BadSidecar("it is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise BadSidecar(f"it is not JSON: {error}") from None
    if not isinstance(told, dict):
        raise BadSidecar(f"it holds no JSON object, but {type(told).__name__}")
    return told


def file_metadata(told: Json) -> dict[str, object]:
    """What a sidecar says of its file, as an upload's metadata.

    Raises:
        BadSidecar: a value is of another type than the platform's.
    """
    said: dict[str, object] = {}
    try:
        for name in sorted(OF_FILE & told.keys()):
            value = told[name]
            if value in (None, "", [], {}):
                continue
            said[name] = _of_file(name, value)
    except NotJson as error:
        raise BadSidecar(str(error)) from None
    return said


def container_fields(level: Level, told: Json) -> dict[str, object]:
    """What a sidecar says of its container, as fields (``session.timestamp``).

    Raises:
        BadSidecar: a value is of another type than the platform's.
    """
    said: dict[str, object] = {}
    try:
        for name in sorted(OF_CONTAINER.get(level, frozenset()) & told.keys()):
            if told[name] not in (None, ""):
                said[f"{level}.{name}"] = clean_value(told[name], name)
        info, tags = told.get("info"), told.get("tags")
        if info:
            said[f"{level}.info"] = _info(info)
        if tags:
            said[f"{level}.tags"] = tags_of(tags)
    except NotJson as error:
        raise BadSidecar(str(error)) from None
    # A subject is made under the label of its folder; an older code would make it another's.
    said.pop("subject.code", None)
    return said


def written(told: Json, level: Level | None = None) -> bytes:
    """A sidecar of what the server says: the same bytes whenever it says the same.

    Args:
        told: a file's or a container's entry.
        level: of the container; None: it is a file's.
    """
    names = OF_FILE if level is None else OF_CONTAINER.get(level, frozenset()) | {"info", "tags"}
    called = "name" if level is None else "label"
    kept = {name: told[name] for name in names if told.get(name) not in (None, "", [], {})}
    if isinstance(told.get(called), str):
        kept[called] = told[called]
    return (json.dumps(kept, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()


def exported(told: Json) -> bytes:
    """A sidecar as the platform's own export has it: all that the server says of something.

    The same bytes whenever it says the same. What says where a thing lies or came from is left
    out, so that what is restored elsewhere does not claim to be the original. Source: core19.

    Args:
        told: a file's, a container's or an analysis's entry.
    """
    kept = {name: value for name, value in told.items() if name not in _NOT_EXPORTED}
    text = json.dumps(kept, ensure_ascii=False, indent=2, sort_keys=True)
    return (text + "\n").encode("utf-8", "backslashreplace")


def _of_file(name: str, value: object) -> object:
    if name == "info":
        return _info(value)
    if name == "tags":
        return tags_of(value)
    if name == "classification":
        if not isinstance(value, Mapping):
            raise NotJson("classification is no object of lists")
        return {str(key): tags_of(some, f"classification.{key}") for key, some in value.items()}
    if name == "zip_member_count":
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise NotJson(f"{name} is no whole number")
        return value
    if not isinstance(value, str):
        raise NotJson(f"{name} is no text")
    return clean_value(value, name)


def _info(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise NotJson("info is no object")
    return clean_info(value)


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no number")
