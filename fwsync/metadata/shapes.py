"""Which field belongs to which container, and in what shape the platform takes it.

Its rule: what comes out of here can be sent as it is. Keys of ``info`` have no ``$`` and
no ``.``, values are what JSON can hold, and nothing is larger than :data:`MAX_INFO`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fwsync.model import Level

Json = Mapping[str, object]

#: Bytes of JSON in one ``info``. The store behind scitran/core takes 16 MB in a document,
#: and a list of containers may carry it.
MAX_INFO = 4 << 20

MAX_DEPTH = 50  #: levels in one value; the store behind scitran/core takes 100

INFO = "info"
TAGS = "tags"

#: The fields of each level that may be set, besides ``info`` and ``tags``. Labels, ids and
#: parents are not among them: a path says those. Source: the input models of flywheel-sdk 23.
OF_CONTAINER: Mapping[Level, frozenset[str]] = {
    Level.PROJECT: frozenset({"description"}),
    Level.SUBJECT: frozenset(
        {
            "code",
            "master_code",
            "firstname",
            "lastname",
            "sex",
            "cohort",
            "date_of_birth",
            "mlset",
            "type",
            "race",
            "ethnicity",
            "species",
            "strain",
            "state",
        }
    ),
    Level.SESSION: frozenset({"uid", "timestamp", "timezone", "age", "weight", "operator"}),
    Level.ACQUISITION: frozenset({"uid", "timestamp", "timezone"}),
}

#: What an upload may say of its file. Source: flywheel-sdk 23 and flywheel-cli 18.5.1;
#: scitran/core of 2018 refuses what it does not know.
OF_FILE = frozenset(
    {"type", "mimetype", "modality", "classification", "info", "tags", "zip_member_count"}
)


class NotJson(ValueError):
    """A value that cannot be sent: its text says why."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one container."""

    plain: Json = field(default_factory=dict)  #: by the names of the API
    info: Json = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.plain or self.info or self.tags)

    @property
    def keys(self) -> frozenset[str]:
        """A name for each thing that is told."""
        return frozenset(
            [
                *self.plain,
                *(f"info.{key}" for key in self.info),
                *(f"tags.{one}" for one in self.tags),
            ]
        )

    def without(self, keys: frozenset[str]) -> Told:
        """Less what has these names."""
        return Told(
            {key: value for key, value in self.plain.items() if key not in keys},
            {key: value for key, value in self.info.items() if f"info.{key}" not in keys},
            tuple(one for one in self.tags if f"tags.{one}" not in keys),
        )


def told_of(level: Level, fields: Json) -> Told:
    """What fields such as ``session.timestamp`` say of the container of one level.

    Args:
        fields: ``LEVEL.NAME``, ``LEVEL.info`` (an object), ``LEVEL.info.KEY`` and
            ``LEVEL.tags`` (a list). Others, and null, say nothing.

    Raises:
        NotJson: a value cannot be sent.
    """
    plain: dict[str, object] = {}
    info: dict[str, object] = {}
    tags: list[str] = []
    for name, value in fields.items():
        above, _, rest = name.partition(".")
        if above != level.value or value is None:
            continue
        if rest in OF_CONTAINER.get(level, ()):
            plain[rest] = clean_value(value, name)
        elif rest == INFO and isinstance(value, Mapping):
            info |= clean_info(value, name)
        elif rest.startswith("info."):
            info[clean_key(rest.removeprefix("info."))] = clean_value(value, name)
        elif rest == TAGS:
            tags += tags_of(value, name)
    return Told(plain, info, tuple(dict.fromkeys(tags)))


def clean_key(key: str) -> str:
    """A key of ``info`` as the platform keeps it. Source: scitran/core; SDK 23 warns of it."""
    return key.replace("$", "-").replace(".", "_")


def clean_info(info: Json, what: str = INFO) -> dict[str, object]:
    """An ``info`` that can be sent. Of two keys that become one, the one spelled so stays.

    Raises:
        NotJson: a value is none of JSON's, nested too deeply, or all of it is too large.
    """
    cleaned = _object(info, what, 0)
    size = len(json.dumps(cleaned, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size > MAX_INFO:
        raise NotJson(f"{what} has {size} bytes; at most {MAX_INFO} are sent")
    return cleaned


def clean_value(value: object, what: str, depth: int = 0) -> object:
    """A value that can be sent, with the keys of its objects cleaned.

    Raises:
        NotJson: it is none of JSON's, or nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise NotJson(f"{what} is nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _text(value, what)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJson(f"{what} is {value}, which JSON cannot hold")
        return value
    if isinstance(value, Mapping):
        return _object(value, what, depth)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [clean_value(one, what, depth + 1) for one in value]
    raise NotJson(f"{what} is {type(value).__name__}, which JSON cannot hold")


def tags_of(value: object, what: str = TAGS) -> list[str]:
    """Tags, each once, in the order in which they are given; a text is one tag.

    Raises:
        NotJson: it is neither a text nor a list of texts.
    """
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, Iterable) or isinstance(found, Mapping | bytes):
        raise NotJson(f"{what} is no list of texts")
    tags = list(found)
    if not all(isinstance(one, str) and one for one in tags):
        raise NotJson(f"{what} is no list of texts")
    return list(dict.fromkeys(_text(one, what) for one in tags))


def joined(first: Json, then: Json) -> dict[str, object]:
    """Two things said of one file or container: the later has the last word on a value.

    Tags are gathered; ``info`` and ``classification`` are joined key by key, not deeper.
    """
    said = dict(first)
    for name, value in then.items():
        known = said.get(name)
        if name == "tags" and isinstance(known, list) and isinstance(value, list):
            said[name] = list(dict.fromkeys([*known, *value]))
        elif (
            name in ("info", "classification")
            and isinstance(known, Mapping)
            and isinstance(value, Mapping)
        ):
            said[name] = {**known, **value}
        else:
            said[name] = value
    return said


def _object(value: Mapping[object, object] | Json, what: str, depth: int) -> dict[str, object]:
    cleaned: dict[str, object] = {}
    exact: set[str] = set()
    for key, one in value.items():
        if not isinstance(key, str):
            raise NotJson(f"{what} has the key {key!r}, which is no text")
        name = clean_key(_text(key, what))
        if name in cleaned and (name in exact or name != key):
            continue
        if name == key:
            exact.add(name)
        cleaned[name] = clean_value(one, f"{what}.{key}", depth + 1)
    return cleaned


def _text(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotJson(f"{what} is no valid Unicode") from None
    return text
