"""The names of what can be known of a file, and their short forms.

One grammar for templates, regular expressions and rule files: ``sub``, ``ses.ts`` and
``file.info.scanner`` mean the same wherever they stand. Source: fw-meta 4.13.0, whose
names and short forms these are, observed.
"""

from __future__ import annotations

import difflib
import json
import re
from functools import lru_cache

from fwsync.errors import UsageError
from fwsync.mapping.moments import read_moment
from fwsync.mapping.placing import FieldValue
from fwsync.model import Level

#: Canonical names; ``*`` stands for a key of the user's own.
NAMES = (
    "external_routing_id",
    "group._id",
    "group.label",
    "project._id",
    "project.label",
    "project.info.*",
    "subject._id",
    "subject.routing_field",
    "subject.label",
    "subject.firstname",
    "subject.lastname",
    "subject.sex",
    "subject.type",
    "subject.species",
    "subject.strain",
    "subject.tags",
    "subject.info.*",
    "session._id",
    "session.uid",
    "session.routing_field",
    "session.label",
    "session.age",
    "session.weight",
    "session.operator",
    "session.timestamp",
    "session.timezone",
    "session.tags",
    "session.info.*",
    "acquisition._id",
    "acquisition.uid",
    "acquisition.routing_field",
    "acquisition.label",
    "acquisition.timestamp",
    "acquisition.timezone",
    "acquisition.tags",
    "acquisition.info.*",
    "file.name",
    "file.type",
    "file.tags",
    "file.info.*",
    "file.classification.*",
    "file.modality",
    "file.path",
    "file.provider_id",
    "file.reference",
    "file.size",
    "file.client_hash",
    "file.zip_member_count",
)

#: The field that names a container of each level. A group has no other label than its id.
LABEL_FIELDS = {
    Level.GROUP: "group._id",
    Level.PROJECT: "project.label",
    Level.SUBJECT: "subject.label",
    Level.SESSION: "session.label",
    Level.ACQUISITION: "acquisition.label",
}
LEVEL_OF = {name: level for level, name in LABEL_FIELDS.items()} | {"group.label": Level.GROUP}
FILE_NAME = "file.name"

_SEXES = {"m": "male", "f": "female", "o": "other", "u": "unknown"}

_SHORT = [
    (re.compile(pattern), full)
    for pattern, full in (
        (r"\.id$", "._id"),
        (r"^(?:gr|grp)(?=\.|$)", "group"),
        (r"^pro?j?(?=\.|$)", "project"),
        (r"^su(?:bj?)?(?=\.|$)", "subject"),
        (r"^se(?:ss?)?(?=\.|$)", "session"),
        (r"^acq?(?=\.|$)", "acquisition"),
        (r"^group$", "group._id"),
        (r"^(project|subject|session|acquisition)$", r"\1.label"),
        (r"^(session|acquisition)\.(?:time|ts)$", r"\1.timestamp"),
        (r"^timestamp$", "acquisition.timestamp"),
        (r"^file$", "file.name"),
        (r"^(info|classification)(?=\.|$)", r"file.\1"),
    )
]


@lru_cache(maxsize=1024)
def field_name(text: str) -> str:
    """The canonical name of a field.

    Args:
        text: the name, or the beginning of each of its parts, as long as only one fits:
            ``sub``, ``subj.first``, ``weight``, ``info.scanner``.

    Raises:
        UsageError: no field is called so, or more than one.
    """
    name = text
    for _ in _SHORT:
        before = name
        for short, full in _SHORT:
            name = short.sub(full, name)
        if name == before:
            break
    if name in NAMES and not name.endswith("*"):
        return name
    found = _candidates(name)
    if len(found) == 1:
        stem = found[0].removesuffix("*")
        return stem + name.split(".", stem.count("."))[-1] if stem != found[0] else stem
    if found:
        raise UsageError(f"field {text!r} could be {_or(found)}", hint="write more of it")
    near = difflib.get_close_matches(text, [*LEVEL_OF, *NAMES, *Level, "file"], n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join([*Level, 'file'])} and more"
    raise UsageError(f"{text!r} is no field", hint=hint)


def load(name: str, text: str) -> FieldValue | None:
    """A field's value from text; None: the text is none that the field can have.

    Ages are whole seconds, weights kilograms, moments ISO 8601, tags divided by commas;
    ``info`` is JSON where it can be read as such. Everything else is text.
    """
    if name.endswith(".timestamp"):
        return read_moment(text)
    if name.endswith(".tags") or name.startswith("file.classification."):
        return [tag for tag in text.split(",") if tag]
    if ".info." in name:
        try:
            value: FieldValue | None = json.loads(text)
        except ValueError:
            return text
        return value
    if name == "subject.sex":
        sex = _SEXES.get(text.lower(), text.lower())
        return sex if sex in _SEXES.values() else None
    try:
        return int(text) if name == "session.age" else _weight(name, text)
    except ValueError:
        return None


def _weight(name: str, text: str) -> FieldValue:
    return float(text) if name == "session.weight" else text


def _candidates(name: str) -> list[str]:
    """Every field that the name could be short for; the narrowest way of reading first."""
    parts = name.split(".")
    found = [known for known in NAMES if _begins_each_part(known, parts)]
    if len(parts) > 1:
        return found
    return (
        found
        or [known for known in NAMES if known.startswith(name)]
        or [known for known in NAMES if known.split(".")[-1] == name]
        or [known for known in NAMES if name in known]
    )


def _begins_each_part(known: str, parts: list[str]) -> bool:
    of_known = known.split(".")
    if of_known[-1] == "*":
        if len(parts) < len(of_known) or not all(parts[len(of_known) - 1 :]):
            return False
        of_known.pop()
    elif len(of_known) != len(parts):
        return False
    return all(whole.startswith(part) for whole, part in zip(of_known, parts, strict=False))


def _or(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"
