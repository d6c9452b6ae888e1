"""What a body must look like, and the many lines that say it does not.

The texts are those of a Python 2 validator: ``u'label' is a required property``, then the schema
and the instance. Objects are closed: an unknown key is refused.

Source: core18.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from fwsync.sandbox.core2018.wire import python
from fwsync.sandbox.problems import ApiError

Json = dict[str, Any]
Found = tuple[str, str, Json, Any]  # message, keyword, schema, instance

TEXT: Final[Json] = {"type": "string"}
TEXT_OR_NULL: Final[Json] = {"type": ["string", "null"]}
NUMBER: Final[Json] = {"type": ["number", "null"]}
FLAG: Final[Json] = {"type": "boolean"}
OBJECT: Final[Json] = {"type": "object"}
TEXTS: Final[Json] = {"type": "array", "items": TEXT}
LABEL: Final[Json] = {"type": "string", "minLength": 1, "maxLength": 256}
MOMENT: Final[Json] = {"type": ["string", "null"], "format": "date-time"}
OBJECT_ID: Final[Json] = {"type": "string", "pattern": "^[0-9a-f]{24}$"}
GROUP_ID: Final[Json] = {"type": "string", "pattern": "^[0-9a-z][0-9a-z.@_-]{0,30}[0-9a-z]$"}

MAX_NUMBER: Final = 1e300  # what is not below is no number, or none that can be kept
_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_NUMBER
    ),
}
_DATE_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def closed(properties: dict[str, Json], *required: str) -> Json:
    """The schema of an object that has these properties and no others."""
    schema: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": list(required)} if required else {})


def validate(value: Any, schema: Json) -> None:
    """Hold a body against a schema.

    Raises:
        ApiError: 400, with the text of the first thing that is wrong.
    """
    for message, keyword, part, instance in _errors(value, schema):
        raise ApiError(
            400,
            f"{message}\n\nFailed validating {python(keyword)} in schema:\n    {python(part)}"
            f"\n\nOn instance:\n    {python(instance)}",
        )


def _errors(value: Any, schema: Json) -> Iterator[Found]:
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_TYPES[kind](value) for kind in kinds):
        names = ", ".join(map(python, kinds))
        yield f"{python(value)} is not of type {names}", "type", schema, value
    elif isinstance(value, dict):
        yield from _object_errors(value, schema)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{python(value)} is too short", "minItems", schema, value
        for one in value:
            yield from _errors(one, schema.get("items", {}))
    elif isinstance(value, str):
        yield from _text_errors(value, schema)


def _object_errors(value: Json, schema: Json) -> Iterator[Found]:
    known = schema.get("properties", {})
    if schema.get("additionalProperties") is False:
        unknown = [name for name in value if name not in known]
        if unknown:
            names = ", ".join(map(python, unknown))
            were = "was" if len(unknown) == 1 else "were"
            message = f"Additional properties are not allowed ({names} {were} unexpected)"
            yield message, "additionalProperties", schema, value
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{python(name)} is a required property", "required", schema, value
    for name, part in known.items():
        if name in value:
            yield from _errors(value[name], part)


def _text_errors(value: str, schema: Json) -> Iterator[Found]:
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        yield f"{python(value)} is not one of {python(allowed)}", "enum", schema, value
    if len(value) < schema.get("minLength", 0):
        yield f"{python(value)} is too short", "minLength", schema, value
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{python(value)} is too long", "maxLength", schema, value
    pattern = schema.get("pattern")
    if pattern is not None and not re.search(pattern, value):
        yield f"{python(value)} does not match {python(pattern)}", "pattern", schema, value
    if schema.get("format") == "date-time" and not _is_moment(value):
        yield f"{python(value)} is not a {python('date-time')}", "format", schema, value


def _is_moment(value: str) -> bool:
    if not _DATE_TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):  # the first or the last day there is, elsewhere
        return False
    return True
