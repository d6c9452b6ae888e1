"""Flywheel's JSON, checked field by field: what cannot be believed is an error, not a guess.

Keys that we do not use are ignored; missing keys and wrong types make the whole answer
:class:`fwsync.errors.Garbled`, since a listing with a hole must never look like a shorter one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Final

from fwsync.digest import from_flywheel_hash
from fwsync.errors import Garbled
from fwsync.model import FILE_LEVELS, ContainerRef, Holder, Level, RelPath, RemoteEntry

#: Path segment of each level. Source: flywheel-sdk 23.
PLURAL: Mapping[Level | Holder, str] = {
    Level.GROUP: "groups",
    Level.PROJECT: "projects",
    Level.SUBJECT: "subjects",
    Level.SESSION: "sessions",
    Level.ACQUISITION: "acquisitions",
    Holder.ANALYSIS: "analyses",
}

#: What ``parent_ref.type`` says, as far as it concerns us.
LEVEL_OF = {level.value: level for level in FILE_LEVELS}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: The largest number that the state takes. Nothing has that many bytes or versions.
LARGEST: Final = (1 << 63) - 1

Json = Mapping[str, object]


_FIELDS = itemgetter("name", "size", "version", "hash", "parents", "parent_ref")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    total: int | None  #: of the whole list; None: a plain list, which does not say
    items: list[Json]

    @property
    def results(self) -> list[Json]:
        """As the server calls them."""
        return self.items


@dataclass(frozen=True, slots=True)
class WireContainer:
    """A subject, session or acquisition as it stands in a list."""

    id: str
    label: str
    parent_id: str


@dataclass(slots=True)
class WireFile:
    """A file as it stands in a list or in an answer to an upload."""

    name: str
    size: int
    hash: str
    file_id: str
    version: int
    modified_ns: int
    level: Level | None  #: of what holds it; None: of something that holds no files of ours
    parent_id: str
    parents: Json  #: ids by level, as they came
    deleted: bool

    def entry(self, path: RelPath, container: ContainerRef) -> RemoteEntry:
        """The entry at a path."""
        return RemoteEntry(
            path,
            self.size,
            self.hash or f"v{self.version}:{self.file_id}:{self.size}",
            from_flywheel_hash(self.hash),
            container,
            self.name,
            self.file_id,
            self.version,
            self.modified_ns,
        )


def page_of(answer: object, what: str) -> Page:
    """A page object, or the plain list of servers that do not page."""
    total: int | None = None
    items = answer
    if isinstance(answer, dict):
        items = answer.get("results")
        total = number_of(answer, "total", what)
    if not isinstance(items, list) or not all(map(_is_object, items)):
        raise Garbled(f"{what}: expected a list, got {type(answer).__name__}")
    return Page(total, items)


def _is_object(item: object) -> bool:
    return isinstance(item, dict)


def item_of(answer: object, what: str) -> Json:
    """A JSON object."""
    if not isinstance(answer, dict):
        raise Garbled(f"{what}: expected an object, got {type(answer).__name__}")
    return answer


def container_of(item: Json, level: Level, what: str) -> WireContainer:
    """A container below a project.

    An empty or missing label is a label: the empty one.
    """
    parents = mapping_of(item, "parents", what)
    above = list(Level)[list(Level).index(level) - 1]
    parent = parents.get(above.value) or item.get(above.value)
    if isinstance(parent, dict):  # a session carries its subject as an object
        parent = parent.get("_id")
    if not isinstance(parent, str) or not parent:
        raise Garbled(f"{what}: a {level} without its {above}")
    return WireContainer(text_of(item, "_id", what), _label(item, what), parent)


def file_of(item: Json, what: str) -> WireFile:
    """A file entry."""
    # For every file of a project: what is as it should be is seen so by one look.
    try:
        name, size, version, hash_, parents, parent = _FIELDS(item)
    except KeyError:
        name = size = version = hash_ = parents = parent = None
    if not (
        type(name) is str
        and type(size) is int
        and type(version) is int
        and type(hash_) is str
        and type(parents) is dict
        and type(parent) is dict
        and name
        and 0 <= size <= LARGEST
        and 0 <= version <= LARGEST
        and parent
    ):
        name, size, version, hash_ = _believed(item, what)
        parents = mapping_of(item, "parents", what)
        parent = mapping_of(item, "parent_ref", what) or _deepest(parents)
    kind, parent_id = parent.get("type"), parent.get("id")
    if not isinstance(parent_id, str) or not parent_id or not isinstance(kind, str):
        raise Garbled(f"{what}: {name!r} does not say where it lies")
    return WireFile(
        name,
        size,
        hash_,
        _id_of(item),
        version,
        modified_of(item.get("modified")),
        LEVEL_OF.get(kind),
        parent_id,
        parents,
        bool(item.get("deleted")),
    )


def _believed(item: Json, what: str) -> tuple[str, int, int, str]:
    """Name, size, version and hash of a file."""
    name = text_of(item, "name", what)
    size = number_of(item, "size", what)
    if size is None:
        raise Garbled(f"{what}: {name!r} has no size")
    version = number_of(item, "version", what)
    hash_ = item.get("hash") or ""
    if not isinstance(hash_, str):
        raise Garbled(f"{what}: the hash of {name!r} is no text")
    return name, size, 1 if version is None else version, hash_


def cursor_of(item: Json, what: str) -> str:
    """What ``after_id`` must be to go on behind this item."""
    found = _id_of(item)
    if not found:
        raise Garbled(f"{what}: an item without an id")
    return found


def text_of(item: Json, key: str, what: str) -> str:
    """A text that must be there and not be empty."""
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise Garbled(f"{what}: expected a text as {key!r}")
    return value


def text_or_none(item: Json, key: str, what: str) -> str | None:
    """A text, if there is one."""
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise Garbled(f"{what}: expected a text as {key!r}")
    return value or None


def tags_of(item: Json, what: str) -> list[str]:
    """The tags of a file or container; none where it has none."""
    value = item.get("tags") or []
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise Garbled(f"{what}: expected a list of texts as 'tags'")
    return value


def label_of(item: Json, what: str) -> str:
    """A label; empty where there is none."""
    return _label(item, what)


def _label(item: Json, what: str) -> str:
    label = item.get("label")
    if label is None:
        label = item.get("code") or ""
    if not isinstance(label, str):
        raise Garbled(f"{what}: a label that is no text")
    return label


def _id_of(item: Json) -> str:
    found = item.get("file_id") or item.get("_id")
    return found if isinstance(found, str) else ""


def number_of(item: Json, key: str, what: str) -> int | None:
    """A whole number that is not negative and that the state can keep, if there is one."""
    value = item.get(key)
    if value is None or (type(value) is int and 0 <= value <= LARGEST):
        return value
    raise Garbled(f"{what}: expected a whole number from 0 to {LARGEST} as {key!r}")


def mapping_of(item: Json, key: str, what: str) -> Json:
    """A JSON object; empty where there is none."""
    value = item.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Garbled(f"{what}: expected an object as {key!r}")
    return value


def _deepest(parents: Json) -> Json:
    """What ``parent_ref`` would say, for servers that do not send it."""
    for kind in ("analysis", *reversed(LEVEL_OF)):
        if parents.get(kind):
            return {"type": kind, "id": parents[kind]}
    return {}


def nanoseconds_of(text: object) -> int:
    """An ISO time in nanoseconds since 1970; 0 for none, since it only orders for people."""
    if not isinstance(text, str):
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND * 1_000


def modified_of(text: object) -> int:
    """The same of a file; 0 as well for what the state cannot keep, before 1678 or after 2262."""
    told_ns = nanoseconds_of(text)
    return told_ns if -LARGEST <= told_ns <= LARGEST else 0
