"""All that is said of one file and the containers above it, from all who say something.

Who has the last word on a value, from the last to the first:

1. a ``*.flywheel.json`` sidecar, written for this very file or container,
2. the rules in the settings,
3. the JSON beside a BIDS image, and the tables of a BIDS tree,
4. what the layout read from the path or the header.

Tags are gathered, ``info`` and ``classification`` joined key by key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fwsync.metadata import bids
from fwsync.metadata.rules import MetadataRules
from fwsync.metadata.shapes import (
    Json,
    NotJson,
    clean_info,
    clean_key,
    clean_value,
    joined,
    tags_of,
)
from fwsync.model import Problem, RelPath

_NOTHING: Json = {}


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside a file and above it, read; see the rooms that read each."""

    sidecar: Json = field(default_factory=dict)  #: of the file: an upload's metadata
    image_info: Json = field(default_factory=dict)  #: the JSON beside a BIDS image
    containers: Sequence[Json] = ()  #: of each container that has a sidecar, its fields
    subject_row: bids.Row = field(default_factory=dict)
    session_row: bids.Row = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Described:
    """What is to be said."""

    metadata: Json  #: of the file, as an upload's metadata
    fields: Json  #: of the containers above it, as ``session.timestamp``
    problems: Sequence[Problem] = ()  #: what cannot be said; the file goes without


def describe(
    path: RelPath,
    *,
    metadata: Json = _NOTHING,
    fields: Json = _NOTHING,
    rules: MetadataRules | None = None,
    beside: Beside | None = None,
) -> Described:
    """What to say of one file.

    Args:
        path: on disk, below the root: what the patterns of rules are about.
        metadata: said by the layout, or of a pack (type, zip_member_count).
        fields: from the path or the header: ``session.timestamp``; ``file.type``,
            ``file.info.KEY`` and the like are the file's own.
        rules: from the settings.
        beside: what was read beside it.
    """
    beside = beside or Beside()
    problems: list[Problem] = []
    said = joined(metadata, _own(path, fields, problems))
    if beside.image_info:
        said = joined(said, {"info": beside.image_info})
    if rules is not None:
        said = joined(said, rules.of(path))
    said = joined(said, beside.sidecar)
    above = _joined_fields(
        bids.subject_fields(beside.subject_row), bids.session_fields(beside.session_row)
    )
    above = _joined_fields(above, _of_containers(fields))
    for one in beside.containers:
        above = _joined_fields(above, one)
    info = said.get("info")
    if isinstance(info, Mapping):
        try:
            said["info"] = clean_info(info)
        except NotJson as error:  # each was small enough, and all together are not
            del said["info"]
            problems.append(Problem(path, str(error), "it is sent without its info"))
    return Described(said, above, problems)


def _own(path: RelPath, fields: Json, problems: list[Problem]) -> dict[str, object]:
    """What fields such as ``file.info.scanner`` say of the file."""
    said: dict[str, object] = {}
    for name, value in fields.items():
        if not name.startswith("file.") or value is None:
            continue
        try:
            said = joined(said, _one(name, name.removeprefix("file."), value))
        except NotJson as error:
            problems.append(Problem(path, str(error), "it is sent without this"))
    return said


def _one(name: str, field_name: str, value: object) -> dict[str, object]:
    first, _, key = field_name.partition(".")
    if first == "info" and key:
        return {"info": {clean_key(key): clean_value(value, name)}}
    if first == "classification" and key:
        return {"classification": {key: tags_of(value, name)}}
    if first == "info" and isinstance(value, Mapping):
        return {"info": clean_info(value, name)}
    if first == "tags":
        return {"tags": tags_of(value, name)}
    if first in ("type", "modality", "zip_member_count"):
        return {first: clean_value(value, name)}
    return {}  # its name, size, path: said otherwise


def _of_containers(fields: Json) -> dict[str, object]:
    """The fields that are not the file's; each ``LEVEL.info.KEY`` as a part of ``LEVEL.info``."""
    said: dict[str, object] = {}
    for name, value in fields.items():
        above, found, key = name.partition(".info.")
        if name.startswith("file.") or value is None:
            continue
        one = {f"{above}.info": {clean_key(key): value}} if found else {name: value}
        said = _joined_fields(said, one)
    return said


def _joined_fields(first: Json, then: Json) -> dict[str, object]:
    """Fields of containers, joined: tags are gathered, ``info`` key by key."""
    said = dict(first)
    for name, value in then.items():
        what = name.rpartition(".")[2]
        if what in ("info", "tags") and name in said:
            said[name] = joined({what: said[name]}, {what: value})[what]
        else:
            said[name] = value
    return said
