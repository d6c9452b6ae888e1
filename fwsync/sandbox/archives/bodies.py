"""What an archive is asked to hold: the bodies of ``/download``, read and checked.

Nodes and files that are missing, or that the caller may not read, are left out without a word:
which of the two it was is nobody's business.

Source: SDK 23 and CLI 18.5.1 (bodies); core18 (``+`` and ``-``, ``"null"``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fwsync.sandbox.kept.access import Place
from fwsync.sandbox.kept.moments import moment
from fwsync.sandbox.kept.selection import ContainerFilter, FileFilter, PlusMinus
from fwsync.sandbox.kept.tree import PLURAL
from fwsync.sandbox.problems import ApiError, invalid
from fwsync.sandbox.site import Call

Json = dict[str, Any]

LEVELS: Final = ("project", "subject", "session", "acquisition", "analysis", "collection")
FILTERED_LEVELS: Final = ("subject", "session", "acquisition", "analysis")

_SINGULAR: Final = {plural: kind for kind, plural in PLURAL.items() if kind}


def read_filters(body: Json) -> tuple[FileFilter, ...]:
    """The ``filters`` of a body; none, where one of them lets everything through.

    Raises:
        ApiError: 400.
    """
    filters = tuple(
        FileFilter(
            _plus_minus(one.get("types")), _plus_minus(one.get("tags")), _since(one.get("since"))
        )
        for one in _objects(body, "filters")
    )
    return filters if all(filters) else ()


def read_container_filters(body: Json) -> tuple[ContainerFilter, ...]:
    """The ``container_filters`` and ``mlset_filters`` of a body; all of them must be passed.

    The level stands inside ``tags`` (SDK 23) or beside it (CLI 18.5.1).

    Raises:
        ApiError: 400.
    """
    found = []
    for one in _objects(body, "container_filters"):
        tags = one.get("tags")
        rule = _plus_minus(tags)
        level = (tags or {}).get("type", one.get("type"))
        if level not in FILTERED_LEVELS:
            known = ", ".join(FILTERED_LEVELS)
            raise invalid(f"a container filter needs a type, one of {known}")
        found.append(ContainerFilter(level, "tags", rule))
    sets = _plus_minus(body.get("mlset_filters"))
    if sets:
        found.append(ContainerFilter("subject", "mlset", sets))
    return tuple(found)


def _objects(body: Json, name: str) -> list[Json]:
    found = body.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise invalid(f"{name} must be a list of objects")
    return found


def _plus_minus(rule: Any) -> PlusMinus:
    if rule is None:
        return PlusMinus()
    if not isinstance(rule, Mapping):
        raise invalid("a filter is an object with plus and minus")
    plus, minus = rule.get("plus", rule.get("+")), rule.get("minus", rule.get("-"))
    return PlusMinus(_texts(plus), _texts(minus))


def _texts(told: Any) -> frozenset[str]:
    if told is None:
        return frozenset()
    if not isinstance(told, list) or not all(isinstance(one, str) for one in told):
        raise invalid("plus and minus of a filter are lists of texts")
    return frozenset(told)


def _since(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return moment(value)
        return datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise invalid("since must be a time") from error


async def read_nodes(
    call: Call, told: Any, *, with_analyses: bool = False
) -> tuple[tuple[str, str], ...]:
    """Level and id of each node. One that lies at or below another is in that one already.

    Args:
        with_analyses: so is an analysis of another.

    Raises:
        ApiError: 400.
    """
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        raise invalid("nodes must be a list of objects")
    places: dict[str, Place] = {}
    for node in told:
        level, container = node.get("level"), node.get("_id")
        if level not in LEVELS or not isinstance(container, str):
            raise invalid(f"a node needs an _id and a level, one of {', '.join(LEVELS)}")
        place = await readable(call, container, level)
        if place is not None:
            places[place.id] = place
    return tuple(
        (one.kind, one.id)
        for one in places.values()
        if (one.kind == "analysis" and not with_analyses) or not _is_below(one, places)
    )


def _is_below(place: Place, places: Mapping[str, Place]) -> bool:
    # The group of an analysis may be a collection.
    above = (place.group, place.project, place.subject, place.session, place.acquisition)
    return any(one in places and one != place.id for one in above if one is not None)


async def read_files(call: Call, body: Json) -> tuple[tuple[str, str, str], ...]:
    """Kind, container and name of each file of a bulk archive.

    Raises:
        ApiError: 400.
    """
    if not isinstance(body.get("files"), list):
        raise invalid("files must be a list of objects")
    files: dict[tuple[str, str, str], None] = {}
    for file in _objects(body, "files"):
        kind = file.get("container_name", file.get("container_type"))
        container, name = file.get("container_id"), file.get("filename")
        if not (isinstance(kind, str) and isinstance(container, str) and isinstance(name, str)):
            raise invalid("a file needs container_name, container_id and filename")
        kind = _SINGULAR.get(kind, kind)
        if await readable(call, container, kind):
            files[kind, container, name] = None
    return tuple(files)


async def readable(call: Call, container: str, kind: str) -> Place | None:
    """A container that the caller may read; ``None``: they may not, or it is none."""
    try:
        return await call.place(container, "ro", kind)
    except ApiError:
        return None
